//! What a provider says about a person, bounded, and in our words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use stepgate_core::person::{Login, parse_email, parse_group, parse_name};
use stepgate_core::provider::{Claims, GROUPS_MAX, NotAsserted};
use stepgate_core::time::Timestamp;

use crate::jws::TokenClaims;

/// Where things are said, and what they are called here.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    pub(super) provider: String,
    pub(super) login_claim: String,
    pub(super) groups_claim: Option<String>,
    pub(super) groups: BTreeMap<String, String>,
    pub(super) groups_prefix: Option<String>,
    pub(super) told: ToldOnce,
}

/// How long what is not taken over, once told, is not told again.
const TOLD_FOR: Duration = Duration::from_secs(60 * 60);
/// The most that is told in that time.
const TOLD_MAX: usize = 100;

/// What a provider says and is not taken over, groups that are none of ours among it: somebody may have mistyped
/// the mapping, and nobody else says so.
#[derive(Clone, Debug, Default)]
pub(super) struct ToldOnce(Arc<Mutex<Told>>);

/// What was said: the claim, and which of its values where that matters.
type What = (&'static str, String);

#[derive(Debug, Default)]
struct Told {
    since: Option<Timestamp>,
    whats: BTreeSet<What>,
}

impl ToldOnce {
    /// Whether it is to be told now. A clock that was set back begins anew.
    fn is_news(&self, what: What, now: Timestamp) -> bool {
        let mut told = self.0.lock();
        if told.since.and_then(|since| now.since(since)).is_none_or(|age| age >= TOLD_FOR) {
            *told = Told { since: Some(now), whats: BTreeSet::new() };
        }
        told.whats.len() < TOLD_MAX && told.whats.insert(what)
    }
}

/// What a token was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenOf {
    /// A login.
    Login,
    /// A renewal of one.
    Renewal,
}

impl Mapping {
    /// Reads what is said. What is not needed and cannot be used is dropped; groups that
    /// cannot be read are an error, because policies rest on them.
    ///
    /// A token of a new login says all that there is: no groups are none. A renewed one may
    /// say less (OpenID Connect Core, section 12.2), so there it means that nothing was said.
    pub(super) fn read(&self, said: &TokenClaims, token: TokenOf, now: Timestamp) -> Result<Claims, NotAsserted> {
        let text = |name: &str| said.value(name).and_then(Value::as_str);
        let says =
            |word: bool, text: &str| said.value("email_verified").is_some_and(|value| *value == word || *value == text);
        let is_unverified = says(false, "false");
        // An address that nobody verified is whoever's one likes.
        let may_be_login = self.login_claim != "email" || says(true, "true");
        for claim in self.unfit(said, now) {
            tracing::info!(provider = %self.provider, claim, "a provider says what cannot be taken over: it stays as it was");
        }
        Ok(Claims {
            login: text(&self.login_claim)
                .filter(|_| may_be_login)
                .and_then(|text| Login::parse(text).ok())
                .map(|login| login.as_str().to_owned()),
            name: text("name").and_then(|name| parse_name(name).ok()).map(String::from),
            email: text("email").filter(|_| !is_unverified).and_then(|email| parse_email(email).ok()).map(String::from),
            groups: match (self.groups(said, now)?, token) {
                (None, TokenOf::Login) if self.groups_claim.is_some() => Some(Vec::new()),
                (groups, _) => groups,
            },
        })
    }

    /// The claims about a person that are no such thing (an address with two `@`), and were not told a while ago.
    /// The log does not say of whom.
    fn unfit(&self, said: &TokenClaims, now: Timestamp) -> Vec<&'static str> {
        let is_unfit = |claim: &str, fits: fn(&str) -> bool| {
            said.value(claim).is_some_and(|value| value.as_str().is_none_or(|text| !text.is_empty() && !fits(text)))
        };
        [
            ("name", is_unfit("name", |text| parse_name(text).is_ok())),
            ("email", is_unfit("email", |text| parse_email(text).is_ok())),
        ]
        .into_iter()
        .filter(|(claim, unfit)| *unfit && self.told.is_news((claim, String::new()), now))
        .map(|(claim, _)| claim)
        .collect()
    }

    fn groups(&self, said: &TokenClaims, now: Timestamp) -> Result<Option<Vec<String>>, NotAsserted> {
        let Some(claim) = &self.groups_claim else { return Ok(None) };
        let (first, value) = match claim.strip_prefix('/') {
            Some(path) => (path.split('/').next().unwrap_or(path), at(said, path)),
            None => (claim.as_str(), said.value(claim)),
        };
        // Some providers say no groups where there are many, and where else to ask
        // (OpenID Connect Core, section 5.6.2). Not to know is not to have none.
        if said.value("_claim_names").is_some_and(|names| names.get(first).is_some()) {
            return Err(NotAsserted::Token { what: "groups_too_many" });
        }
        let malformed = NotAsserted::Token { what: "groups_malformed" };
        let theirs: Vec<&str> = match value {
            None => return Ok(None),
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().map(Value::as_str).collect::<Option<_>>().ok_or(malformed.clone())?,
            // Roles as names of an object, with where they were given as values (ZITADEL).
            Some(Value::Object(all)) => all.keys().map(String::as_str).collect(),
            Some(_) => return Err(malformed),
        };
        if theirs.len() > GROUPS_MAX {
            return Err(NotAsserted::Token { what: "groups_too_many" });
        }
        if theirs.iter().any(|group| parse_group(group).is_err()) {
            return Err(malformed);
        }
        for group in self.unmapped(&theirs, now) {
            tracing::info!(provider = %self.provider, group, "a provider names a group that is mapped to none here");
        }
        let ours: BTreeSet<_> = theirs.into_iter().filter_map(|group| self.ours(group)).collect();
        // Longer by the prefix.
        if ours.iter().any(|group| parse_group(group).is_err()) {
            return Err(malformed);
        }
        Ok(Some(ours.into_iter().collect()))
    }

    /// Those that are none of ours, and were not told a while ago.
    fn unmapped<'g>(&self, theirs: &[&'g str], now: Timestamp) -> Vec<&'g str> {
        let is_news =
            |group: &&&str| self.ours(group).is_none() && self.told.is_news(("groups", (**group).to_owned()), now);
        theirs.iter().filter(is_news).copied().collect()
    }

    fn ours(&self, group: &str) -> Option<String> {
        match (self.groups.get(group), &self.groups_prefix) {
            (Some(ours), _) => Some(ours.clone()),
            (None, Some(prefix)) => Some(format!("{prefix}{group}")),
            (None, None) => None,
        }
    }
}

/// The value at a JSON pointer (RFC 6901) without its first slash.
fn at<'c>(said: &'c TokenClaims, path: &str) -> Option<&'c Value> {
    let unescaped = |name: &str| name.replace("~1", "/").replace("~0", "~");
    let mut names = path.split('/').map(unescaped);
    let first = said.value(&names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

    fn mapping(claim: &str, prefix: Option<&str>) -> Mapping {
        Mapping {
            provider: "corp".into(),
            login_claim: "preferred_username".into(),
            groups_claim: Some(claim.into()),
            groups: BTreeMap::from([("their-ops".into(), "ops".into()), ("also-ops".into(), "ops".into())]),
            groups_prefix: prefix.map(String::from),
            told: ToldOnce::default(),
        }
    }

    fn read(mapping: &Mapping, said: &Value) -> Result<Claims, &'static str> {
        let said = TokenClaims::new(said.as_object().unwrap().clone());
        mapping.read(&said, TokenOf::Login, NOW).map_err(|error| error.code())
    }

    #[track_caller]
    fn groups(claim: &str, prefix: Option<&str>, said: &Value, expected: Result<Option<&[&str]>, &'static str>) {
        let found = read(&mapping(claim, prefix), said).map(|claims| claims.groups);
        let expected = expected.map(|groups| groups.map(|all| all.iter().map(|one| (*one).to_owned()).collect()));
        assert_eq!(found, expected, "{claim} of {said}");
    }

    #[test]
    fn groups_are_ours_wherever_they_are_said() {
        groups("g", None, &json!({ "g": ["their-ops", "unknown", "also-ops"] }), Ok(Some(&["ops"])));
        groups("g", Some("co:"), &json!({ "g": ["z", "their-ops", "a"] }), Ok(Some(&["co:a", "co:z", "ops"])));
        groups("g", Some(""), &json!({ "g": "one" }), Ok(Some(&["one"])));
        groups("g", None, &json!({ "g": [] }), Ok(Some(&[])));
        // A login says all; a renewal may say less.
        groups("g", None, &json!({}), Ok(Some(&[])));
        let nothing = TokenClaims::new(serde_json::Map::new());
        assert_eq!(mapping("g", None).read(&nothing, TokenOf::Renewal, NOW).unwrap().groups, None);
        groups("/realm/roles", Some(""), &json!({ "realm": { "roles": ["a"] } }), Ok(Some(&["a"])));
        groups("/a~1b/0", Some(""), &json!({ "a/b": { "0": ["a"] } }), Ok(Some(&["a"])));
        groups("https://x.example/g", Some(""), &json!({ "https://x.example/g": ["a"] }), Ok(Some(&["a"])));
        groups(
            "roles",
            Some(""),
            &json!({ "roles": { "admin": { "1": "org" }, "user": {} } }),
            Ok(Some(&["admin", "user"])),
        );
    }

    #[test]
    fn a_group_that_is_none_of_ours_is_told_once_a_while_and_only_so_many_are() {
        let by_name = mapping("g", None);
        let told = |groups: &[&str], later: Duration| by_name.unmapped(groups, NOW.plus(later)).join(" ");
        assert_eq!(told(&["their-ops", "theirops", "other"], Duration::ZERO), "theirops other");
        let almost = TOLD_FOR.saturating_sub(Duration::from_millis(1));
        assert_eq!(told(&["theirops", "third"], almost), "third");
        assert_eq!(told(&["theirops"], TOLD_FOR), "theirops");
        assert_eq!(told(&["theirops"], Duration::ZERO), "theirops", "the clock was set back");
        let many: Vec<String> = (0..1_000).map(|index| format!("g{index}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(by_name.unmapped(&many, NOW).len(), TOLD_MAX - 1, "one was told before");
        // Where all are taken over, none is missing.
        assert!(mapping("g", Some("co:")).unmapped(&["other"], NOW).is_empty());
    }

    #[test]
    fn what_is_no_name_and_no_address_is_not_taken_over_and_told_once_a_while() {
        let mapping = mapping("g", None);
        let unfit = |said: Value| {
            let said = TokenClaims::new(said.as_object().unwrap().clone());
            let claims = mapping.read(&said, TokenOf::Renewal, NOW).unwrap();
            (claims.email, mapping.told.0.lock().whats.len())
        };
        assert_eq!(unfit(json!({ "email": "ada@id.example", "name": "Ada" })), (Some("ada@id.example".to_owned()), 0));
        assert_eq!(unfit(json!({ "email": "", "name": "" })), (None, 0));
        assert_eq!(unfit(json!({ "email": "ada@id@example" })), (None, 1));
        assert_eq!(unfit(json!({ "email": "bob@id@example" })), (None, 1), "told a moment ago");
        assert_eq!(unfit(json!({ "name": 7 })), (None, 2));
    }

    #[test]
    fn groups_that_cannot_be_read_are_not_none() {
        let many: Vec<String> = (0..10_000).map(|index| format!("g{index}")).collect();
        groups("g", None, &json!({ "g": many }), Err("groups_too_many"));
        let just: Vec<String> = (0..GROUPS_MAX).map(|index| format!("g{index}")).collect();
        groups("g", None, &json!({ "g": just }), Ok(Some(&[])));
        groups("g", None, &json!({ "_claim_names": { "g": "src1" } }), Err("groups_too_many"));
        for bad in [
            json!([1]),
            json!(["a", null]),
            json!(1),
            json!([""]),
            json!(["a\nb"]),
            json!(["a\u{200b}"]),
            json!(["x".repeat(255)]),
        ] {
            groups("g", Some(""), &json!({ "g": bad }), Err("groups_malformed"));
        }
    }

    #[test]
    fn an_address_that_nobody_verified_is_no_name_to_sign_in_with() {
        let by_email = Mapping { login_claim: "email".into(), ..mapping("g", None) };
        let login = |verified: Value| {
            read(&by_email, &json!({ "email": "ceo@corp.example", "email_verified": verified })).unwrap().login
        };
        assert_eq!(login(json!(true)).as_deref(), Some("ceo@corp.example"));
        assert_eq!((login(json!(false)), login(Value::Null)), (None, None));
        assert_eq!(read(&by_email, &json!({ "email": "ceo@corp.example" })).unwrap().login, None);
    }

    #[test]
    fn what_people_are_called_is_bounded() {
        let none = mapping("g", None);
        let said = |name: &str, value: Value| read(&none, &json!({ name: value })).unwrap();
        assert_eq!(said("email", json!("a@b.example")).email.as_deref(), Some("a@b.example"));
        let long = format!("{}@b.example", "a".repeat(250));
        for bad in ["a@b@c", "@b", "a@", "ab", "a b@c", "a@b\n", "<a@b>", long.as_str()] {
            assert_eq!(said("email", json!(bad)).email, None, "{bad}");
        }
        let unverified = read(&none, &json!({ "email": "a@b.example", "email_verified": false })).unwrap();
        assert_eq!(unverified.email, None);
        assert_eq!(said("name", json!(" Ada Lovelace ")).name.as_deref(), Some("Ada Lovelace"));
        for bad in [json!("a\u{7}b"), json!("\u{202E}eve"), json!(""), json!("x".repeat(101)), json!(1)] {
            assert_eq!(said("name", bad.clone()).name, None, "{bad}");
        }
        assert_eq!(said("preferred_username", json!("Ada")).login.as_deref(), Some("ada"));
        assert_eq!(said("preferred_username", json!("a b")).login, None);
    }
}
