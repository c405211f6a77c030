//! Databases of addresses in MaxMind's format, read into memory and replaced while the gate runs.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use maxminddb::Reader;
use parking_lot::Mutex;
use serde::Deserialize;
use stepgate_core::behaviour::Spot;
use stepgate_core::flows::Flows;
use stepgate_core::surroundings::{Anonymizer, Environment, Geography, Place, Places, Region};
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::config::{PlaceFiles, Settings};

/// Greater files are not read: the greatest database that is sold has half of it.
const FILE_BYTES_MAX: u64 = 2 << 30;
/// How often the files are looked at: vendors replace them by the week or the day.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Why a database of addresses is not used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseUnusable {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[source] std::io::Error),
    /// It is larger than is read.
    #[error("it is larger than 2 GiB")]
    TooLarge,
    /// It is no database in this format, or a damaged one.
    #[error("it is no sound database in MaxMind's format")]
    Format(#[source] maxminddb::MaxMindDbError),
    /// It is one, of something else.
    #[error("it is a database of type {found:?}; its name should have {wanted} in it")]
    Kind {
        /// What it says of itself.
        found: String,
        /// What is meant.
        wanted: &'static str,
    },
}

/// What one file is for, and the words of which one stands in the type of such databases.
struct Purpose {
    wanted: &'static str,
    words: &'static [&'static str],
}

const PLACES: Purpose =
    Purpose { wanted: "`City`, `Country` or `Enterprise`", words: &["city", "country", "enterprise"] };
const SYSTEMS: Purpose = Purpose { wanted: "`ASN` or `ISP`", words: &["asn", "isp"] };
const ANONYMIZERS: Purpose = Purpose { wanted: "`Anonymous`", words: &["anonymous"] };

type Database = Reader<Vec<u8>>;

#[derive(Debug, Default)]
struct Databases {
    places: Option<Database>,
    systems: Option<Database>,
    anonymizers: Option<Database>,
}

/// What stands in a database of places. Parts that a vendor leaves out are unknown.
#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    country: Option<Coded<'a>>,
    #[serde(borrow, default)]
    subdivisions: Vec<Coded<'a>>,
    #[serde(borrow)]
    city: Option<Named<'a>>,
}

/// Where that is on the globe. Read by itself: where a vendor writes it in another form, the rest counts all the same.
#[derive(Deserialize)]
struct OnTheGlobe {
    location: Option<Location>,
}

#[derive(Deserialize)]
struct Location {
    latitude: Option<f64>,
    longitude: Option<f64>,
    #[serde(default)]
    accuracy_radius: u16,
}

impl Location {
    fn spot(&self) -> Option<Spot> {
        let (latitude, longitude) = (self.latitude? as f32, self.longitude? as f32);
        let is_on_the_globe = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
        is_on_the_globe.then_some(Spot { latitude, longitude, radius_km: self.accuracy_radius })
    }
}

#[derive(Deserialize)]
struct Coded<'a> {
    iso_code: Option<&'a str>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    names: Option<Names<'a>>,
}

#[derive(Deserialize)]
struct Names<'a> {
    en: Option<&'a str>,
}

#[derive(Deserialize)]
struct Announced {
    autonomous_system_number: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "they stand so in the database")]
struct Hidden {
    is_anonymous: bool,
    is_anonymous_vpn: bool,
    is_hosting_provider: bool,
    is_public_proxy: bool,
    is_residential_proxy: bool,
    is_tor_exit_node: bool,
}

impl Hidden {
    fn by(&self) -> Vec<Anonymizer> {
        let flags = [
            (self.is_anonymous_vpn, Anonymizer::Vpn),
            (self.is_tor_exit_node, Anonymizer::Tor),
            (self.is_public_proxy, Anonymizer::PublicProxy),
            (self.is_residential_proxy, Anonymizer::ResidentialProxy),
            (self.is_hosting_provider, Anonymizer::Hosting),
        ];
        let mut by: Vec<Anonymizer> = flags.into_iter().filter(|(is, _)| *is).map(|(_, by)| by).collect();
        if by.is_empty() && self.is_anonymous {
            by.push(Anonymizer::Other);
        }
        by
    }
}

impl Databases {
    fn open(files: &PlaceFiles) -> Result<Self, (PathBuf, DatabaseUnusable)> {
        let open = |file: &Option<PathBuf>, purpose: &Purpose| match file {
            None => Ok(None),
            Some(path) => open(path, purpose).map(Some).map_err(|why| (path.clone(), why)),
        };
        Ok(Self {
            places: open(&files.places, &PLACES)?,
            systems: open(&files.systems, &SYSTEMS)?,
            anonymizers: open(&files.anonymizers, &ANONYMIZERS)?,
        })
    }

    fn place(&self, address: IpAddr) -> Place {
        let mut place = Place::default();
        if let Some(found) = self.places.as_ref().and_then(|database| record::<Found<'_>>(database, address)) {
            let code = |coded: &Coded<'_>| coded.iso_code.map(str::to_owned);
            let country = found.country.as_ref().and_then(code).filter(|code| is_code(code));
            if let Some(country) = country {
                let part = found.subdivisions.first().and_then(|coded| coded.iso_code);
                let region = part.map(|part| format!("{country}-{part}")).filter(|region| is_code(region));
                place.region = region.unwrap_or(place.region);
                place.country = country;
            }
            let city = found.city.and_then(|city| city.names).and_then(|names| names.en);
            place.city = city.map(str::to_owned).unwrap_or_default();
        }
        let globe =
            self.places.as_ref().and_then(|database| database.lookup(address).ok()?.decode::<OnTheGlobe>().ok()?);
        place.spot = globe.and_then(|globe| globe.location).as_ref().and_then(Location::spot);
        let announced = self.systems.as_ref().and_then(|database| record::<Announced>(database, address));
        place.asn = announced.and_then(|announced| announced.autonomous_system_number).unwrap_or_default();
        if let Some(database) = &self.anonymizers {
            // An address that is not in it hides nobody.
            place.anonymizer = record::<Hidden>(database, address).unwrap_or_default().by();
        }
        place
    }
}

fn is_code(text: &str) -> bool {
    text.parse::<Region>().is_ok()
}

fn record<'d, T: Deserialize<'d>>(database: &'d Database, address: IpAddr) -> Option<T> {
    match database.lookup(address).and_then(|found| found.decode()) {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "a database of addresses has a damaged record: the place is unknown");
            None
        }
    }
}

fn open(path: &Path, purpose: &Purpose) -> Result<Database, DatabaseUnusable> {
    let len = std::fs::metadata(path).map_err(DatabaseUnusable::Read)?.len();
    if len > FILE_BYTES_MAX {
        return Err(DatabaseUnusable::TooLarge);
    }
    let bytes = std::fs::read(path).map_err(DatabaseUnusable::Read)?;
    let database = Reader::from_source(bytes).map_err(DatabaseUnusable::Format)?;
    let found = &database.metadata().database_type;
    let lower = found.to_ascii_lowercase();
    if !purpose.words.iter().any(|word| lower.contains(word)) {
        return Err(DatabaseUnusable::Kind { found: found.clone(), wanted: purpose.wanted });
    }
    Ok(database)
}

/// When a file was written, and how long it is.
type Stamp = Option<(SystemTime, u64)>;

fn stamps(files: &PlaceFiles) -> [Stamp; 3] {
    [&files.places, &files.systems, &files.anonymizers].map(|file| {
        let metadata = std::fs::metadata(file.as_ref()?).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

/// Knows places from databases, and takes new ones when the files change.
#[derive(Debug)]
pub(crate) struct KnownPlaces {
    files: PlaceFiles,
    current: ArcSwap<Databases>,
    seen: Mutex<[Stamp; 3]>,
}

impl KnownPlaces {
    /// Opens the databases.
    ///
    /// # Errors
    ///
    /// `StartError::Places`, with the file.
    pub(crate) fn open(files: PlaceFiles) -> Result<Self, StartError> {
        let seen = stamps(&files);
        let databases = Databases::open(&files).map_err(|(path, source)| StartError::Places { path, source })?;
        Ok(Self { files, current: ArcSwap::from_pointee(databases), seen: Mutex::new(seen) })
    }
}

impl Places for KnownPlaces {
    fn place(&self, address: IpAddr) -> Place {
        self.current.load().place(address)
    }

    /// A file that is away or broken changes nothing.
    fn refresh(&self) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let now = stamps(&self.files);
        if std::mem::replace(&mut *self.seen.lock(), now) == now {
            return Ok(false);
        }
        let databases = Databases::open(&self.files).map_err(|(path, source)| StartError::Places { path, source })?;
        self.current.store(Arc::new(databases));
        Ok(true)
    }
}

/// What the configuration says of the world, with its databases opened.
///
/// # Errors
///
/// `StartError::Places`: a database cannot be used.
pub(crate) fn environment(settings: &Settings) -> Result<Environment, StartError> {
    let geography = match settings.places == PlaceFiles::default() {
        true => Geography::default(),
        false => Geography {
            places: Arc::new(KnownPlaces::open(settings.places.clone())?),
            denied: settings.denied_regions.clone(),
        },
    };
    Ok(settings.environment(geography))
}

/// Looks for newer databases, again and again until `stop`.
pub(super) async fn watch(flows: Arc<Flows>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let geography = Arc::clone(&flows.live.load().environment.geography);
        match tokio::task::spawn_blocking(move || geography.places.refresh()).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => tracing::info!("databases of addresses were replaced"),
            Ok(Err(error)) => {
                let error = error.as_ref() as &dyn std::error::Error;
                tracing::error!(error, "a new database of addresses is unusable, the old ones stay in use");
            }
            Err(error) => tracing::error!(%error, "databases of addresses could not be looked at"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MaxMind's test databases, from the repository maxmind/MaxMind-DB (Apache-2.0 or MIT).
    fn file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/places").join(name)
    }

    fn all() -> PlaceFiles {
        PlaceFiles {
            places: Some(file("GeoLite2-City-Test.mmdb")),
            systems: Some(file("GeoLite2-ASN-Test.mmdb")),
            anonymizers: Some(file("GeoIP2-Anonymous-IP-Test.mmdb")),
        }
    }

    #[track_caller]
    fn check(address: &str, expected: (&str, &str, &str, u32, &[&str])) {
        let known = KnownPlaces::open(all()).unwrap();
        let Place { country, region, city, asn, anonymizer, .. } = known.place(address.parse().unwrap());
        let by: Vec<&str> = anonymizer.into_iter().map(Anonymizer::name).collect();
        assert_eq!((&*country, &*region, &*city, asn, &*by), expected, "{address}");
    }

    #[test]
    fn a_place_is_what_the_databases_say() {
        check("89.160.20.112", ("SE", "SE-E", "Linköping", 29518, &[]));
        check("2.125.160.216", ("GB", "GB-ENG", "Boxford", 0, &[]));
        check("1.128.0.1", ("ZZ", "ZZ", "", 1221, &[]));
        check(
            "81.2.69.142",
            ("GB", "GB-ENG", "London", 0, &["vpn", "tor", "public_proxy", "residential_proxy", "hosting"]),
        );
        check("65.0.0.1", ("ZZ", "ZZ", "", 0, &["tor"]));
        check("192.0.2.1", ("ZZ", "ZZ", "", 0, &[]));
        check("127.0.0.1", ("ZZ", "ZZ", "", 0, &[]));
        let spot = |address: &str| KnownPlaces::open(all()).unwrap().place(address.parse().unwrap()).spot;
        let linkoping = spot("89.160.20.112").unwrap();
        assert!((linkoping.latitude - 58.4).abs() < 0.1 && (linkoping.longitude - 15.6).abs() < 0.1, "{linkoping:?}");
        assert!(linkoping.radius_km > 0);
        assert_eq!(spot("192.0.2.1"), None);
        // The same address by way of IPv6.
        check("::ffff:89.160.20.112", ("SE", "SE-E", "Linköping", 29518, &[]));
    }

    #[test]
    fn without_a_database_everything_is_unknown() {
        let known = KnownPlaces::open(PlaceFiles::default()).unwrap();
        assert_eq!(known.place("89.160.20.112".parse().unwrap()), Place::default());
    }

    #[test]
    fn a_file_that_is_no_such_database_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("City.mmdb");
        std::fs::write(&text, "no database").unwrap();
        for (files, expected) in [
            (PlaceFiles { places: all().systems, ..PlaceFiles::default() }, "type \"GeoLite2-ASN\""),
            (PlaceFiles { systems: all().places, ..PlaceFiles::default() }, "`ASN` or `ISP`"),
            (PlaceFiles { anonymizers: all().places, ..PlaceFiles::default() }, "`Anonymous`"),
            (PlaceFiles { places: Some(text), ..PlaceFiles::default() }, "no sound database"),
            (PlaceFiles { places: Some(dir.path().join("none.mmdb")), ..PlaceFiles::default() }, "cannot be read"),
        ] {
            let error = KnownPlaces::open(files).unwrap_err();
            let StartError::Places { source, .. } = &error else { panic!("{error:?}") };
            assert!(source.to_string().contains(expected), "{source}");
        }
    }

    #[test]
    fn a_new_database_is_taken_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("City.mmdb");
        let replace = |bytes: &[u8], at: u64| {
            let new = dir.path().join("new");
            std::fs::write(&new, bytes).unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
            std::fs::File::options().write(true).open(&new).unwrap().set_modified(at).unwrap();
            std::fs::rename(&new, &path).unwrap();
        };
        let city = std::fs::read(file("GeoLite2-City-Test.mmdb")).unwrap();
        replace(&city, 1);
        let known = KnownPlaces::open(PlaceFiles { places: Some(path.clone()), ..PlaceFiles::default() }).unwrap();
        let country = || known.place("89.160.20.112".parse().unwrap()).country;
        assert!(!known.refresh().unwrap());
        replace(b"broken", 2);
        assert!(known.refresh().is_err());
        assert!(!known.refresh().unwrap(), "it is told once");
        assert_eq!(country(), "SE");
        replace(&city, 3);
        assert!(known.refresh().unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(known.refresh().is_err());
        assert_eq!(country(), "SE");
    }
}
