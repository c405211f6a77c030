//! What the configuration may say, and which field a mistake is in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use stepgate_core::factor::Strength;
use stepgate_identity::provider::{ClientAuthMethod, LevelSettings, Preset, ProviderSettings, Providers};
use stepgate_testkit::{FakeClock, SeededRandomness};

use crate::house::{level, second_factor};

fn good() -> ProviderSettings {
    ProviderSettings::new("company", "https://idp.example/realms/x", "stepgate", "https://gate.example/back")
}

#[track_caller]
fn check(field: &str, why: &str, change: impl FnOnce(&mut ProviderSettings)) {
    let mut settings = good();
    change(&mut settings);
    let mistakes = settings.check().err().unwrap_or_else(|| panic!("{field} is taken, in spite of: {why}"));
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert_eq!(mistakes[0].field, field, "{mistakes:?}");
    assert!(mistakes[0].why.contains(why), "{:?} instead of {why:?}", mistakes[0].why);
}

#[test]
fn a_provider_that_says_little_is_whole() {
    let checked = good().check().unwrap();
    assert_eq!(checked.provider().title, "Company login");
    assert!(checked.provider().levels.is_empty());
}

#[test]
fn each_mistake_names_its_field() {
    check("name", "1 to 32", |s| s.name = "Not A Name".into());
    check("title", "1 to 60", |s| s.title = Some(" ".into()));
    check("issuer", "is not https", |s| s.issuer = "http://idp.example".into());
    check("issuer", "no URL", |s| s.issuer = "idp.example".into());
    check("issuer", "query", |s| s.issuer = "https://idp.example/?a".into());
    check("issuer", "danger_loopback", |s| s.issuer = "https://localhost:8443".into());
    check("issuer", "private address", |s| s.issuer = "https://10.1.2.3".into());
    check("issuer", "link-local", |s| {
        s.issuer = "https://169.254.169.254".into();
        s.danger_loopback = true;
    });
    check("issuer", "many tenants", |s| {
        s.preset = Preset::Entra;
        s.issuer = "https://login.microsoftonline.com/common/v2.0".into();
    });
    check("client_id", "1 to 255", |s| s.client_id = String::new());
    check("redirect_uri", "no URL", |s| s.redirect_uri = "/back".into());
    check("post_logout_redirect_uri", "come back", |s| s.post_logout_redirect_uri = Some("ftp://x/".into()));
    check("client_secret", "there is none", |s| s.client_auth = Some(ClientAuthMethod::SecretBasic));
    check("client_key_file", "there is none", |s| s.client_auth = Some(ClientAuthMethod::PrivateKeyJwt));
    check("client_key_file", "no private key", |s| s.client_key = Some(SecretString::from("-----BEGIN")));
    check("scopes", "no scope", |s| s.scopes = Some(vec!["a b".into()]));
    check("levels", "twice", |s| s.levels = vec![level("a", second_factor()), level("a", second_factor())]);
    check("levels", "no class", |s| s.levels = vec![level("a b", second_factor())]);
    check("levels", "worth nothing", |s| s.levels = vec![level("a", Strength::NONE)]);
    check("levels", "method", |s| {
        s.levels = vec![LevelSettings { acr: "a".into(), strength: second_factor(), amr: vec![String::new()] }];
    });
    check("levels", "more than 20", |s| {
        s.levels = (0..21).map(|index| level(&format!("l{index}"), second_factor())).collect();
    });
    check("levels", "Google proves no class of login", |s| {
        s.preset = Preset::Google;
        s.levels = vec![level("a", second_factor())];
    });
    for bad in ["c0", "c100", "c01", "mfa", "c"] {
        check("levels", "no authentication context", |s| {
            s.preset = Preset::Entra;
            s.levels = vec![level(bad, second_factor())];
        });
    }
    check("governs_groups", "says which claim has them", |s| s.governs_groups = true);
    check("groups_prefix", "says which claim has them", |s| s.groups_prefix = Some("x".into()));
    check("groups", "1 to 255 bytes", |s| s.groups = BTreeMap::from([("a".into(), String::new())]));
    check("groups_prefix", "50 bytes", |s| s.groups_prefix = Some("x".repeat(51)));
    check("clock_skew", "300 seconds", |s| s.clock_skew_s = 301);
    check("renews_every", "60 seconds", |s| s.renews_every = Some(Duration::from_secs(59)));
    check("ca_file", "no certificate", |s| s.root_certificates = Some(b"nothing".to_vec()));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let mut settings = good();
    settings.name = String::new();
    settings.issuer = "http://idp.example".into();
    settings.clock_skew_s = 9999;
    let mut fields: Vec<_> = settings.check().unwrap_err().into_iter().map(|one| one.field).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["clock_skew", "issuer", "name"]);
}

#[test]
fn two_providers_have_two_names() {
    let both = || vec![good().check().unwrap(), good().check().unwrap()];
    let made = Providers::new(both(), Arc::new(FakeClock::new()), Arc::new(SeededRandomness::new(1)));
    assert_eq!(made.unwrap_err().to_string(), "two providers are called company");
}

#[test]
fn presets_are_found_by_name_and_no_secret_is_printed() {
    for preset in Preset::ALL {
        assert_eq!(preset.ways().name.parse(), Ok(preset));
    }
    assert!("sso".parse::<Preset>().is_err());
    let mut settings = good();
    settings.client_secret = Some(SecretString::from("hush"));
    let checked = settings.clone().check().unwrap();
    assert!(!format!("{settings:?} {checked:?}").contains("hush"));
}
