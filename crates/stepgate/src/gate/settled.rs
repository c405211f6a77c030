//! What is settled when a gate starts: a reload reads it again, and changes nothing of it.

use crate::config::Settings;

/// The values of keys that take effect with the next start, each by its name.
#[derive(Clone)]
pub(super) struct Settled {
    values: Vec<(&'static str, String)>,
}

impl std::fmt::Debug for Settled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.values.iter().map(|(name, _)| name)).finish()
    }
}

impl Settled {
    pub(super) fn of(settings: &Settings) -> Self {
        // The store's URL may hold a password: it is compared, and only its key's name is told.
        let values = vec![
            ("[gate] listen", format!("{:?}", settings.listen)),
            ("[gate.tls]", format!("{:?}", settings.tls)),
            ("[[client_certificates]]", format!("{:?} {:?}", settings.client_certificates, settings.asking_hosts)),
            ("[gate] danger_plaintext", settings.danger_plaintext.to_string()),
            ("[gate] operators", format!("{:?}", settings.operators)),
            ("[gate] store", settings.store.clone()),
            ("[gate] trusted_hops", format!("{:?}", settings.trusted_hops)),
            ("[gate] posture_header", format!("{:?}", settings.posture_header)),
            ("[passkeys]", format!("{:?}", settings.passkeys)),
            ("[mail]", format!("{:?}", settings.mail)),
            ("[codes.email] and [codes.phone]", format!("{} {:?}", settings.codes.email, settings.codes.phone)),
            ("[push]", format!("{:?}", settings.push)),
            ("[hardware_codes]", format!("{:?}", settings.hardware)),
            ("[machines]", format!("{:?}", settings.machines)),
            ("[[sink]]", format!("{:?}", settings.sinks)),
            ("[behaviour] memory_mib", settings.behaviour.memory.bytes.to_string()),
            ("[limits]", format!("{:?}", settings.limits)),
        ];
        Self { values }
    }

    /// The names of keys whose value is another in `now`.
    pub(super) fn differences(&self, now: &Self) -> Vec<&'static str> {
        let pairs = self.values.iter().zip(&now.values);
        pairs.filter(|(before, now)| before.1 != now.1).map(|(before, _)| before.0).collect()
    }
}
