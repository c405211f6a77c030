use stepgate_core::access::{Forwarded, Nonces, Scheme};
use stepgate_core::behaviour::{BehaviourSettings, Signal};
use stepgate_identity::http::Reach;
use stepgate_identity::tokens::TokenType;

use super::*;

const GOOD: &str = r#"
[gate]
origin = "http://localhost:4180"
listen = "127.0.0.1:4180"
master_key_file = "keys/master.key"

[[service]]
name = "ledger"
origin = "http://ledger.localhost:4180"
upstream = "http://127.0.0.1:9001"

[[service.operation]]
on = "POST /payments/{id}/approve"
action = "payments.approve"
title = "Approve payment {id} of {amount}"
inputs = { id = "path id as string", amount = "form amount as long" }
"#;

fn mistakes(text: &str) -> String {
    match parse(text, "stepgate.toml", PathBuf::from("/etc/stepgate")) {
        Ok(_) => String::new(),
        Err(error) => error.lines().join("\n"),
    }
}

fn check(from: &str, to: &str, expected: &str) {
    assert!(GOOD.contains(from), "{from}");
    let found = mistakes(&GOOD.replacen(from, to, 1));
    assert!(found.contains(expected), "{to}: expected {expected:?}, found {found:?}");
}

#[test]
fn a_good_configuration_is_read() {
    let settings = parse(GOOD, "stepgate.toml", PathBuf::from("/etc/stepgate")).unwrap();
    assert_eq!(settings.store, "sqlite:/etc/stepgate/stepgate.db");
    assert_eq!(settings.master_key, MasterKey::File("/etc/stepgate/keys/master.key".into()));
    assert_eq!(settings.transport, Transport::Plain);
    let ledger = settings.catalogue.by_name("ledger").unwrap();
    assert_eq!(ledger.endpoints[0].resource, "ledger POST /payments/{id}/approve");
    assert!(settings.catalogue.by_name("stepgate").is_some());
    assert_eq!(ledger.read.action.as_str(), "read");
    assert_eq!(ledger.write.action.as_str(), "write");
}

#[test]
fn a_host_that_is_taken_is_told_once_and_where() {
    let found = mistakes(&GOOD.replacen("ledger.localhost", "localhost", 1));
    assert_eq!(found.lines().count(), 1, "{found}");
    assert!(found.starts_with("9:"), "{found}");
}

#[test]
fn each_mistake_is_told_with_what_to_do() {
    check("listen", "listne", "did you mean `listen`?");
    check("listen = \"127.0.0.1:4180\"", "listen = \"0.0.0.0:4180\"", "plain HTTP is spoken on loopback only");
    check("\"http://localhost:4180\"", "\"https://gate.example\"", "an https origin needs [gate.tls]");
    check("\"http://localhost:4180\"", "\"http://gate.example\"", "http is for localhost names only");
    check("\"http://localhost:4180\"", "\"http://localhost:4180/x\"", "only scheme, host and port");
    check("ledger.localhost", "localhost", "is taken by the gate");
    check("http://127.0.0.1:9001", "http://10.0.0.1:9001", "http goes to loopback only");
    check("http://127.0.0.1:9001", "ftp://127.0.0.1", "ftp is not spoken");
    check("name = \"ledger\"", "name = \"stepgate\"", "the gate's own");
    check("name = \"ledger\"", "name = \"Ledger\"", "must be a name");
    check("POST /payments", "post /payments", "in capitals");
    check("{id}/approve\"\naction", "{id/approve\"\naction", "placeholder");
    check("path id as", "path ident as", "the path has no {ident}");
    check("as long", "as money", "an input is like");
    check("form amount", "json amount", "not a JSON pointer (RFC 6901): it starts with /");
    check("of {amount}", "of {sum}", "the title names {sum}");
    check("payments.approve", "read", "read and write are the actions");
    check("master_key_file = \"keys/master.key\"\n", "", "needs `master_key_file` or `master_key_env`");
    check("[gate]\n", "[gate]\nstore = \"mysql://x\"\n", "the store must be");
    check("[gate]\n", "[gate]\nstore = \"postgres://u@db.example/s\"\n", "with ?sslmode=verify-full");
    check("[gate]\n", "[sessions]\nidle = \"1 hour\"\n[gate]\n", "a duration like");
    check("[gate]\n", "[[network]]\nname = \"x\"\nranges = [\"10.0.0/8\"]\n[gate]\n", "is no network");
}

#[test]
fn all_mistakes_are_told_at_once_with_line_and_column() {
    let broken = GOOD.replace("listen", "listne").replace("upstream", "upsteam").replace("as long", "as money");
    let found = mistakes(&broken);
    assert!(found.contains("4:1: [gate] has no key `listne`"), "{found}");
    assert!(found.contains("10:1: [[service]] has no key `upsteam`"), "{found}");
    assert!(found.contains("an input is like"), "{found}");
}

#[test]
fn one_mistake_is_told_once() {
    let found = mistakes(&GOOD.replace("form amount as long", "json amount as long"));
    assert_eq!(found.lines().count(), 1, "{found}");
}

#[test]
fn twins_and_conflicts_are_found() {
    let twin = format!(
        "{GOOD}\n[[service.operation]]\non = \"POST /payments/{{x}}/approve\"\naction = \"a.b\"\ntitle = \"t\"\n"
    );
    assert!(mistakes(&twin).contains("matches the same requests"), "{}", mistakes(&twin));
    let conflict =
        format!("{GOOD}\n[[service.operation]]\non = \"POST /other\"\naction = \"payments.approve\"\ntitle = \"t\"\n");
    assert!(mistakes(&conflict).contains("one action has the same inputs everywhere"));
}

#[test]
fn broken_toml_is_told_with_its_place() {
    let found = mistakes("[gate\norigin = 1");
    assert!(found.starts_with("1:"), "{found}");
}

/// Every key that can be written, once.
const WHOLE: &str = r#"
[gate]
origin = "https://gate.example"
listen = ["127.0.0.1:4180", "[::1]:4180"]
tls = { certificate = "cert.pem", key = "key.pem" }
danger_plaintext = false
store = "postgres://stepgate:hunter2@db/stepgate?sslmode=verify-full"
policies = "policies"
shadow_policies = "policies-next"
master_key_env = "STEPGATE_MASTER_KEY"
operators = "127.0.0.1:4181"
trusted_hops = ["10.0.0.1", "10.1.0.0/16"]
posture_header = "X-Device-Posture"
time_zone = "Europe/Zurich"
company_login_enrols = true
[sessions]
absolute = "12h"
idle = "15m"
[challenges]
answer_within = "5m"
spend_within = "1m"
wrong_answers = 3
pending_per_session = 4
held_body = "1MiB"
[tries]
before_lock = 5
lock = "1h"
before_reset = 50
[passkeys]
allowed_aaguids = ["ee882879-721c-4913-9775-3dfcce97072a"]
attestation_roots = ["maker.pem"]
[passkeys.metadata]
file = "blob.jwt"
root = "r3.pem"
crls = ["r3.crl"]
demand_attestation = true
certification = 2
refuse = ["REVOKED", "UPDATE_AVAILABLE"]
danger_accept_stale = true
[limits]
connections = 100
body = "64KiB"
drain = "5s"
[behaviour]
keep = true
half_life_days = 30
history_days = 10
hour_percent = 4
rate_times = 4
rate_min = 20
burst_times = 5
burst_min = 12
amount_times = 2
travel_kmh = 900
travel_km = 300
failures_of_person = 7
failures_of_device = 8
failures_of_address = 30
spike_people = 9
memory_mib = 16
[behaviour.weights]
no_history = 1
habits_unreadable = 2
first_use = 3
unusual_hour = 4
new_country = 5
new_network = 6
unusual_rate = 7
burst = 8
unusual_amount = 9
impossible_travel = 10
many_failures = 11
spike = 12
[mail]
server = "mail.example"
port = 587
security = "starttls"
ca = "mail-ca.pem"
username = "stepgate"
password_file = "mail.password"
from = "Stepgate <no-reply@example.com>"
danger_plaintext = false
[codes]
per_hour = 4
lifetime = "5m"
[codes.email]
[codes.phone]
webhook = "https://texts.example/send"
secret_file = "texts.secret"
counts_as = ["possession"]
private_webhook = true
danger_loopback = false
[hardware_codes]
look_ahead = 5
resync_window = 200

[push]
per_hour = 6
short_number_when_signed = true
web_push = true
contact = "mailto:security@example.com"
private_push_services = true
danger_loopback = true

[machines]
listen = "127.0.0.1:4182"
origin = "https://machines.example"
tls = { certificate = "cert.pem", key = "key.pem" }
danger_plaintext = false
[machines.scim]
[machines.streams]
private_receivers = true
danger_loopback = false
[[machines.transmitter]]
name = "corp"
issuer = "https://idp.example"
audience = "https://machines.example"
jwks_uri = "https://idp.example/jwks.json"
subject_issuers = ["https://idp.example"]
provider = "corp"
emails = false
external_ids = true
keep = "12h"
poll = "https://idp.example/poll"
poll_token_file = "keys/poll.token"
foreign_subjects = "refuse"
danger_loopback = false
[[sink]]
name = "siem"
to = "syslog"
format = "cef"
withhold_personal = true
begin = "now"
late_after = "1m"
refused_file = "refused.jsonl"
address = "siem.example:6514"
transport = "tls"
danger_plaintext = false
ca = "siem.pem"
[[sink]]
name = "archive"
to = "file"
path = "evidence.jsonl"
rotate_at = "64MiB"
keep = 3
[[sink]]
name = "search"
to = "elasticsearch"
format = "ecs"
url = "https://search.example"
index = "stepgate"
secret_file = "search.secret"
private_receiver = true
danger_loopback = false
[[network]]
name = "office"
ranges = ["10.0.0.0/8", "2001:db8::/32"]
[places]
file = "City.mmdb"
systems_file = "ASN.mmdb"
anonymizers_file = "Anonymous.mmdb"
denied = ["KP"]
[[calendar]]
name = "trading"
days = ["monday"]
from = "08:00"
to = "18:00"
holidays = ["2026-12-25"]
time_zone = "UTC"
[[provider]]
name = "corp"
title = "Example Corp"
preset = "keycloak"
issuer = "https://id.example/realms/corp"
client_id = "stepgate"
client_auth = "client_secret_basic"
client_secret_env = "CARGO_MANIFEST_DIR"
scopes = ["profile"]
login_claim = "preferred_username"
groups_claim = "groups"
groups = { "Finance Team" = "finance" }
groups_prefix = "corp-"
adds_people = true
governs_groups = true
renews_every = "15m"
push_requests = false
algorithms = ["ES256"]
clock_skew = "10s"
danger_loopback = false
[[provider.level]]
acr = "gold"
counts_as = ["second_factor", "possession"]
amr = ["otp"]
[[provider]]
name = "asked"
issuer = "https://asked.example"
client_id = "stepgate"
client_auth = "none"
[provider.introspection]
url = "https://asked.example/introspect"
client_id = "gate"
client_secret_env = "CARGO_MANIFEST_DIR"
keep_at_most = "10s"
danger_token_type_absent = true
[[client_certificates]]
name = "machines"
anchors = ["ca.pem"]
crls = ["ca.crl"]
danger_stale_crls = true
[[service]]
name = "ledger"
title = "Ledger"
origin = "https://ledger.example"
upstream = "https://10.0.0.9:8443"
ca = "upstream.pem"
danger_plaintext = false
assertion = "stepped_up"
inject_script = true
own_host_header = true
[service.tokens]
providers = ["corp", "asked"]
audience = "https://api.example"
schemes = ["dpop"]
scopes = ["use"]
owner_claim = "owner"
dpop_nonces = true
client_certificates = ["machines"]
danger_forward_token = true
[[service.tokens.agent]]
client = "robot"
provider = "corp"
groups = ["robots"]
[[service.operation]]
on = "POST|PUT /payments/{id}/approve"
action = "payments.approve"
title = "Approve payment {id} of {amount}"
sensitivity = "high"
kind = "payment"
effect = "write"
effect_headers = ["X-Dry-Run"]
public = false
cross_site = "allow"
scopes = ["pay", "approve"]
inputs = { id = "path id as string", amount = "json /amount as decimal", dry = "query dry as bool" }
[[service.operation]]
on = "GET /"
action = "home"
title = "Home"
"#;

#[test]
fn every_key_is_read_as_it_is_written() {
    let settings = parse(WHOLE, "stepgate.toml", PathBuf::from("/etc/stepgate")).unwrap();
    let shown = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        settings.listen,
        settings.tls,
        settings.trusted_hops,
        settings.sessions,
        settings.challenges,
        settings.tries,
        settings.limits,
        settings.networks,
        settings.upstreams,
    );
    let expected = "[127.0.0.1:4180, [::1]:4180] [(\"/etc/stepgate/cert.pem\", \"/etc/stepgate/key.pem\")] \
        [10.0.0.1/32, 10.1.0.0/16] SessionLifetimes { absolute: 43200s, idle: 900s } \
        ChallengeLimits { answer_within: 300s, spend_within: 60s, wrong_answers: 3, pending_per_session: 4, held_body: 1048576 } \
        TryLimits { before_lock: 5, lock: 3600s, before_reset: 50 } \
        Limits { connections: 100, body: 65536, drain: 5s } \
        [NamedNetwork { name: \"office\", ranges: [10.0.0.0/8, 2001:db8::/32] }] ";
    assert!(shown.starts_with(expected), "{shown}");
    assert_eq!(settings.time_zone.iana_name(), Some("Europe/Zurich"));
    assert_eq!(settings.passkeys.attestation_roots, [PathBuf::from("/etc/stepgate/maker.pem")]);
    assert_eq!(settings.passkeys.allowed_aaguids[0].0[..2], [0xee, 0x88]);
    let (name, upstream) = &settings.upstreams[0];
    assert_eq!((name.as_str(), upstream.assertion), ("ledger", Assertion::SteppedUp));
    let (endpoint, values) =
        settings.catalogue.by_name("ledger").unwrap().endpoint("PUT", &["payments", "42", "approve"]);
    assert_eq!(endpoint.effect_headers, ["x-dry-run"]);
    assert_eq!(endpoint.inputs.len(), 3);
    assert_eq!(values["id"], "42");
}

#[test]
fn what_is_unusual_is_what_its_table_says() {
    let behaviour = parse(WHOLE, "stepgate.toml", PathBuf::new()).unwrap().behaviour;
    assert_eq!(behaviour.memory.bytes, 16 << 20);
    let settings = behaviour.settings;
    assert!(settings.keep);
    let numbers = [settings.half_life_days, settings.history_days, settings.rate_times, settings.burst_times];
    assert_eq!(numbers, [30, 10, 4, 5]);
    assert_eq!((settings.hour_percent, settings.amount_times, settings.rate_min, settings.burst_min), (4, 2, 20, 12));
    assert_eq!((settings.travel_kmh, settings.travel_km), (900, 300));
    let failures = settings.failures;
    assert_eq!([failures.person, failures.device, failures.address, failures.people], [7, 8, 30, 9]);
    let weights: Vec<u8> = Signal::ALL.iter().map(|signal| settings.weights.of(*signal)).collect();
    assert_eq!(weights, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let off = format!("{GOOD}\n[behaviour]\nkeep = false\n");
    let off = parse(&off, "stepgate.toml", PathBuf::new()).unwrap().behaviour;
    assert_eq!(off.settings, BehaviourSettings { keep: false, ..BehaviourSettings::default() });
    let wrong = mistakes(&format!("{GOOD}\n[behaviour]\nrate = 3\n[behaviour.weights]\nburst = 101\nbrust = 1\n"));
    for told in ["`rate`", "`burst` must be", "`brust`"] {
        assert!(wrong.contains(told), "{told}: {wrong}");
    }
}

#[test]
fn a_provider_is_what_its_table_says() {
    let settings = parse(WHOLE, "stepgate.toml", PathBuf::from("/etc/stepgate")).unwrap();
    assert!(settings.company_login_enrols);
    let provider = settings.providers[0].provider();
    assert_eq!((provider.name.as_str(), provider.title.as_str()), ("corp", "Example Corp"));
    assert_eq!(provider.issuer, "https://id.example/realms/corp");
    assert_eq!(provider.renews_every, Some(Duration::from_secs(900)));
    assert!(provider.adds_people && provider.governs_groups);
    assert_eq!(provider.levels[0].acr, "gold");
    assert_eq!(provider.levels[0].strength.to_string(), "second_factor+possession");
    assert!(!format!("{:?}", settings.providers).contains(env!("CARGO_MANIFEST_DIR")), "its secret is not printed");
}

#[test]
fn the_tokens_that_a_service_takes_are_what_its_table_says() {
    let settings = parse(WHOLE, "stepgate.toml", PathBuf::from("/etc/stepgate")).unwrap();
    let service = settings.catalogue.by_name("ledger").unwrap();
    let accepted = service.tokens.as_ref().unwrap().accepted();
    let names: Vec<_> = accepted.providers.iter().map(ToString::to_string).collect();
    assert_eq!((names.join(" ").as_str(), accepted.audience.as_str()), ("corp asked", "https://api.example"));
    assert_eq!((accepted.schemes.as_slice(), accepted.nonces), ([Scheme::Dpop].as_slice(), Nonces::Demanded));
    assert_eq!((accepted.forwarded, accepted.owner_claim.as_deref()), (Forwarded::AsItCame, Some("owner")));
    assert_eq!(
        (accepted.agents[0].client.as_str(), accepted.agents[0].groups.as_slice()),
        ("robot", ["robots".to_owned()].as_slice())
    );
    assert_eq!(service.endpoints.iter().map(|endpoint| endpoint.scopes.join(" ")).collect::<String>(), "approve pay");
    let asked: Vec<_> = settings.introspection.iter().collect();
    assert_eq!((asked.len(), asked[0].0.as_str(), asked[0].1.kept_at_most), (1, "asked", Duration::from_secs(10)));
    assert_eq!(asked[0].1.token_type, TokenType::DangerAbsent);
    assert!(!format!("{:?}", settings.introspection).contains(env!("CARGO_MANIFEST_DIR")), "its secret is not printed");
    assert!(
        parse(GOOD, "stepgate.toml", PathBuf::new()).unwrap().catalogue.by_name("ledger").unwrap().tokens.is_none()
    );
}

#[test]
fn what_is_wrong_with_tokens_is_told() {
    let with = |provider: &str, lines: &str| {
        let providers = format!(
            "[[provider]]\nname = \"corp\"\nissuer = \"https://id.example\"\nclient_id = \"stepgate\"\nclient_auth = \"none\"\n{provider}"
        );
        let tokens = format!("upstream = \"http://127.0.0.1:9001\"\n[service.tokens]\n{lines}\n");
        mistakes(&format!("{providers}\n{}", GOOD.replacen("upstream = \"http://127.0.0.1:9001\"\n", &tokens, 1)))
    };
    let good = "providers = [\"corp\"]";
    assert_eq!(with("", good), "");
    let asked = "[provider.introspection]\nurl = \"https://id.example/i\"\nclient_id = \"x\"";
    for (provider, lines, expected) in [
        ("", "providers = [\"other\"]", "there is no [[provider]] other"),
        ("", "providers = []", "`providers` names nobody"),
        ("", "", "needs `providers`"),
        ("", "providers = [\"corp\"]\nschemes = [\"mac\"]", "\"mac\" is not spoken"),
        ("", "providers = [\"corp\"]\nscopes = [\"a b\"]", "\"a b\" is no scope"),
        ("", "providers = [\"corp\"]\naudience = \"\"", "`audience` must be"),
        ("", "providers = [\"corp\"]\nschemes = [\"bearer\"]\ndpop_nonces = true", "no token of these `schemes` has"),
        ("", "providers = [\"corp\"]\nforward_token = true", "has no key `forward_token`"),
        ("", "providers = [\"corp\"]\n[[service.tokens.agent]]\ngroups = []", "needs `client`"),
        (
            "",
            "providers = [\"corp\"]\n[[service.tokens.agent]]\nclient = \"x\"\nprovider = \"y\"",
            "none of this service's `providers`",
        ),
        (asked, good, "needs `client_secret_file` or `client_secret_env`"),
        (
            "[provider.introspection]\nurl = \"ftp://id.example\"\nclient_id = \"x\"\nclient_secret_env = \"PATH\"",
            good,
            "`url` must be a URL",
        ),
        (
            "[provider.introspection]\nurl = \"https://id.example/i\"\nclient_id = \"x\"\nclient_secret_env = \"PATH\"\nkeep_at_most = \"1h\"",
            good,
            "`keep_at_most`",
        ),
        (
            "preset = \"authentik\"\n[provider.introspection]\nurl = \"https://id.example/i\"\nclient_id = \"x\"\nclient_secret_env = \"PATH\"\ndanger_token_type_absent = true",
            good,
            "authentik answers for refresh tokens as for access tokens; use its JWTs",
        ),
    ] {
        let found = with(provider, lines);
        assert!(found.contains(expected), "{provider} {lines}: expected {expected:?}, found {found:?}");
    }
    let asked_at = |url: &str, more: &str| {
        let asked = format!(
            "{more}\n[provider.introspection]\nurl = \"{url}\"\nclient_id = \"x\"\nclient_secret_env = \"PATH\""
        );
        with(&asked, good)
    };
    for refused in ["http://id.example/i", "https://127.0.0.1/i", "http://[::1]/i", "https://169.254.169.254/i"] {
        let found = asked_at(refused, "");
        assert!(found.contains("`url` must be a URL"), "{refused}: {found:?}");
    }
    assert_eq!(asked_at("https://id.example/i", ""), "");
    assert_eq!(asked_at("http://127.0.0.1:9/i", "danger_loopback = true"), "");
}

#[test]
fn what_is_wrong_with_a_provider_is_told_at_its_place() {
    let provider = |lines: &str| {
        let says = if lines.contains("client_") { "title = \"Corp\"" } else { "client_auth = \"none\"" };
        format!(
            "[[provider]]\nname = \"corp\"\nissuer = \"https://id.example\"\nclient_id = \"stepgate\"\n{says}\n{lines}\n{GOOD}"
        )
    };
    assert!(parse(&provider(""), "stepgate.toml", PathBuf::from("/etc/stepgate")).is_ok());
    for (lines, line, expected) in [
        ("preset = \"keycloack\"", 6, "generic, keycloak, entra"),
        ("client_secret_file = \"no-such-file\"", 6, "cannot be read"),
        ("client_secret_env = \"NO_SUCH_VARIABLE_HERE\"", 6, "is not set"),
        ("client_secret = \"s\"\nclient_auth = \"none\"", 6, "mean `client_secret_env` or `client_secret_file`?"),
        ("client_key_id = \"k\"", 1, "[[provider]] needs `client_secret_file`, `client_secret_env` or"),
        ("client_auth = \"none\"\nclient_secret_env = \"PATH\"", 7, "this secret is never used"),
        ("client_auth = \"none\"\nalgorithms = [\"HS256\"]", 7, "\"HS256\" is not accepted"),
        ("renews_every = \"1s\"", 6, "a duration like"),
        ("issuers = \"x\"", 6, "did you mean `issuer`?"),
        ("governs_groups = true", 6, "`groups_claim` says which claim has them"),
        ("groups = { \"Finance\" = \"finance\" }", 6, "`groups_claim` says which claim has them"),
        ("groups_prefix = \"corp-\"", 6, "`groups_claim` says which claim has them"),
        ("groups_claim = \"g\"\ngroups = { \"Finance\" = \"\" }", 7, "what \"Finance\" is called here"),
        ("[[provider.level]]\nacr = \"x\"", 6, "needs `counts_as`"),
        ("[[provider.level]]\nacr = \"x\"\ncounts_as = [\"mfa\"]", 8, "nothing counts as \"mfa\""),
        ("preset = \"google\"\n[[provider.level]]\nacr = \"x\"\ncounts_as = [\"second_factor\"]", 7, "proves no class"),
    ] {
        let found = mistakes(&provider(lines));
        assert!(found.contains(expected) && found.starts_with(&format!("{line}:")), "{lines}: {found}");
    }
    let twice = format!("{}{}", provider("").replace(GOOD, ""), provider(""));
    assert!(mistakes(&twice).contains("there is another provider corp"));
    let plain = provider("").replace("https://id.example", "http://id.example");
    assert!(mistakes(&plain).contains("issuer"), "{}", mistakes(&plain));
    let here = provider("").replace("https://id.example", "https://127.0.0.1:8443");
    assert!(mistakes(&here).contains("issuer"), "{}", mistakes(&here));
}

#[test]
fn scopes_without_access_tokens_are_told() {
    check(
        "action = \"payments.approve\"\n",
        "action = \"payments.approve\"\nscopes = [\"payments\"]\n",
        "it has no [service.tokens]",
    );
}

#[test]
fn a_clients_secret_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("corp.secret");
    std::fs::write(&secret, "hunter2\n").unwrap();
    let text = format!(
        "[[provider]]\nname = \"corp\"\nissuer = \"https://id.example\"\nclient_id = \"gate\"\n\
         client_secret_file = \"corp.secret\"\n{GOOD}"
    );
    for (mode, is_read) in [(0o644, false), (0o640, false), (0o600, true)] {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        let read = parse(&text, "stepgate.toml", dir.path().to_owned());
        assert_eq!(read.is_ok(), is_read, "{mode:o}");
        if let Err(error) = read {
            assert!(error.lines().join("\n").contains("5:") && error.lines().join("\n").contains("others may read"));
        }
    }
}

#[test]
fn the_stores_password_is_not_printed() {
    let settings = parse(WHOLE, "stepgate.toml", PathBuf::from("/etc/stepgate")).unwrap();
    assert!(settings.store.contains("hunter2"));
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn the_reference_holds_exactly_the_keys_that_are_read() {
    let notes = Mistakes::default();
    read_with(WHOLE, "stepgate.toml", PathBuf::from("/etc/stepgate"), &notes).unwrap();
    let read: Vec<(String, &str)> =
        notes.keys().into_iter().filter(|(table, _)| table != "the configuration").collect();
    let mut told: Vec<(String, &str)> = reference::keys().map(|key| (key.table.to_owned(), key.name)).collect();
    told.sort();
    assert_eq!(read, told);
    let markdown = reference();
    assert!(markdown.starts_with("## `[gate]`\n\n| key |"), "{markdown}");
    for key in reference::keys() {
        assert!(markdown.contains(&format!("| `{}` |", key.name)), "{}", key.name);
    }
}

#[test]
fn b17_nobody_can_be_told_to_believe_everybody() {
    check("[gate]\n", "[gate]\ntrusted_hops = [\"0.0.0.0/0\"]\n", "everybody would be believed");
    check("[gate]\n", "[gate]\ntrusted_hops = [\"::/0\"]\n", "everybody would be believed");
    check("[gate]\n", "[gate]\nposture_header = \"x-posture\"\n", "nobody is believed in it");
    let hop = |header: &str| format!("[gate]\ntrusted_hops = [\"10.0.0.1\"]\nposture_header = \"{header}\"\n");
    check("[gate]\n", &hop("no header"), "a header of its own");
    // What has a meaning of its own would be taken away from every request.
    for name in "accept accept-encoding authorization cache-control connection content-length content-type cookie date \
                 dpop expect forwarded host if-match if-none-match keep-alive last-event-id origin prefer \
                 proxy-authorization range referer sec-fetch-site sec-websocket-key stepgate-assertion te trailer \
                 transfer-encoding upgrade user-agent via x-forwarded-for x-forwarded-proto x-http-method-override \
                 x-real-ip Origin"
        .split_whitespace()
    {
        check("[gate]\n", &hop(name), "a header of its own");
    }
    for own in ["x-device-posture", "device-posture", "date-of-posture", "x-origin-posture", "tent"] {
        assert_eq!(mistakes(&GOOD.replace("[gate]\n", &hop(own))), "", "{own}");
    }
}

#[test]
fn what_could_never_work_is_told() {
    check("http://127.0.0.1:9001", "http://127.0.0.1:4180", "the gate itself listens there");
    check("http://127.0.0.1:9001", "http://localhost:4180", "the gate itself listens there");
    check("http://127.0.0.1:9001", "http://:secret@127.0.0.1:9001", "only scheme, host and port");
    check("http://ledger.localhost:4180", "https://ledger.localhost:4180", "have the scheme of [gate] origin");
    check("listen = \"127.0.0.1:4180\"", "listen = []", "listen nowhere");
    check("[gate]\n", "[gate]\ntime_zone = \"Mars/Olympus\"\n", "a time zone like");
    check("[gate]\n", "[sessions]\nidle = \"2d\"\n[gate]\n", "`idle` is longer than `absolute`");
    check("[gate]\n", "[tries]\nbefore_lock = 20\nbefore_reset = 10\n[gate]\n", "`before_lock` is more");
    check("[gate]\n", "[tries]\nbefore_reset = 101\n[gate]\n", "from 1 to 100");
    check("[gate]\n", "[passkeys]\nattestation_roots = [\"x\"]\n[gate]\n", "only where `allowed_aaguids`");
    check("[gate]\n", "[[network]]\nname = \"x\"\n[[network]]\nname = \"x\"\n[gate]\n", "a name of its own");
    check("form amount as long", "json /a~2 as long", "not a JSON pointer");
    check("form amount as long\"", "form amount as long\", x = \"json /x as long\"", "not both");
    check("payments.approve", "factors.remove", "other inputs in \"stepgate POST /account/factors/{id}/remove\"");
}

#[test]
fn an_action_that_reads_here_and_writes_there_is_two() {
    let text = format!(
        "{GOOD}\n[[service.operation]]\non = \"GET /a\"\naction = \"a.b\"\ntitle = \"t\"\n\
         [[service.operation]]\non = \"POST /a\"\naction = \"a.b\"\ntitle = \"t\"\n"
    );
    assert!(mistakes(&text).contains("use two actions"), "{}", mistakes(&text));
}

#[test]
fn a_head_beside_a_get_is_its_twin() {
    let text = format!(
        "{GOOD}\n[[service.operation]]\non = \"GET /a\"\naction = \"a.b\"\ntitle = \"t\"\n\
         [[service.operation]]\non = \"HEAD /a\"\naction = \"a.c\"\ntitle = \"t\"\n"
    );
    assert!(mistakes(&text).contains("matches the same requests"), "{}", mistakes(&text));
}

#[test]
fn the_gates_own_policies_fit_its_own_operations() {
    use stepgate_core::policy::Policies;
    let settings = parse(GOOD, "stepgate.toml", PathBuf::from("/etc/stepgate")).unwrap();
    for company_login_enrols in [false, true] {
        let built_in = crate::gate::built_in(company_login_enrols, true);
        let loaded = Policies::load(&settings.catalogue, &built_in);
        assert!(loaded.is_ok(), "{:?}", loaded.err());
    }
}

/// Whatever a session has proved, and however lately, a factor is added or removed only
/// by a confirmation of that very request.
#[test]
fn b49_no_proof_of_a_session_stands_for_the_confirmation_of_a_factors_change() {
    use std::sync::Arc;

    use stepgate_core::decide::{Asker, decide, valid_until};
    use stepgate_core::factor::{FactorKind, Strength};
    use stepgate_core::id::{PersonId, SessionId};
    use stepgate_core::operation::{InputValue, Operation};
    use stepgate_core::person::{Login, Person};
    use stepgate_core::policy::Policies;
    use stepgate_core::provider::{Level, Provider, ProviderName};
    use stepgate_core::session::{Assurance, Audience, Device, Proof, SessionView};
    use stepgate_core::surroundings::{Environment, Surroundings};
    use stepgate_core::time::Timestamp;

    let settings = parse(GOOD, "stepgate.toml", PathBuf::from("/etc/stepgate")).unwrap();
    let corp = ProviderName::parse("corp").unwrap();
    let mfa = Strength::SECOND_FACTOR.and(Strength::POSSESSION);
    let level = |acr: &str, strength| Level { acr: acr.to_owned(), strength };
    let provider = Provider {
        name: corp.clone(),
        title: "Corp".to_owned(),
        issuer: "https://id.example".to_owned(),
        levels: vec![level("pwd", Strength::KNOWLEDGE), level("mfa", mfa)],
        adds_people: false,
        governs_groups: false,
        renews_every: None,
    };
    let load = |company_login_enrols| {
        let built_in = crate::gate::built_in(company_login_enrols, false);
        let loaded = Policies::load(&settings.catalogue, &built_in).unwrap();
        loaded.with_providers(std::slice::from_ref(&provider))
    };
    let (policies, by_login) = (load(false), load(true));
    let service = Arc::clone(settings.catalogue.by_name("stepgate").unwrap());
    let at = Timestamp::from_ms(1_735_732_800_000);
    let surroundings = Surroundings::new(std::net::Ipv4Addr::LOCALHOST.into(), "", at, &Environment::default());
    let session = |proved: &[FactorKind]| SessionView {
        id: SessionId::from_bytes([1; 16]),
        person: Arc::new(Person {
            id: PersonId::from_bytes([2; 16]),
            login: Login::parse("ada").unwrap(),
            name: String::new(),
            email: String::new(),
            groups: Vec::new(),
            active: true,
        }),
        audience: Audience::Gate,
        generation: 1,
        newest_generation: 1,
        assurance: Assurance::new(proved.iter().map(|kind| Proof { kind: *kind, at, generation: 1 }).collect()),
        enrolled: FactorKind::BUILT_IN.into(),
        providers: Arc::new([corp.clone()]),
        risks: Arc::new([]),
        started_at: at,
        last_used_at: at,
        ends_at: Timestamp::from_ms(i64::MAX),
        browser: None,
        device: Device::default(),
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        country: String::new(),
        agent: String::new(),
        token_reused: false,
    };
    let changes = service.endpoints.iter().filter(|endpoint| endpoint.action.as_str().starts_with("factors."));
    assert_eq!(changes.clone().count(), 3, "to enrol, to remove, and to unlock");
    for endpoint in changes {
        let value =
            |input: &stepgate_core::catalogue::InputSpec| (input.name.clone(), InputValue::String("passkey".into()));
        let operation = Operation {
            service: Arc::clone(&service),
            endpoint: Arc::clone(endpoint),
            inputs: endpoint.inputs.iter().map(value).collect(),
            method: "POST".into(),
            url: String::new(),
            content_type: String::new(),
            effect_headers: std::collections::BTreeMap::new(),
        };
        let said_by = |policies: &Policies, asker: Asker<'_>, confirmed: &[FactorKind]| {
            let confirmed: Vec<_> = confirmed.iter().map(|kind| (*kind, at)).collect();
            decide(policies, operation.clone(), asker, &surroundings, &confirmed).summary()
        };
        let said = |asker: Asker<'_>, confirmed: &[FactorKind]| said_by(&policies, asker, confirmed);
        assert_eq!(said(Asker::Anonymous, &FactorKind::BUILT_IN), "sign in");
        let sessions =
            FactorKind::BUILT_IN.map(|kind| session(&[kind])).into_iter().chain([session(&FactorKind::BUILT_IN)]);
        for session in sessions {
            let who = Asker::SignedIn(&session);
            assert_eq!(said(who, &[]), "confirm: passkey | totp | recovery_code", "{}", endpoint.resource);
            assert_eq!(valid_until(&policies, &operation, who, &surroundings, &[]), None);
            assert_ne!(said(who, &[FactorKind::Password]), "permit", "a password is what a thief knows");
            assert_eq!(said(who, &[FactorKind::PASSKEY]), "permit");
            assert_ne!(said(who, &[FactorKind::Idp(mfa)]), "permit", "unless the operator allows it");
        }
        // Where a company login may add a factor, one that counts as a second factor does, for
        // this request, and it takes none away.
        let adds = endpoint.action.as_str() == "factors.enrol";
        let nobody_yet = SessionView { enrolled: Arc::new([]), ..session(&[FactorKind::Idp(Strength::KNOWLEDGE)]) };
        let who = Asker::SignedIn(&nobody_yet);
        let asked = said_by(&by_login, who, &[]);
        assert_eq!(
            asked == "confirm: idp:second_factor+possession | passkey (not enrolled) | totp (not enrolled)",
            adds,
            "{asked}"
        );
        assert_eq!(said_by(&by_login, who, &[FactorKind::Idp(mfa)]) == "permit", adds);
        assert_ne!(said_by(&by_login, who, &[FactorKind::Idp(Strength::KNOWLEDGE)]), "permit");
        // A strong login before does not stand for a strong login for this.
        let signed_in_well = SessionView { enrolled: Arc::new([]), ..session(&[FactorKind::Idp(mfa)]) };
        let who = Asker::SignedIn(&signed_in_well);
        assert_ne!(said_by(&by_login, who, &[FactorKind::Idp(Strength::KNOWLEDGE)]), "permit");
        assert!(!said_by(&by_login, who, &[]).contains("idp:knowledge"), "it is not even offered");
        // It adds a passkey and nothing else.
        let other = Operation {
            inputs: endpoint
                .inputs
                .iter()
                .map(|input| (input.name.clone(), InputValue::String("totp".into())))
                .collect(),
            ..operation.clone()
        };
        let confirmed = [(FactorKind::Idp(mfa), at)];
        assert_ne!(decide(&by_login, other, who, &surroundings, &confirmed).summary(), "permit");
    }
}

const MACHINES: &str = "[machines]\nlisten = \"127.0.0.1:0\"\norigin = \"http://localhost:1\"\n";
const CORP: &str = "[[machines.transmitter]]\nname = \"corp\"\nissuer = \"https://i.example\"\naudience = \"a\"\n\
                    jwks_uri = \"https://i.example/jwks\"\n";

#[test]
fn mistakes_about_other_systems_are_told() {
    let check = |more: &str, expected: &str| {
        let found = mistakes(&format!("{GOOD}\n{more}"));
        match expected {
            "" => assert_eq!(found, "", "{more}"),
            _ => assert!(found.contains(expected), "{more}: expected {expected:?}, found {found:?}"),
        }
    };
    check(&format!("{MACHINES}[machines.scim]\n{CORP}"), "");
    check(MACHINES, "serves nothing");
    check("[machines]\n[machines.scim]\n", "needs `listen`");
    check(&format!("{}[machines.scim]\n", MACHINES.replace("127.0.0.1:0", "0.0.0.0:1")), "on loopback only");
    check(&format!("{}[machines.scim]\n", MACHINES.replace("localhost:1", "m.example")), "use https");
    check(&format!("{MACHINES}{}", CORP.replace("https://i.example/jwks", "http://i.example/jwks")), "is not https");
    check(
        &format!("{MACHINES}{}", CORP.replace("https://i.example/jwks", "https://127.0.0.1/jwks")),
        "danger_loopback",
    );
    // At its place, and without a word about what can be read for itself.
    let lines = GOOD.lines().count();
    let nobody = format!("{GOOD}\n{MACHINES}{CORP}provider = \"nobody\"\n");
    let told = mistakes(&nobody);
    assert_eq!(
        told,
        format!("{}:12: the transmitter `corp` names the provider `nobody`, which is not configured", lines + 10)
    );
    let unread = mistakes(&format!("{GOOD}\n{MACHINES}[[machines.transmitter]]\nname = \"corp\"\n"));
    assert!(unread.contains("needs `issuer`") && !unread.contains("serves nothing"), "{unread}");
    check(&format!("{MACHINES}{CORP}{CORP}"), "is taken");
    check(&format!("{MACHINES}{CORP}poll = \"https://i.example/poll\"\n"), "needs `poll_token_file`");
    let subscribes = |lines: &str, says: &str| check(&format!("{MACHINES}{CORP}{lines}"), says);
    subscribes("foreign_subjects = \"forgive\"\n", "`ignore` or `refuse`");
    subscribes("subscribe = \"stream\"\n", "`poll` or `push`");
    subscribes("subscribe = \"poll\"\n", "needs `subscribe_token_file`");
    subscribes("subscribe_token_file = \"t\"\n", "is for `subscribe`");
    subscribes("subscribe = \"push\"\nsubscribe_token_file = \"t\"\n", "needs `push_token_file`");
    let both = "subscribe = \"poll\"\nsubscribe_token_file = \"t\"\n";
    subscribes(&format!("{both}push_token_file = \"p\"\n"), "is for `subscribe = \"push\"`");
    let polled = "poll = \"https://i.example/poll\"\npoll_token_file = \"t\"\n";
    subscribes(&format!("{both}{polled}"), "`poll` is not for it");
}

#[test]
fn b127_endpoints_that_are_named_are_public_unless_the_configuration_says_otherwise() {
    const SUBSCRIBES: &str = "subscribe = \"poll\"\nsubscribe_token_file = \"t\"\n";
    for (lines, reach) in [
        ("", Reach::Public),
        ("private_endpoints = true\n", Reach::Network),
        ("danger_loopback = true\n", Reach::DangerLoopback),
        ("danger_loopback = true\nprivate_endpoints = true\n", Reach::DangerLoopback),
    ] {
        let text = format!("{GOOD}\n{MACHINES}{CORP}{SUBSCRIBES}{lines}");
        let settings = parse(&text, "stepgate.toml", PathBuf::from("/etc/stepgate")).unwrap();
        let machines = settings.machines.unwrap();
        assert_eq!(machines.transmitters[0].subscribe.as_ref().unwrap().reach, reach, "{lines}");
    }
    let alone = format!("{GOOD}\n{MACHINES}{CORP}private_endpoints = true\n");
    assert!(mistakes(&alone).contains("is for `subscribe`"), "{}", mistakes(&alone));
}

#[test]
fn the_manual_says_what_is_read() {
    const MANUAL: &str = include_str!("../../../../docs/configuration.md");
    assert!(
        MANUAL.contains(reference().trim()),
        "docs/configuration.md is not what the reference says:\n{}",
        reference()
    );
    let example = MANUAL.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(mistakes(example), "");
}

#[test]
fn mistakes_about_places_and_calendars_are_told() {
    let check = |more: &str, expected: &str| {
        let found = mistakes(&format!("{GOOD}\n{more}"));
        match expected {
            "" => assert_eq!(found, "", "{more}"),
            _ => assert!(found.contains(expected), "{more}: expected {expected:?}, found {found:?}"),
        }
    };
    check("[places]\nfile = \"City.mmdb\"\ndenied = [\"KP\", \"UA-43\", \"ZZ\"]\n", "");
    check("[places]\ndenied = [\"KP\"]\n", "name a database of places as `file`");
    check("[places]\nfile = \"City.mmdb\"\ndenied = [\"kp\"]\n", "two capital letters");
    check("[places]\nfile = \"City.mmdb\"\ndenied = [\"KP\", \"KP\"]\n", "KP stands here twice");
    check("[places]\nfiel = \"City.mmdb\"\n", "file");
    let calendar = |more: &str| format!("[[calendar]]\nname = \"trading\"\n{more}\n");
    check(&calendar(""), "");
    check(&calendar("from = \"08:00\"\nto = \"24:00\"\ntime_zone = \"Europe/Zurich\""), "");
    check(&calendar("days = [\"monday\", \"satruday\"]"), "did you mean \"saturday\"?");
    check(&calendar("holidays = [\"2026-02-30\"]"), "\"2026-02-30\" is no date");
    check(&calendar("holidays = [\"2026-12-25T00:00\"]"), "is no date");
    check(&calendar("from = \"8:00\""), "a time of day like \"08:30\"");
    check(&calendar("from = \"22:00\"\nto = \"06:00\""), "make two calendars");
    check(&calendar("time_zone = \"Europe/Zurch\""), "a time zone like");
    check(&format!("{}{}", calendar(""), calendar("")), "a name of its own");
    check("[[calendar]]\nname = \"\"\n", "a name of its own");
}

#[test]
fn a_calendar_without_a_zone_has_that_of_the_gate() {
    let text = GOOD.replace("[gate]\n", "[gate]\ntime_zone = \"Europe/Zurich\"\n");
    let text = format!("{text}\n[[calendar]]\nname = \"a\"\n[[calendar]]\nname = \"b\"\ntime_zone = \"UTC\"\n");
    let settings = parse(&text, "stepgate.toml", PathBuf::from("/etc/stepgate")).unwrap();
    let zones: Vec<_> = settings.calendars.iter().map(|calendar| calendar.zone.iana_name().unwrap()).collect();
    assert_eq!(zones, ["Europe/Zurich", "UTC"]);
}
