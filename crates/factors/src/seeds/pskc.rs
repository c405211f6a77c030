//! Portable Symmetric Key Container: RFC 6030.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roxmltree::{Document, Node, ParsingOptions};
use stepgate_core::factor::OathHash;
use stepgate_core::flows::ReadToken;
use stepgate_core::time::Timestamp;
use zeroize::Zeroizing;

use super::opening::{Derivation, Encryption, OpensSeeds, Prf, is_mac, mac_algorithm};
use super::{Described, Moving, Seed, Tokens, UnreadableSeeds, at, text_of};

const PSKC: &str = "urn:ietf:params:xml:ns:keyprov:pskc";
const PBKDF2: &str = "http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#pbkdf2";
/// Nodes of a file: some sixty for each token.
const NODES_MAX: u32 = 2_000_000;

/// Reads tokens from a key container. `opens` is what its seeds are encrypted with, if they are.
///
/// A document type is refused, so no entity is ever expanded and nothing is fetched. What a token's policy asks for and
/// this gate does not enforce is refused as well (RFC 6030, section 4.3).
///
/// # Errors
///
/// [`UnreadableSeeds`] names the line.
pub fn read_pskc(file: &[u8], opens: Option<&OpensSeeds>, now: Timestamp) -> Result<Vec<ReadToken>, UnreadableSeeds> {
    let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let text = text_of(file)?;
    let document = Document::parse_with_options(text, options)
        .map_err(|error| at(u64::from(error.pos().row), xml_mistake(&error)))?;
    let root = Element(document.root_element());
    if !root.is("KeyContainer") {
        return Err(root.wrong(format!("a KeyContainer of {PSKC} is expected")));
    }
    if !root.attribute("Version").is_some_and(|version| version == "1" || version.starts_with("1.")) {
        return Err(root.wrong("a KeyContainer of version 1 is expected"));
    }
    let secrets = Secrets::of(root, opens)?;
    let (lines, mut tokens) = (Lines::of(text), Tokens::default());
    for package in root.children("KeyPackage") {
        let device = package.child("DeviceInfo");
        for key in package.children("Key") {
            let line = lines.at(key.0.range().start);
            add(&mut tokens, line, key, device, &secrets, now)?;
        }
    }
    tokens.all()
}

/// What is wrong with the XML, in words that hold nothing of the file.
fn xml_mistake(error: &roxmltree::Error) -> &'static str {
    match error {
        roxmltree::Error::DtdDetected => "there is a document type; a key container has none",
        roxmltree::Error::NodesLimitReached => "this is too large",
        _ => "this is no XML",
    }
}

fn add(
    tokens: &mut Tokens,
    line: u64,
    key: Element<'_, '_>,
    device: Option<Element<'_, '_>>,
    secrets: &Secrets,
    now: Timestamp,
) -> Result<(), UnreadableSeeds> {
    let of_device = |name: &str| device.and_then(|device| device.child(name)).map(Element::text).unwrap_or_default();
    let serial = match of_device("SerialNo") {
        "" => key.attribute("Id").unwrap_or_default(),
        serial => serial,
    };
    let data = key.child("Data").ok_or_else(|| key.wrong("the Key has no Data"))?;
    let plain = |name: &str, default: u64| match data.child(name) {
        None => Ok(default),
        Some(value) => value
            .child("PlainValue")
            .and_then(|plain| plain.text().parse().ok())
            .ok_or_else(|| value.wrong(format!("{name} is a number in a PlainValue"))),
    };
    let algorithm = key.attribute("Algorithm").unwrap_or_default();
    let moves = match algorithm.strip_prefix(PSKC) {
        Some(":hotp") => Moving::Counts { next: plain("Counter", 0)? },
        Some(":totp") if plain("Time", 0)? == 0 => Moving::Clock { step_s: plain("TimeInterval", 30)? },
        Some(":totp") => return Err(data.wrong("the time of a token begins in 1970 (RFC 6238, section 4.1)")),
        _ => return Err(key.wrong(format!("the algorithm of a Key is {PSKC}:hotp or :totp"))),
    };
    let parameters = key.child("AlgorithmParameters");
    let hash = suite(parameters)?;
    let digits = digits(parameters)?;
    let until = until(key, now)?;
    let secret = data.child("Secret").ok_or_else(|| data.wrong("the Key has no Secret"))?;
    let seed = secrets.open(secret)?;
    let manufacturer = of_device("Manufacturer");
    tokens.add(Described { line, serial, manufacturer, seed: &seed, hash, digits, moves, until })
}

/// The hash: by default SHA-1.
fn suite(parameters: Option<Element<'_, '_>>) -> Result<OathHash, UnreadableSeeds> {
    let Some(suite) = parameters.and_then(|all| all.child("Suite")) else { return Ok(OathHash::Sha1) };
    let name = suite.text().to_ascii_lowercase().replace("hmac", "").replace('-', "");
    name.parse().map_err(|_| suite.wrong("the Suite is HMAC-SHA1, HMAC-SHA256 or HMAC-SHA512"))
}

fn digits(parameters: Option<Element<'_, '_>>) -> Result<u64, UnreadableSeeds> {
    let Some(format) = parameters.and_then(|all| all.child("ResponseFormat")) else { return Ok(6) };
    if format.attribute("Encoding") != Some("DECIMAL") || matches!(format.attribute("CheckDigits"), Some("true" | "1"))
    {
        return Err(format.wrong("codes are decimal digits, without a check digit"));
    }
    let length = format.attribute("Length").and_then(|length| length.parse().ok());
    length.ok_or_else(|| format.wrong("the Length of a ResponseFormat is a number"))
}

/// When the key ends. A policy that is not enforced here makes a key useless (section 4.3).
fn until(key: Element<'_, '_>, now: Timestamp) -> Result<Option<Timestamp>, UnreadableSeeds> {
    let Some(policy) = key.child("Policy") else { return Ok(None) };
    let mut until = None;
    for one in policy.0.children().filter(Node::is_element).map(Element) {
        let time = || {
            let read = one.text().parse::<jiff::Timestamp>().ok();
            read.map(|at| Timestamp::from_ms(at.as_millisecond())).ok_or_else(|| one.wrong("a time is expected"))
        };
        match one.0.tag_name().name() {
            "StartDate" if time()? > now => return Err(one.wrong("the key is not to be used yet")),
            "StartDate" => {}
            "ExpiryDate" => {
                let end = time()?;
                if end <= now {
                    return Err(one.wrong("the key's time is over"));
                }
                until = Some(end);
            }
            "KeyUsage" if one.text() == "OTP" => {}
            name => return Err(one.wrong(format!("the policy {name} is not enforced here, so the key is of no use"))),
        }
    }
    Ok(until)
}

/// What opens the secrets of a container.
struct Secrets {
    key: Option<Seed>,
    mac: Option<(aws_lc_rs::hmac::Algorithm, Seed)>,
}

impl Secrets {
    fn of(root: Element<'_, '_>, opens: Option<&OpensSeeds>) -> Result<Self, UnreadableSeeds> {
        let Some(encryption) = root.child("EncryptionKey") else { return Ok(Self { key: None, mac: None }) };
        let derived = encryption.any("DerivedKey");
        let key = match (opens, derived) {
            (Some(OpensSeeds::Passphrase(phrase)), Some(derived)) => {
                derivation(derived)?.derive(phrase).map_err(|why| derived.wrong(why))?
            }
            (Some(OpensSeeds::Key(key)), None) => key.clone(),
            (_, Some(derived)) => {
                return Err(derived.wrong("the seeds are encrypted by a passphrase: --passphrase-file"));
            }
            (_, None) => return Err(encryption.wrong("the seeds are encrypted by a key: --key-file")),
        };
        let mac = match root.child("MACMethod") {
            None => None,
            Some(method) => Some(mac(method, &key)?),
        };
        Ok(Self { key: Some(key), mac })
    }

    fn open(&self, secret: Element<'_, '_>) -> Result<Seed, UnreadableSeeds> {
        if let Some(plain) = secret.child("PlainValue") {
            return plain.base64();
        }
        let value = secret.child("EncryptedValue").ok_or_else(|| secret.wrong("the Secret has no value"))?;
        let key = self.key.as_ref().ok_or_else(|| value.wrong("nothing says by what this is encrypted"))?;
        let (encryption, sealed) = encrypted(value)?;
        if matches!(encryption, Encryption::AesCbc(_)) {
            let (algorithm, mac_key) = self
                .mac
                .as_ref()
                .ok_or_else(|| value.wrong("nothing protects this from being changed: no MACMethod"))?;
            let mac = secret.child("ValueMAC").ok_or_else(|| secret.wrong("the Secret has no ValueMAC"))?;
            if !is_mac(*algorithm, mac_key, &sealed, &mac.base64()?) {
                return Err(
                    mac.wrong("the MAC is not of this: the key or passphrase is another, or the file was changed")
                );
            }
        }
        encryption
            .open(key, &sealed)
            .ok_or_else(|| value.wrong("this cannot be decrypted: the key or passphrase is another"))
    }
}

/// How a MAC is made, and by which key: one of its own, or that of the encryption (section 6.1.1).
fn mac(method: Element<'_, '_>, key: &Seed) -> Result<(aws_lc_rs::hmac::Algorithm, Seed), UnreadableSeeds> {
    let algorithm = mac_algorithm(method.attribute("Algorithm").unwrap_or_default())
        .ok_or_else(|| method.wrong("the MAC is HMAC with SHA-1, SHA-256 or SHA-512"))?;
    let mac_key = match method.child("MACKey") {
        None => key.clone(),
        Some(sealed) => {
            let (encryption, value) = encrypted(sealed)?;
            let opened = encryption.open(key, &value);
            opened.ok_or_else(|| sealed.wrong("the MAC's key cannot be decrypted: the key or passphrase is another"))?
        }
    };
    Ok((algorithm, mac_key))
}

/// An algorithm of XML Encryption, and what is encrypted by it.
fn encrypted(value: Element<'_, '_>) -> Result<(Encryption, Seed), UnreadableSeeds> {
    let method = value.any("EncryptionMethod").ok_or_else(|| value.wrong("there is no EncryptionMethod"))?;
    let encryption = Encryption::named(method.attribute("Algorithm").unwrap_or_default())
        .ok_or_else(|| method.wrong("the encryption is aes128-cbc, aes192-cbc, aes256-cbc, kw-aes128 or kw-aes256"))?;
    let sealed = value.any("CipherValue").ok_or_else(|| value.wrong("there is no CipherValue"))?;
    Ok((encryption, sealed.base64()?))
}

fn derivation(derived: Element<'_, '_>) -> Result<Derivation, UnreadableSeeds> {
    let method = derived.any("KeyDerivationMethod").filter(|method| method.attribute("Algorithm") == Some(PBKDF2));
    let method = method.ok_or_else(|| derived.wrong("a passphrase becomes a key by PBKDF2"))?;
    let number = |name: &str| {
        let text = method.any(name).map(Element::text);
        text.and_then(|text| text.parse().ok()).ok_or_else(|| method.wrong(format!("{name} is a number")))
    };
    let salt = method.any("Specified").ok_or_else(|| method.wrong("there is no salt"))?;
    let prf = match method.any("PRF").and_then(|prf| prf.attribute("Algorithm")) {
        None => Prf::HmacSha1,
        Some(name) if name.ends_with("sha1") || name.ends_with("SHA1") => Prf::HmacSha1,
        Some(name) if name.ends_with("sha256") || name.ends_with("SHA256") => Prf::HmacSha256,
        Some(name) if name.ends_with("sha512") || name.ends_with("SHA512") => Prf::HmacSha512,
        Some(_) => return Err(method.wrong("the PRF is HMAC with SHA-1, SHA-256 or SHA-512")),
    };
    let length = usize::try_from(number("KeyLength")?).unwrap_or_default();
    Ok(Derivation { salt: salt.base64()?.to_vec(), iterations: number("IterationCount")?, length, prf })
}

/// Where the lines of a text begin: to look from its beginning for each key would take the square of its length.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    fn at(&self, position: usize) -> u64 {
        u64::try_from(self.0.partition_point(|end| *end < position)).unwrap_or_default().saturating_add(1)
    }
}

/// An element, and where it stands.
#[derive(Clone, Copy)]
struct Element<'a, 'i>(Node<'a, 'i>);

impl<'a, 'i> Element<'a, 'i> {
    fn is(self, name: &str) -> bool {
        self.0.has_tag_name((PSKC, name))
    }

    /// Its children of this name, of this container's namespace.
    fn children(self, name: &'static str) -> impl Iterator<Item = Element<'a, 'i>> {
        self.0.children().map(Element).filter(move |one| one.is(name))
    }

    fn child(self, name: &str) -> Option<Self> {
        self.0.children().map(Element).find(|one| one.is(name))
    }

    /// The first element in it of this name, of any of the namespaces that a container borrows from.
    fn any(self, name: &str) -> Option<Self> {
        self.0.descendants().filter(|one| one.is_element() && one.tag_name().name() == name).map(Element).next()
    }

    fn attribute(self, name: &str) -> Option<&'a str> {
        self.0.attribute(name)
    }

    fn text(self) -> &'a str {
        self.0.text().unwrap_or_default().trim()
    }

    fn base64(self) -> Result<Seed, UnreadableSeeds> {
        let text: Zeroizing<String> =
            Zeroizing::new(self.text().chars().filter(|sign| !sign.is_ascii_whitespace()).collect());
        let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| self.wrong("this is not base64"))?;
        Ok(Zeroizing::new(bytes))
    }

    fn wrong(self, what: impl Into<String>) -> UnreadableSeeds {
        at(u64::from(self.0.document().text_pos_at(self.0.range().start).row), what)
    }
}
