//! How far, and how fast.

use std::time::Duration;

use super::act::Spot;
use super::settings::BehaviourSettings;

/// The earth's mean radius (IUGG), km.
const EARTH_KM: f64 = 6371.0;

/// How far two places are apart at least, in km: by the great circle (haversine), less how far off each may be.
pub(super) fn apart_km(from: Spot, to: Spot) -> f64 {
    let radians = |degrees: f32| f64::from(degrees).to_radians();
    let half = |a: f32, b: f32| ((radians(a) - radians(b)) / 2.0).sin().powi(2);
    let a = half(from.latitude, to.latitude)
        + radians(from.latitude).cos() * radians(to.latitude).cos() * half(from.longitude, to.longitude);
    let way = 2.0 * EARTH_KM * a.clamp(0.0, 1.0).sqrt().asin();
    (way - f64::from(from.radius_km) - f64::from(to.radius_km)).max(0.0)
}

/// Whether nobody comes so far in this time; the km if so.
pub(super) fn impossible_km(from: Spot, to: Spot, within: Duration, settings: &BehaviourSettings) -> Option<u32> {
    let km = apart_km(from, to);
    let reachable = f64::from(settings.travel_kmh) * within.as_secs_f64() / 3600.0;
    (km > f64::from(settings.travel_km) && km > reachable).then_some(km as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZURICH: Spot = Spot { latitude: 47.37, longitude: 8.54, radius_km: 0 };
    const NEW_YORK: Spot = Spot { latitude: 40.71, longitude: -74.01, radius_km: 0 };
    const GENEVA: Spot = Spot { latitude: 46.2, longitude: 6.14, radius_km: 20 };

    #[test]
    fn a_way_is_measured_on_the_globe_less_what_may_be_off() {
        assert!((apart_km(ZURICH, NEW_YORK) - 6325.0).abs() < 20.0, "{}", apart_km(ZURICH, NEW_YORK));
        assert!((apart_km(ZURICH, GENEVA) - 204.0).abs() < 5.0, "{}", apart_km(ZURICH, GENEVA));
        let rough = Spot { radius_km: 500, ..ZURICH };
        assert_eq!(apart_km(rough, GENEVA), 0.0);
        let (fiji, samoa) = (
            Spot { latitude: -17.7, longitude: 178.0, ..ZURICH },
            Spot { latitude: -13.8, longitude: -171.8, ..ZURICH },
        );
        assert!(apart_km(fiji, samoa) < 1300.0, "over the line of date: {}", apart_km(fiji, samoa));
    }

    #[test]
    fn only_what_is_far_and_fast_is_impossible() {
        let hours = |h: u64| Duration::from_secs(h * 3600);
        let settings = BehaviourSettings::default();
        assert!(impossible_km(ZURICH, NEW_YORK, hours(1), &settings).is_some());
        assert!(impossible_km(ZURICH, NEW_YORK, hours(6), &settings).is_some());
        assert_eq!(impossible_km(ZURICH, NEW_YORK, hours(7), &settings), None);
        assert_eq!(impossible_km(ZURICH, GENEVA, Duration::ZERO, &settings), None, "a phone's exit is that far off");
    }
}
