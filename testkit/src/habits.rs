//! Weeks of what people do, and of what is done in their names by others: made from a seed.
//!
//! The people are drawn from what is known of offices, shifts and travel, and know nothing of how habits are judged.
//! They are not tidy: they change their provider, work late, are ill, sit in cafés, use their telephones (whose
//! addresses are said to be in another city), go on holiday, and do some things once in a month.

/// How many weeks there are.
pub const WEEKS: i64 = 12;
/// In the first weeks nobody is attacked.
pub const CALM_WEEKS: i64 = 4;
/// Monday, 6 January 2025, 00:00 UTC: the first day.
pub const FIRST_DAY_MS: i64 = 1_736_121_600_000;

const DAY_MIN: i64 = 24 * 60;

/// Where somebody is, as databases would say it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Whereabouts {
    /// ISO 3166-1.
    pub country: &'static str,
    /// The autonomous system.
    pub asn: u32,
    /// Degrees.
    pub latitude: f32,
    /// Degrees.
    pub longitude: f32,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Deed {
    /// Looks at a page.
    View,
    /// Reads a record.
    Read,
    /// Approves a payment.
    Pay,
    /// Takes data out.
    Export,
    /// Changes settings.
    Configure,
}

/// What is done in somebody's name by somebody else, or against their company's will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Incident {
    /// A stolen session, used while its owner sleeps, from a home in the same country or their own machine.
    AtNight,
    /// A stolen session, used from another country while its owner works.
    FromAbroad,
    /// A payment many times as large as theirs.
    BigPayment,
    /// Everything is taken out within minutes.
    Burst,
    /// It is taken out day by day.
    SlowDrip,
    /// Their session is used on another continent within the hour.
    OtherContinent,
}

impl Incident {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::AtNight, Self::FromAbroad, Self::BigPayment, Self::Burst, Self::SlowDrip, Self::OtherContinent];
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// Milliseconds since 1970, UTC, which is also the company's clock.
    pub at_ms: i64,
    /// What.
    pub deed: Deed,
    /// How much, of a payment; 0 otherwise.
    pub amount: i64,
    /// From where.
    pub from: Whereabouts,
    /// Whose it is not, if it is not theirs; with the number of the incident among all of the person.
    pub incident: Option<(Incident, usize)>,
}

/// Somebody's weeks.
#[derive(Clone, Debug)]
pub struct Weeks {
    /// What they are.
    pub kind: &'static str,
    /// All requests, in order of time.
    pub requests: Vec<Request>,
}

/// People of every kind, so many of each, from a seed.
pub fn weeks(seed: u64, of_each: usize) -> Vec<Weeks> {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d);
    let kinds = ["office", "night shift", "traveller", "seldom", "part-time", "on the move"];
    let all = kinds.iter().flat_map(|kind| std::iter::repeat_n(*kind, of_each));
    all.map(|kind| Somebody::draw(kind, &mut chance).live(&mut chance)).collect()
}

/// Countries with a city each, near and far.
const CITIES: [(&str, f32, f32); 10] = [
    ("CH", 47.37, 8.54),
    ("DE", 52.52, 13.4),
    ("FR", 48.86, 2.35),
    ("AT", 48.21, 16.37),
    ("IT", 45.46, 9.19),
    ("GB", 51.51, -0.13),
    ("US", 40.71, -74.01),
    ("BR", -23.55, -46.63),
    ("SG", 1.35, 103.82),
    ("NG", 6.52, 3.38),
];
/// The first of them that are another continent.
const FAR: usize = 6;

struct Somebody {
    kind: &'static str,
    /// Minute of the day.
    starts: f64,
    /// Minutes.
    works: f64,
    home: usize,
    home_asn: u32,
    office_asn: u32,
    mobile: Whereabouts,
    payments_a_day: f64,
    exports_a_day: f64,
    amount: f64,
    spread: f64,
    days: [f64; 7],
}

impl Somebody {
    fn draw(kind: &'static str, chance: &mut Chance) -> Self {
        let home = chance.below(FAR);
        let asn = |chance: &mut Chance| 1000 + chance.below(60_000) as u32;
        let (country, latitude, longitude) = CITIES[home];
        let off = |chance: &mut Chance| (chance.normal() * 1.1).clamp(-2.5, 2.5) as f32;
        let mobile = Whereabouts {
            country,
            asn: asn(chance),
            latitude: latitude + off(chance),
            longitude: longitude + off(chance),
        };
        let workdays = [0.93, 0.93, 0.93, 0.93, 0.9, 0.0, 0.0];
        let (starts, works, days) = match kind {
            "night shift" => (21.8, 8.0, [0.0, 0.75, 0.75, 0.75, 0.75, 0.75, 0.4]),
            "seldom" => (10.5, 2.0, [0.2, 0.25, 0.2, 0.25, 0.15, 0.0, 0.0]),
            "part-time" => (8.8, 4.2, [0.0, 0.92, 0.0, 0.92, 0.3, 0.0, 0.0]),
            "on the move" => (8.0, 10.0, [0.9, 0.9, 0.9, 0.9, 0.9, 0.15, 0.1]),
            _ => (8.4, 9.0, workdays),
        };
        let few = if kind == "seldom" { 2.5 } else { 1.0 };
        Self {
            kind,
            starts: starts * 60.0 + chance.normal() * 40.0,
            works: works * 60.0,
            home,
            home_asn: asn(chance),
            office_asn: asn(chance),
            mobile,
            payments_a_day: few * (1.0 + chance.unit() * 6.0),
            exports_a_day: few * (0.3 + chance.unit() * 1.2),
            amount: 150.0 * (1.0 + chance.unit() * 30.0),
            spread: 0.35 + chance.unit() * 0.5,
            days,
        }
    }

    fn at_home(&self, asn: u32) -> Whereabouts {
        let (country, latitude, longitude) = CITIES[self.home];
        Whereabouts { country, asn, latitude, longitude }
    }

    fn live(mut self, chance: &mut Chance) -> Weeks {
        let mut requests = Vec::new();
        let changes_provider = (chance.unit() < 0.1).then(|| 7 + chance.below(70) as i64);
        let holiday = (chance.unit() < 0.4).then(|| 14 + chance.below(50) as i64);
        let mut away: Option<(i64, Whereabouts)> = None;
        for day in 0..WEEKS * 7 {
            if changes_provider == Some(day) {
                self.home_asn = 1000 + chance.below(60_000) as u32;
            }
            if holiday.is_some_and(|first| (first..first + 10).contains(&day)) {
                continue;
            }
            if self.kind == "traveller" && away.is_none() && chance.unit() < 0.035 {
                let to = (self.home + 1 + chance.below(5)) % FAR;
                let (country, latitude, longitude) = CITIES[to];
                let asn = 1000 + chance.below(60_000) as u32;
                away = Some((day + 3 + chance.below(3) as i64, Whereabouts { country, asn, latitude, longitude }));
            }
            away = away.filter(|(until, _)| day < *until);
            if chance.unit() < self.days[(day % 7) as usize] {
                self.work(day, away.map(|(_, there)| there), chance, &mut requests);
            }
        }
        self.be_attacked(chance, &mut requests);
        requests.sort_by_key(|request| request.at_ms);
        Weeks { kind: self.kind, requests }
    }

    fn work(&self, day: i64, away: Option<Whereabouts>, chance: &mut Chance, requests: &mut Vec<Request>) {
        let begins = self.starts + chance.normal() * 20.0;
        let late = if chance.unit() < 0.05 { 60.0 + chance.unit() * 120.0 } else { 0.0 };
        let lasts = (self.works + chance.normal() * 25.0 + late).max(30.0);
        let from_home = self.kind == "seldom" || chance.unit() < 0.35;
        let cafe = (chance.unit() < 0.02).then(|| self.at_home(60_000 + chance.below(5000) as u32));
        let usual = self.at_home(if from_home { self.home_asn } else { self.office_asn });
        let mut one = |deed: Deed, amount: i64, chance: &mut Chance| {
            let minute = begins + chance.unit() * lasts;
            let mobile = if self.kind == "on the move" { 0.3 } else { 0.04 };
            let from = match away {
                Some(there) => there,
                None if chance.unit() < mobile => self.mobile,
                None => cafe.unwrap_or(usual),
            };
            requests.push(Request { at_ms: at_ms(day, minute), deed, amount, from, incident: None });
        };
        for _ in 0..chance.poisson(8.0) {
            one(Deed::View, 0, chance);
        }
        for _ in 0..chance.poisson(4.0) {
            one(Deed::Read, 0, chance);
        }
        // At the end of a month there is more to pay.
        let busy = if day % 30 > 26 { 1.8 } else { 1.0 };
        for _ in 0..chance.poisson(self.payments_a_day * busy) {
            let amount = self.payment(chance);
            one(Deed::Pay, amount, chance);
        }
        for _ in 0..chance.poisson(self.exports_a_day) {
            one(Deed::Export, 0, chance);
        }
        if chance.unit() < 0.03 {
            one(Deed::Configure, 0, chance);
        }
    }

    fn payment(&self, chance: &mut Chance) -> i64 {
        (self.amount * (chance.normal() * self.spread).exp()).max(1.0) as i64
    }

    fn be_attacked(&self, chance: &mut Chance, requests: &mut Vec<Request>) {
        let honest = requests.clone();
        for (number, incident) in Incident::ALL.into_iter().enumerate() {
            // Each within a week of its own, so that one does not hide the other.
            let first = (CALM_WEEKS + number as i64) * 7 + chance.below(2) as i64;
            let mut attack = Attack { who: self, incident: (incident, number), requests };
            match incident {
                Incident::AtNight => attack.at_night(first, chance),
                Incident::FromAbroad => attack.from(first, 1 + chance.below(5), chance),
                Incident::BigPayment => attack.big_payment(first, chance),
                Incident::Burst => attack.burst(first, chance),
                Incident::SlowDrip => attack.drip(first, chance),
                Incident::OtherContinent => attack.other_continent(first, &honest, chance),
            }
        }
    }

    /// Some minute of their working day.
    fn at_work(&self, chance: &mut Chance) -> f64 {
        self.starts + chance.unit() * self.works
    }
}

struct Attack<'a> {
    who: &'a Somebody,
    incident: (Incident, usize),
    requests: &'a mut Vec<Request>,
}

impl Attack<'_> {
    fn put(&mut self, at_ms: i64, deed: Deed, amount: i64, from: Whereabouts) {
        self.requests.push(Request { at_ms, deed, amount, from, incident: Some(self.incident) });
    }

    /// Looks around, then takes what is worth something.
    fn loot(&mut self, day: i64, minute: f64, from: Whereabouts, chance: &mut Chance) {
        for step in 0..4 {
            self.put(at_ms(day, minute + f64::from(step)), Deed::View, 0, from);
        }
        let amount = self.who.payment(chance);
        let (first, then) = if chance.unit() < 0.5 { (Deed::Export, Deed::Pay) } else { (Deed::Pay, Deed::Export) };
        self.put(at_ms(day, minute + 6.0), first, amount, from);
        self.put(at_ms(day, minute + 9.0), then, amount, from);
    }

    fn at_night(&mut self, day: i64, chance: &mut Chance) {
        let asleep = (self.who.starts + self.who.works + 7.0 * 60.0 + chance.unit() * 120.0) % DAY_MIN as f64;
        let asn = if chance.unit() < 0.5 { 1000 + chance.below(60_000) as u32 } else { self.who.home_asn };
        self.loot(day, asleep, self.who.at_home(asn), chance);
    }

    fn from(&mut self, day: i64, further: usize, chance: &mut Chance) {
        let (country, latitude, longitude) = CITIES[(self.who.home + further) % FAR];
        let asn = 1000 + chance.below(60_000) as u32;
        let minute = self.who.at_work(chance);
        self.loot(day, minute, Whereabouts { country, asn, latitude, longitude }, chance);
    }

    fn big_payment(&mut self, day: i64, chance: &mut Chance) {
        let times = 15.0 + chance.unit() * 45.0;
        let amount = (self.who.amount * times) as i64;
        let minute = self.who.at_work(chance);
        self.put(at_ms(day, minute), Deed::Pay, amount, self.who.at_home(self.who.home_asn));
    }

    fn burst(&mut self, day: i64, chance: &mut Chance) {
        let (minute, many) = (self.who.at_work(chance), 40 + chance.below(80));
        for export in 0..many {
            let at = minute + 6.0 * export as f64 / many as f64;
            self.put(at_ms(day, at), Deed::Export, 0, self.who.at_home(self.who.office_asn));
        }
    }

    fn drip(&mut self, first: i64, chance: &mut Chance) {
        for day in first..first + 5 {
            for _ in 0..12 + chance.below(14) {
                let minute = self.who.at_work(chance);
                self.put(at_ms(day, minute), Deed::Export, 0, self.who.at_home(self.who.office_asn));
            }
        }
    }

    /// After something that they did themselves.
    fn other_continent(&mut self, first: i64, honest: &[Request], chance: &mut Chance) {
        let from = at_ms(first, 0.0);
        let Some(own) = honest.iter().filter(|own| own.at_ms >= from).min_by_key(|own| own.at_ms) else { return };
        let (country, latitude, longitude) = CITIES[FAR + chance.below(CITIES.len() - FAR)];
        let there = Whereabouts { country, asn: 1000 + chance.below(60_000) as u32, latitude, longitude };
        let minutes = (own.at_ms - FIRST_DAY_MS) as f64 / 60_000.0 + 15.0 + chance.unit() * 30.0;
        self.loot(0, minutes, there, chance);
    }
}

fn at_ms(day: i64, minute: f64) -> i64 {
    FIRST_DAY_MS + day * DAY_MIN * 60_000 + (minute * 60_000.0) as i64
}

/// SplitMix64 (Steele, Lea, Flood 2014), and what is drawn with it.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: usize) -> usize {
        (self.unit() * end as f64) as usize
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.unit(), self.unit());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    /// Knuth's.
    fn poisson(&mut self, mean: f64) -> usize {
        let (limit, mut product, mut many) = ((-mean).exp(), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            many += 1;
        }
        many
    }
}
