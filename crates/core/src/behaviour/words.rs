//! Signals in words: for the person on the page, and for whoever reads the evidence.

use super::Raised;

/// The country of a place that nobody knows.
const UNKNOWN: &str = "ZZ";

/// What a signal saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// What somebody described who tries a policy.
    Described,
    /// Nothing yet.
    NoHistory,
    /// Nothing could be read.
    Unreadable,
    /// An action.
    FirstUse {
        /// Its name.
        action: String,
    },
    /// The hour, and the usual ones.
    Hour {
        /// 0 to 23.
        hour: u8,
        /// 0 to 59.
        minute: u8,
        /// The first usual hour.
        from: u8,
        /// The first hour after them.
        to: u8,
    },
    /// A country.
    Country {
        /// ISO 3166-1, or `ZZ`.
        country: String,
    },
    /// A network.
    Network {
        /// As it is configured; empty if it is not.
        name: String,
        /// The autonomous system; 0 if unknown.
        asn: u32,
    },
    /// Uses on one day.
    Rate {
        /// Today, this one included.
        uses: u32,
        /// At most on other days.
        usual: u32,
    },
    /// Uses within minutes.
    Burst {
        /// Now, this one included.
        uses: u32,
        /// At most before.
        usual: u32,
        /// Within so many minutes.
        minutes: i64,
    },
    /// A number.
    Amount {
        /// The input's name.
        input: String,
        /// As it came.
        amount: String,
        /// The greatest usual one.
        usual: u64,
    },
    /// A way.
    Travel {
        /// At least so far.
        km: u32,
        /// In so many minutes.
        minutes: u64,
    },
    /// What failed.
    Failures {
        /// How often within the hour.
        count: i64,
        /// Of whom.
        whose: Whose,
    },
    /// Failures of many.
    Spike {
        /// Of so many people within the hour.
        people: i64,
    },
}

/// Of whom failures are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The person.
    Person,
    /// The device.
    Device,
    /// The address.
    Address,
}

impl Raised {
    /// A sentence for whoever asks. It says what is unusual and never what would be usual: whoever holds a stolen
    /// session would know when, from where and how much to try next (attack B132).
    pub fn to_person(&self) -> String {
        match &self.about {
            About::Described => "As it was described.".to_owned(),
            About::NoHistory => "Too little is known yet of what is usual for you.".to_owned(),
            About::Unreadable => "What is usual for you cannot be read at this moment.".to_owned(),
            About::FirstUse { .. } => "It is the first time that this is done from your account.".to_owned(),
            About::Hour { hour, minute, .. } => format!("{hour:02}:{minute:02} is an unusual time for you."),
            About::Country { country } if country == UNKNOWN => "You are in a country that we do not know.".to_owned(),
            About::Country { country } => format!("You are in a country that is new for you ({country})."),
            About::Network { .. } => "You are in a network that is new for you.".to_owned(),
            About::Rate { uses, .. } => format!("You did this {uses} times today, far more often than usual."),
            About::Burst { uses, minutes, .. } => {
                format!("You did this {uses} times within {minutes} minutes, far more often than usual.")
            }
            About::Amount { input, amount, .. } => format!("{amount} is far above your usual {input}."),
            About::Travel { .. } => "You cannot have come here so fast from where you were last.".to_owned(),
            About::Failures { whose: Whose::Person, .. } => "Several attempts on your account just failed.".to_owned(),
            About::Failures { .. } => "Several attempts from here just failed.".to_owned(),
            About::Spike { .. } => "Attempts on several accounts from here just failed.".to_owned(),
        }
    }

    /// The same for who reads the evidence: with what is usual, and the weight.
    pub fn told(&self) -> String {
        format!("{} (weighs {})", self.about.told(), self.weight)
    }
}

impl About {
    fn told(&self) -> String {
        match self {
            Self::Described => "as it was described".to_owned(),
            Self::NoHistory => "too little is known of this person".to_owned(),
            Self::Unreadable => "the habits of this person could not be read".to_owned(),
            Self::FirstUse { action } => format!("first {action} by this person"),
            Self::Hour { hour, minute, from, to } if from == to => {
                format!("{hour:02}:{minute:02} is none of their usual hours")
            }
            Self::Hour { hour, minute, from, to } => {
                format!("{hour:02}:{minute:02} is outside their usual {from:02} to {to:02}")
            }
            Self::Country { country } => format!("{country} is none of their usual countries"),
            Self::Network { name, .. } if !name.is_empty() => format!("{name} is none of their usual networks"),
            Self::Network { asn: 0, .. } => "this is none of their usual networks".to_owned(),
            Self::Network { asn, .. } => format!("AS{asn} is none of their usual networks"),
            Self::Rate { uses, usual } => format!("{uses} times today; on other days at most about {usual}"),
            Self::Burst { uses, usual, minutes } => {
                format!("{uses} times within {minutes} minutes; before at most about {usual}")
            }
            Self::Amount { input, amount, usual } => {
                format!("{input} {amount} is far above their usual, at most about {usual}")
            }
            Self::Travel { km, minutes } => format!("{km} km from their last place, within {minutes} minutes"),
            Self::Failures { count, whose } => {
                let of = match whose {
                    Whose::Person => "about this person",
                    Whose::Device => "from this device",
                    Whose::Address => "from this address",
                };
                format!("{count} failures {of} within the hour")
            }
            Self::Spike { people } => format!("failures about {people} people from this address within the hour"),
        }
    }
}
