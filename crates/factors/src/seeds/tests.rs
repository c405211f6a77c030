use std::fmt::Write as _;

use secrecy::ExposeSecret as _;

use super::*;

const FIGURE_2: &str = include_str!("rfc6030/figure2.xml");
const FIGURE_5: &str = include_str!("rfc6030/figure5.xml");
const FIGURE_6: &str = include_str!("rfc6030/figure6.xml");
const FIGURE_7: &str = include_str!("rfc6030/figure7.xml");
const FIGURE_10: &str = include_str!("rfc6030/figure10.xml");
/// 2006-05-10: within the time of two of the keys of figure 10.
const MAY_2006: Timestamp = Timestamp::from_ms(1_147_219_200_000);

/// The tokens in short, or the error.
fn told(read: Result<Vec<ReadToken>, UnreadableSeeds>) -> String {
    let tokens = match read {
        Ok(tokens) => tokens,
        Err(error) => return error.to_string(),
    };
    let mut told = String::new();
    for token in tokens {
        let seed = Secret::try_from_base32(token.key.seed.expose_secret()).unwrap();
        let seed = hex::encode(seed.as_bytes());
        let moves = match token.key.moves {
            Moves::Counts => format!("from {}", token.next),
            Moves::Clock { step_s } => format!("every {step_s} s"),
        };
        let (hash, digits) = (token.key.hash.name(), token.key.digits);
        let _ = write!(told, "{} of {}: {seed} {hash} {digits} {moves};", token.serial, token.manufacturer);
    }
    told
}

fn pskc(file: &str, opens: Option<&OpensSeeds>) -> String {
    told(read_pskc(file.as_bytes(), opens, MAY_2006))
}

fn csv(file: &str) -> String {
    told(read_csv(file.as_bytes()))
}

/// Figure 10 with one key of it, and with something of it replaced.
fn one(replace: &str, by: &str) -> String {
    let end = FIGURE_10.find("</KeyPackage>").unwrap() + "</KeyPackage>".len();
    let one = format!("{}\n</KeyContainer>", &FIGURE_10[..end]);
    assert!(one.contains(replace), "{replace}");
    one.replacen(replace, by, 1)
}

const ASCII_SEED: &str = "3132333435363738393031323334353637383930";

#[test]
fn the_examples_of_rfc_6030_are_read_or_refused_for_what_they_are() {
    let key = OpensSeeds::key("12345678901234567890123456789012").unwrap();
    let opened = "987654321 of Manufacturer: 3132333435363738393031323334353637383930 sha1 8 from 0;";
    assert_eq!(pskc(FIGURE_6, Some(&key)), opened);
    let phrase = OpensSeeds::Passphrase("qwerty".into());
    let opened = "987654321 of TokenVendorAcme: 3132333435363738393031323334353637383930 sha1 8 from 0;";
    assert_eq!(pskc(FIGURE_7, Some(&phrase)), opened);
    // Thirty-two bits are an example's, and nobody's seed.
    assert_eq!(pskc(FIGURE_2, None), "line 5: the seed of 12345678 has 32 bits; it needs 128 (RFC 4226, section 4)");
    // Its PIN is checked nowhere here.
    let of_no_use = "the policy PINPolicy is not enforced here, so the key is of no use";
    assert_eq!(pskc(FIGURE_5, None), format!("line 27: {of_no_use}"));
    // The third key's time was over in March.
    assert_eq!(pskc(FIGURE_10, None), "line 78: the key's time is over");
    let first = format!("654321 of TokenVendorAcme: {ASCII_SEED} sha1 8 from 0;");
    assert_eq!(pskc(&one("654321", "654321"), None), first);
}

#[test]
fn a_serial_number_stands_in_a_file_once() {
    let twice = FIGURE_10.replace("2006-03", "2006-05").replace("2006-04", "2006-05");
    assert_eq!(pskc(&twice, None), "line 87: the serial number 9999999 stands in line 61 already");
    let twice = format!("serial,kind,seed_hex\nA,hotp,{ASCII_SEED}\nB,hotp,{ASCII_SEED}\nA,hotp,{ASCII_SEED}\n");
    assert_eq!(csv(&twice), "line 4: the serial number A stands in line 2 already");
}

/// Whoever changed the file, or guesses at its passphrase, is told before anything is decrypted with what they gave.
#[test]
fn b151_a_seed_that_was_changed_is_not_decrypted() {
    let key = OpensSeeds::key("12345678901234567890123456789012").unwrap();
    let not_of_this = "the MAC is not of this: the key or passphrase is another, or the file was changed";
    let changed = FIGURE_6.replace("AAECAwQF", "AAECAwQG");
    assert_eq!(pskc(&changed, Some(&key)), format!("line 41: {not_of_this}"));
    let changed = FIGURE_6.replace("Su+NvtQf", "Su+NvtQe");
    assert_eq!(pskc(&changed, Some(&key)), format!("line 41: {not_of_this}"));
    let without = FIGURE_6.replace("<ValueMAC>Su+NvtQfmvfJzF6bmQiJqoLRExc=\n          </ValueMAC>", "");
    assert_eq!(pskc(&without, Some(&key)), "line 32: the Secret has no ValueMAC");
    let (begin, end) = (FIGURE_6.find("  <MACMethod").unwrap(), FIGURE_6.find("</MACMethod>").unwrap() + 12);
    let without = format!("{}{}", &FIGURE_6[..begin], &FIGURE_6[end..]);
    assert!(pskc(&without, Some(&key)).ends_with("nothing protects this from being changed: no MACMethod"));
    let told = pskc(FIGURE_7, Some(&OpensSeeds::Passphrase("qwertz".into())));
    assert!(told.contains("the key or passphrase is another"), "{told}");
    assert_eq!(pskc(FIGURE_7, None), "line 7: the seeds are encrypted by a passphrase: --passphrase-file");
    assert_eq!(pskc(FIGURE_6, None), "line 5: the seeds are encrypted by a key: --key-file");
}

#[test]
fn a_wrapped_seed_says_by_itself_that_it_was_changed() {
    // RFC 3394, section 4.1: 00112233445566778899AABBCCDDEEFF under 000102030405060708090A0B0C0D0E0F.
    let wrapped = "<EncryptedValue xmlns:x=\"http://www.w3.org/2001/04/xmlenc#\"><x:EncryptionMethod \
         Algorithm=\"http://www.w3.org/2001/04/xmlenc#kw-aes128\"/><x:CipherData><x:CipherValue>\
         H6aLCoEStEeu80vY+1p7gp0+hiNx0s/l</x:CipherValue></x:CipherData></EncryptedValue>";
    let (begin, end) = (FIGURE_10.find("<PlainValue>").unwrap(), FIGURE_10.find("</PlainValue>").unwrap() + 13);
    let file = one(&FIGURE_10[begin..end], wrapped).replace("<KeyPackage>", "<EncryptionKey/><KeyPackage>");
    let key = OpensSeeds::key("000102030405060708090A0B0C0D0E0F").unwrap();
    let seed = "00112233445566778899aabbccddeeff";
    assert_eq!(pskc(&file, Some(&key)), format!("654321 of TokenVendorAcme: {seed} sha1 8 from 0;"));
    let told = pskc(&file.replace("H6aLCoES", "H6aLCoET"), Some(&key));
    assert!(told.ends_with("this cannot be decrypted: the key or passphrase is another"), "{told}");
}

/// No entity is expanded and none is fetched, because a document type is refused as such.
#[test]
fn b151_a_key_container_with_a_document_type_is_refused() {
    let file = one("MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=", "&seed;");
    for dtd in [
        "<!DOCTYPE KeyContainer [<!ENTITY seed SYSTEM \"file:///etc/passwd\">]>",
        "<!DOCTYPE KeyContainer [<!ENTITY seed SYSTEM \"http://127.0.0.1/seed\">]>",
        "<!DOCTYPE KeyContainer [<!ENTITY a \"aaaaaaaa\"><!ENTITY seed \"&a;&a;&a;&a;&a;&a;&a;&a;\">]>",
        "<!DOCTYPE KeyContainer SYSTEM \"http://127.0.0.1/pskc.dtd\" [<!ENTITY seed \"x\">]>",
    ] {
        let bent = file.replacen("<KeyContainer", &format!("{dtd}<KeyContainer"), 1);
        assert_eq!(pskc(&bent, None), "line 1: there is a document type; a key container has none", "{dtd}");
    }
    assert_eq!(pskc(&file, None), "line 17: this is no XML", "an entity that nobody declared");
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    assert!(pskc(&deep, None).starts_with("line 1: "), "nesting overflows nothing");
}

#[test]
fn what_a_key_container_asks_for_and_is_not_done_here_is_refused() {
    for (replace, by, expected) in [
        ("Version=\"1.0\"", "Version=\"2.0\"", "a KeyContainer of version 1 is expected"),
        ("pskc:hotp", "pskc:pin", "the algorithm of a Key is urn:ietf:params:xml:ns:keyprov:pskc:hotp or :totp"),
        ("Length=\"8\"", "Length=\"5\"", "codes of 654321 have 5 digits; 6 to 8 is expected"),
        ("DECIMAL", "HEXADECIMAL", "codes are decimal digits, without a check digit"),
        ("\"DECIMAL\"", "\"DECIMAL\" CheckDigits=\"true\"", "codes are decimal digits, without a check digit"),
        ("<PlainValue>0<", "<PlainValue>-1<", "Counter is a number in a PlainValue"),
        ("<PlainValue>0<", "<PlainValue>9223372036854775807<", "the counter of 654321 is beyond 4611686018427387904"),
        ("MTIzNDU2", "*", "this is not base64"),
        (">654321<", ">65 4321<", "a serial number is 1 to 64 letters, digits and -._/:"),
        ("2006-05-01", "2006-05-11", "the key is not to be used yet"),
        (
            "<StartDate>2006-05-01T00:00:00Z</StartDate>",
            "<NumberOfTransactions>3</NumberOfTransactions>",
            "the policy NumberOfTransactions is not enforced here, so the key is of no use",
        ),
    ] {
        let told = pskc(&one(replace, by), None);
        assert!(told.ends_with(expected), "{replace} by {by}: {told}");
    }
}

#[test]
fn a_clock_says_its_hash_and_its_step() {
    let clock =
        one("pskc:hotp", "pskc:totp").replace("<Counter>", "<TimeInterval>").replace("</Counter>", "</TimeInterval>");
    let clock = clock
        .replace("<PlainValue>0<", "<PlainValue>60<")
        .replace("<ResponseFormat", "<Suite>HMAC-SHA256</Suite><ResponseFormat");
    assert_eq!(pskc(&clock, None), format!("654321 of TokenVendorAcme: {ASCII_SEED} sha256 8 every 60 s;"));
    let slow = clock.replace("<PlainValue>60<", "<PlainValue>90<");
    assert!(pskc(&slow, None).ends_with("the step of 654321 has 90 s; 30 or 60 is expected"));
    let counts = one("<ResponseFormat", "<Suite>HMAC-SHA256</Suite><ResponseFormat");
    assert!(pskc(&counts, None).ends_with("654321 counts, and RFC 4226 knows no other hash than sha1"));
}

#[test]
fn csv_has_a_header_and_its_mistakes_a_line() {
    let good = format!(
        "serial,kind,seed_hex,digits,hash,step,counter,manufacturer\nA-1,hotp,{ASCII_SEED},8,,,42,Acme\r\n\
         B-2,totp,{ASCII_SEED},,SHA512,60,,\"Acme, Inc.\"\n"
    );
    assert_eq!(
        csv(&good),
        format!("A-1 of Acme: {ASCII_SEED} sha1 8 from 42;B-2 of Acme, Inc.: {ASCII_SEED} sha512 6 every 60 s;")
    );
    let base32 = "serial,kind,seed_base32\nA,totp,GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\n";
    assert_eq!(csv(base32), format!("A of : {ASCII_SEED} sha1 6 every 30 s;"));
    let line = |line: &str| csv(&format!("serial,kind,seed_hex,digits,step,counter\nA,hotp,{ASCII_SEED},,,\n{line}\n"));
    for (row, expected) in [
        ("B,hotp", "line 3: 2 fields, where the header has 6"),
        ("B,hotp,,,,", "line 3: the seed of \"B\" is missing, or not of the form that its column says"),
        ("B,hotp,xyz,,,", "line 3: the seed of \"B\" is missing, or not of the form that its column says"),
        (
            "B,hotp,00112233445566778899aabbccddee,,,",
            "line 3: the seed of B has 120 bits; it needs 128 (RFC 4226, section 4)",
        ),
        ("B,yubi,00,,,", "line 3: kind is hotp or totp, not \"yubi\""),
        ("B,hotp,00,six,,", "line 3: digits is a number, not \"six\""),
        ("B,hotp,00,,30,", "line 3: what counts has no step"),
        ("B,totp,00,,,1", "line 3: what has a clock has no counter"),
        (",hotp,00112233445566778899aabbccddeeff,,,", "line 3: a serial number is 1 to 64 letters, digits and -._/:"),
    ] {
        assert_eq!(line(row), expected, "{row}");
    }
    for header in ["", "serial,kind", "serial,kind,seed_hex,seed_base32", "serial,seed_hex"] {
        assert!(csv(&format!("{header}\n")).starts_with("line 1: a header is expected"), "{header:?}");
    }
    assert!(csv("serial,kind,seed_hex,pin\n").starts_with("line 1: there is no column \"pin\"; there are: serial"));
    assert_eq!(csv("serial,kind,seed_hex\n"), "line 1: there is no token in this file");
}

#[test]
fn no_error_has_a_seed_in_it() {
    let base64 = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=";
    for told in [
        pskc(&one(base64, &format!("{base64}*")), None),
        pskc(&one("Length=\"8\"", "Length=\"9\""), None),
        csv(&format!("serial,kind,seed_hex\nA,hotp,{ASCII_SEED}0\n")),
        csv(&format!("serial,kind,seed_hex\nA,nothing,{ASCII_SEED}\n")),
    ] {
        assert!(!told.contains(&base64[..8]) && !told.contains(&ASCII_SEED[..8]), "{told}");
    }
}

#[test]
fn b151_a_file_has_its_limits() {
    let mut many = "serial,kind,seed_hex\n".to_owned();
    for serial in 0..=TOKENS_MAX {
        let _ = writeln!(many, "{serial},hotp,{ASCII_SEED}");
    }
    assert_eq!(csv(&many), "line 10002: more than 10000 tokens; import them in several files");
    assert!(told(read_csv(&vec![b' '; FILE_MAX + 1])).starts_with("line 1: the file has more than"));
    assert_eq!(told(read_csv(b"serial,kind\n\xff")), "line 2: this is not UTF-8");
    let endless = FIGURE_7.replace("<IterationCount>1000<", "<IterationCount>4000000000<");
    let phrase = OpensSeeds::Passphrase("qwerty".into());
    assert!(pskc(&endless, Some(&phrase)).ends_with("the passphrase would be derived with numbers that nobody uses"));
}
