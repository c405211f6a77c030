//! What is so of a session, a device and a place, as the command line says.

use clap::Args;

/// What is so of the session and the device that ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct SessionFacts {
    /// Whether the device was used before: `known` (if not given) or `new`.
    #[arg(long)]
    pub device: Option<String>,
    /// What the person calls the device.
    #[arg(long)]
    pub device_name: Option<String>,
    /// How long ago the person first signed in with it, e.g. `30d` (if not given).
    #[arg(long)]
    pub device_age: Option<String>,
    /// How long it had not been used before this sign-in, e.g. `1d` (if not given).
    #[arg(long)]
    pub device_unseen: Option<String>,
    /// `compliant`, `not_compliant` or `unknown` (if not given).
    #[arg(long)]
    pub posture: Option<String>,
    /// How long ago the person signed in; if not given, with the oldest of what is proved.
    #[arg(long)]
    pub session_age: Option<String>,
    /// How long ago the session was last used.
    #[arg(long)]
    pub idle: Option<String>,
    /// What is different from the sign-in: `address`, `agent`, `country`; may be given several times.
    #[arg(long = "changed")]
    pub changed: Vec<String>,
    /// An old token of the session was shown again.
    #[arg(long)]
    pub token_reused: bool,
    /// The level of risk that other systems tell: `low`, `medium`, `high`, or `unknown` (if not given).
    #[arg(long)]
    pub risk: Option<String>,
    /// A signal of risk, e.g. `device_not_compliant`, or one of the person's own habits, e.g. `unusual_hour`, which adds
    /// to the score what it weighs; may be given several times.
    #[arg(long = "signal")]
    pub signals: Vec<String>,
    /// What failed within the hour, e.g. `person=6`: of `person`, `device`, `address`, `network`, `service`, `people`;
    /// may be given several times. What is not given is unknown.
    #[arg(long = "failures")]
    pub failures: Vec<String>,
}

impl SessionFacts {
    /// Whether anything is said that a token has not.
    pub fn are_of_a_session(&self) -> bool {
        let Self { device, device_name, device_age, device_unseen, session_age, idle, changed, token_reused, .. } =
            self;
        let texts = [device, device_name, device_age, device_unseen, session_age, idle];
        texts.iter().any(|text| text.is_some()) || !changed.is_empty() || *token_reused
    }
}

/// Where the address is said to be. What is not said is unknown; where nothing is said, the databases are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct PlaceFacts {
    /// The country of the address, like `CH`; `ZZ` is unknown.
    #[arg(long)]
    pub country: Option<String>,
    /// Its region, like `CH-ZH`; `ZZ` is unknown.
    #[arg(long)]
    pub region: Option<String>,
    /// Its city.
    #[arg(long)]
    pub city: Option<String>,
    /// The autonomous system that announces it.
    #[arg(long)]
    pub asn: Option<u32>,
    /// What hides who is there: `vpn`, `tor` …; may be given several times. `none`: it is known that nothing does.
    #[arg(long = "anonymizer")]
    pub anonymizers: Option<Vec<String>>,
}
