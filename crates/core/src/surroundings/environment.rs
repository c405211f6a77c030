//! What a deployment knows of the world around its requests.

use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::factor::KnownModels;

use super::{Calendar, Geography, NamedNetwork};
use crate::behaviour::BehaviourSettings;

/// Networks, places, calendars and what is unusual, as the configuration names them.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Named networks; the first that holds an address is its network.
    pub networks: Vec<NamedNetwork>,
    /// What is known of where addresses are.
    pub geography: Arc<Geography>,
    /// What is known of models of authenticators.
    pub models: Arc<KnownModels>,
    /// The zone of `context.time.hour`, `.minute` and `.weekday`.
    pub zone: TimeZone,
    /// Business calendars.
    pub calendars: Vec<Calendar>,
    /// From where on something is unusual for somebody.
    pub behaviour: BehaviourSettings,
}

impl Default for Environment {
    /// Nothing is known, and the time of day is UTC.
    fn default() -> Self {
        Self {
            networks: Vec::new(),
            geography: Arc::default(),
            models: Arc::default(),
            zone: TimeZone::UTC,
            calendars: Vec::new(),
            behaviour: BehaviourSettings::default(),
        }
    }
}
