//! A message to a device through its push service, which cannot read it (RFC 8291).

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use stepgate_core::push::{DEVICE_KEY_LEN, Subscription};
use stepgate_core::time::Randomness;
use zeroize::Zeroizing;

/// Length of a private key, of the salt, of the key and of the nonce.
const PRIVATE_LEN: usize = 32;
const SALT_LEN: usize = 16;
const KEY_LEN: usize = 16;
const NONCE_LEN: usize = 12;
/// The size of a record that is announced (RFC 8291, section 4): all of it is in one.
const RECORD_SIZE: u32 = 4096;
/// Ends the last record (RFC 8188, section 2).
const LAST_RECORD: u8 = 2;
/// How often a random number is drawn until it is a private key: one in 2^32 is none.
const DRAWS_MAX: usize = 4;

/// A message could not be encrypted: the device's key is no point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be encrypted to this device")]
pub struct NotEncrypted;

/// Encrypts to a device: `aes128gcm` in one record, with a key pair for this message alone.
pub(super) fn encrypt(plain: &[u8], to: &Subscription, random: &dyn Randomness) -> Result<Vec<u8>, NotEncrypted> {
    let mut salt = [0; SALT_LEN];
    random.fill(&mut salt);
    let mut private = Zeroizing::new([0; PRIVATE_LEN]);
    for _ in 0..DRAWS_MAX {
        random.fill(private.as_mut());
        if let Ok(own) = PrivateKey::from_private_key(&ECDH_P256, private.as_ref()) {
            return encrypt_with(&own, salt, plain, to);
        }
    }
    Err(NotEncrypted)
}

fn encrypt_with(
    own: &PrivateKey,
    salt: [u8; SALT_LEN],
    plain: &[u8],
    to: &Subscription,
) -> Result<Vec<u8>, NotEncrypted> {
    let own_public = own.compute_public_key().map_err(|_| NotEncrypted)?;
    let own_public = <[u8; DEVICE_KEY_LEN]>::try_from(own_public.as_ref()).map_err(|_| NotEncrypted)?;
    let device = UnparsedPublicKey::new(&ECDH_P256, to.key);
    let keying = agree(own, device, NotEncrypted, |shared| {
        let info: [&[u8]; 3] = [b"WebPush: info\0", &to.key, &own_public];
        derived::<PRIVATE_LEN>(&to.secret, shared, &info)
    })?;
    let key = derived::<KEY_LEN>(&salt, keying.as_ref(), &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce = derived::<NONCE_LEN>(&salt, keying.as_ref(), &[b"Content-Encoding: nonce\0"])?;
    let mut record = plain.to_vec();
    record.push(LAST_RECORD);
    let key = UnboundKey::new(&AES_128_GCM, key.as_ref()).map_err(|_| NotEncrypted)?;
    LessSafeKey::new(key)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut record)
        .map_err(|_| NotEncrypted)?;
    let mut message = Vec::with_capacity(SALT_LEN + 5 + DEVICE_KEY_LEN + record.len());
    message.extend_from_slice(&salt);
    message.extend_from_slice(&RECORD_SIZE.to_be_bytes());
    message.push(u8::try_from(DEVICE_KEY_LEN).map_err(|_| NotEncrypted)?);
    message.extend_from_slice(&own_public);
    message.extend_from_slice(&record);
    Ok(message)
}

/// `LEN` bytes by HKDF with SHA-256 (RFC 5869).
fn derived<const LEN: usize>(salt: &[u8], from: &[u8], info: &[&[u8]]) -> Result<Zeroizing<[u8; LEN]>, NotEncrypted> {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut bytes = Zeroizing::new([0; LEN]);
    let key = Salt::new(HKDF_SHA256, salt).extract(from);
    key.expand(info, Length(LEN)).and_then(|okm| okm.fill(bytes.as_mut())).map_err(|_| NotEncrypted)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::Value;
    use stepgate_testkit::SeededRandomness;

    use super::*;

    /// Restated from RFC 8291, section 5 and appendix A (IETF Trust, code components under the revised BSD licence).
    const EXAMPLE: &str = include_str!("../../tests/data/rfc8291.json");

    fn example(name: &str) -> Vec<u8> {
        let example: Value = serde_json::from_str(EXAMPLE).unwrap();
        URL_SAFE_NO_PAD.decode(example[name].as_str().unwrap()).unwrap()
    }

    fn device() -> Subscription {
        Subscription {
            endpoint: "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV".to_owned(),
            key: example("ua_public").try_into().unwrap(),
            secret: example("auth_secret").try_into().unwrap(),
            made_for: String::new(),
        }
    }

    #[test]
    fn the_example_of_the_standard_comes_out_byte_for_byte() {
        let own = PrivateKey::from_private_key(&ECDH_P256, &example("as_private")).unwrap();
        assert_eq!(own.compute_public_key().unwrap().as_ref(), example("as_public"));
        let salt = example("salt").try_into().unwrap();
        let message = encrypt_with(&own, salt, &example("plaintext"), &device()).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(message), URL_SAFE_NO_PAD.encode(example("body")));
    }

    #[test]
    fn no_two_messages_are_the_same() {
        let random = SeededRandomness::new(1);
        let (one, other) = (encrypt(b"", &device(), &random).unwrap(), encrypt(b"", &device(), &random).unwrap());
        assert_eq!(one.len(), 16 + 4 + 1 + 65 + 1 + 16);
        assert_ne!(one[..16], other[..16], "the salt");
        assert_ne!(one[21..86], other[21..86], "the key");
    }

    #[test]
    fn a_key_that_is_no_point_is_refused() {
        let mut nowhere = device();
        nowhere.key[64] ^= 1;
        assert_eq!(encrypt(b"", &nowhere, &SeededRandomness::new(1)), Err(NotEncrypted));
        assert_eq!(
            encrypt(b"", &Subscription { key: [0; 65], ..device() }, &SeededRandomness::new(1)),
            Err(NotEncrypted)
        );
    }
}
