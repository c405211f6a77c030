//! Web Push: where a device is woken, and what wakes it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::id::{ChallengeId, FactorId, PersonId};
use crate::time::Timestamp;

/// Longest address of a push service, in bytes.
const ENDPOINT_LEN_MAX: usize = 2048;
/// Length of a device's key: a point of P-256, uncompressed (RFC 8291, section 3.1).
pub const DEVICE_KEY_LEN: usize = 65;
/// Length of a device's secret (RFC 8291, section 3.2).
pub const DEVICE_SECRET_LEN: usize = 16;

/// Where a device is woken, as its browser gave it (W3C Push API, `PushSubscription`).
#[derive(Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The address at its push service. Whoever knows it can be told to wake the device.
    pub endpoint: String,
    /// `p256dh`: what messages are encrypted to.
    pub key: [u8; DEVICE_KEY_LEN],
    /// `auth`: known to the device and to us alone.
    pub secret: [u8; DEVICE_SECRET_LEN],
    /// The public half of the key of ours that it was made for (RFC 8292, section 4), in base64url: the push
    /// service takes messages by no other.
    pub made_for: String,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription(..)")
    }
}

/// What a browser sent is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a push subscription")]
pub struct NotASubscription;

#[derive(Deserialize)]
struct Wire {
    endpoint: String,
    keys: Keys,
}

#[derive(Deserialize)]
struct Keys {
    p256dh: String,
    auth: String,
}

impl Subscription {
    /// Reads what `PushSubscription.toJSON()` writes, made for this key of ours.
    pub fn parse(json: &str, made_for: &str) -> Result<Self, NotASubscription> {
        let Wire { endpoint, keys } = serde_json::from_str(json).map_err(|_| NotASubscription)?;
        if endpoint.len() > ENDPOINT_LEN_MAX {
            return Err(NotASubscription);
        }
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| NotASubscription);
        Ok(Self {
            endpoint,
            key: bytes(&keys.p256dh)?.try_into().map_err(|_| NotASubscription)?,
            secret: bytes(&keys.auth)?.try_into().map_err(|_| NotASubscription)?,
            made_for: made_for.to_owned(),
        })
    }

    /// SHA-256 of the address, in hex, for entries: whoever reads it there cannot wake the device.
    pub fn endpoint_digest(&self) -> String {
        hex::encode(Sha256::digest(&self.endpoint))
    }
}

/// A device that is to be woken.
#[derive(Clone, Debug)]
pub struct Wake {
    /// Whose it is.
    pub person: PersonId,
    /// Which.
    pub device: FactorId,
    /// Where.
    pub subscription: Subscription,
    /// What for: a later message about the same replaces one that waits (RFC 8030, section 5.4).
    pub challenge: ChallengeId,
    /// Afterwards there is nothing to look at any more.
    pub until: Timestamp,
}

/// Wakes devices, beside the request that wants it: nobody waits for a push service.
///
/// What is lost is not missed: a wake-up says nothing, and the device's page looks by itself while it is open.
pub trait Wakes: Send + Sync + fmt::Debug {
    /// The public half of the key that new subscriptions are made for, in base64url; `None` where no push
    /// service is called.
    fn key(&self) -> Option<String>;
    /// Whether this address may be called at all, in words if not.
    fn allowed(&self, endpoint: &str) -> Result<(), String>;
    /// Wakes a device soon. What is too much at once is dropped.
    fn wake(&self, wake: Wake);
}

/// Nobody is woken: devices look by themselves.
#[derive(Clone, Copy, Debug)]
pub struct NoWebPush;

impl Wakes for NoWebPush {
    fn key(&self) -> Option<String> {
        None
    }

    fn allowed(&self, _: &str) -> Result<(), String> {
        Err("no push service is called here".to_owned())
    }

    fn wake(&self, _: Wake) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The device of RFC 8291, section 5.
    const WRITTEN: &str = r#"{"endpoint":"https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
        "expirationTime":null,"keys":{"auth":"BTBZMqHH6r4Tts7J_aSIgg",
        "p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"}}"#;

    #[test]
    fn what_browsers_write_is_read() {
        let read = Subscription::parse(WRITTEN, "k").unwrap();
        assert_eq!((read.key[0], read.secret[0], read.made_for.as_str()), (4, 5, "k"));
        assert_eq!(format!("{read:?}"), "Subscription(..)");
    }

    #[test]
    fn what_is_no_subscription_is_not_read() {
        for bad in ["", "{}", "null", &WRITTEN.replace("BTBZ", ""), &WRITTEN.replace("iw4\"", "iw4=\"")] {
            assert_eq!(Subscription::parse(bad, "k"), Err(NotASubscription), "{bad}");
        }
        let long = WRITTEN.replace("/push/", &"/x".repeat(1100));
        assert_eq!(Subscription::parse(&long, "k"), Err(NotASubscription));
    }
}
