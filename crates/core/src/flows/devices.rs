//! A person's own devices: named, and forgotten.

use stepgate_evidence::Event;

use super::Flows;
use crate::ports::ChangeError;
use crate::secret::TokenDigest;
use crate::session::SessionView;
use crate::surroundings::shown;

/// Longest name of a device, in characters.
pub const DEVICE_NAME_LEN_MAX: usize = 60;

impl Flows {
    /// Names a device of whoever this session belongs to; an empty name takes it away. It is kept as it may be shown.
    pub async fn name_device(&self, by: &SessionView, device: TokenDigest, name: &str) -> Result<(), ChangeError> {
        let name = shown(name.trim(), DEVICE_NAME_LEN_MAX);
        let event = Event::DeviceNamed {
            person: by.person.id.to_string(),
            device: device.to_hex(),
            session: by.id.to_string(),
        };
        let entry = self.entry_with(self.clock.now(), event, serde_json::json!({ "name": name }));
        self.store.name_device(by.person.id, device, &name, entry).await
    }

    /// Forgets a device of whoever this session belongs to: the next sign-in with it is one from a new device, and
    /// sessions that it has are decided as that.
    pub async fn forget_device(&self, by: &SessionView, device: TokenDigest) -> Result<(), ChangeError> {
        let event = Event::DeviceForgotten {
            person: by.person.id.to_string(),
            device: device.to_hex(),
            session: by.id.to_string(),
        };
        self.store.forget_device(by.person.id, device, self.entry(self.clock.now(), event)).await
    }
}
