//! Client certificates at the listener: tokens that are bound to one, and the connections on which they count.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use stepgate_core::person::Login;
use stepgate_core::ports::{EntryQuery, Store as _};
use stepgate_core::provider::ProviderName;
use stepgate_core::time::{Clock, Timestamp};
use stepgate_testkit::clock::BEGINNING;
use stepgate_testkit::provider::TestProvider;
use stepgate_testkit::{Authority, ClientCertificate};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::{Behind, Certificate, Payments, World};

const POLICIES: &str = r#"
@id("finance-uses-the-ledger")
permit (principal is Person in Group::"finance", action, resource in Service::"ledger");
"#;

const LEDGER: &str = "ledger.localhost";
const DAY: Duration = Duration::from_secs(86_400);

fn ago(days: u32) -> Timestamp {
    Timestamp::from_ms(BEGINNING.as_ms() - i64::from(days) * 86_400_000)
}

fn in_days(days: u32) -> Timestamp {
    BEGINNING.plus(DAY * days)
}

/// A gate whose service takes tokens that are bound to certificates of this authority.
struct Api {
    world: World,
    provider: TestProvider,
    payments: Payments,
    authority: Authority,
    own: Certificate,
    files: TempDir,
}

impl Api {
    async fn start() -> Self {
        Self::with("anchors = [\"FILES/ca.pem\"]\ncrls = [\"FILES/list.crl\"]").await
    }

    /// `vouches` stands in the table of the authority.
    async fn with(vouches: &str) -> Self {
        let clock = World::clock();
        let time: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let provider = TestProvider::start(time).await;
        let payments = Payments::start().await;
        let authority = Authority::new("Machines");
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.pem"), authority.pem()).unwrap();
        std::fs::write(files.path().join("list.crl"), authority.revoked(&[], ago(1), in_days(7))).unwrap();
        let table = format!(
            r#"
[service.tokens]
providers = ["corp"]
audience = "https://api.example"
client_certificates = ["machines"]
{}
[[client_certificates]]
name = "machines"
{vouches}
[[provider]]
name = "corp"
issuer = "{}"
client_id = "gate"
client_secret_env = "CARGO_PKG_NAME"
danger_loopback = true
"#,
            payments.behind().operations,
            provider.issuer(),
        );
        let table = table.replace("FILES", files.path().to_str().unwrap());
        // Each test leaks one small text and ends.
        let behind = Behind { operations: Box::leak(table.into_boxed_str()), policies: POLICIES, ..payments.behind() };
        let own = certificate();
        let world = World::at_over_tls(behind, clock, &own).await;
        let api = Self { world, provider, payments, authority, own, files };
        api.knows_ada().await;
        api
    }

    async fn knows_ada(&self) {
        let flows = &self.world.gate.flows;
        let login = Login::parse("ada").unwrap();
        let groups = vec!["finance".to_owned()];
        let person = flows.add_person(login, "Ada", "ada@example.test", groups, "test").await.unwrap();
        let live = flows.live.load_full();
        let provider = live.providers.named(&ProviderName::parse("corp").unwrap()).unwrap();
        flows.add_identity(&person, provider, "00u1", "test").await.unwrap();
    }

    /// A token that is bound as `cnf` says.
    fn token(&self, cnf: &Value) -> String {
        let now = self.world.now().as_ms() / 1_000;
        let mut claims = json!({
            "iss": self.provider.issuer(), "aud": "https://api.example", "sub": "00u1", "client_id": "app",
            "jti": "1", "iat": now, "exp": now + 40 * 86_400, "auth_time": now,
        });
        if !cnf.is_null() {
            claims["cnf"] = cnf.clone();
        }
        let key = self.provider.key();
        key.sign_with(&json!({ "typ": "at+jwt", "alg": key.algorithm(), "kid": key.id() }), &claims)
    }

    fn bound_to(&self, certificate: &ClientCertificate) -> String {
        self.token(&json!({ "x5t#S256": certificate.thumbprint().to_string() }))
    }

    fn good(&self) -> ClientCertificate {
        self.authority.issue("robot", ago(1), in_days(30))
    }

    fn client(&self, shows: Option<&ClientCertificate>) -> Client {
        Client::new(&self.own.chain, self.world.port, shows)
    }

    /// What a new connection that shows this gets for this token.
    async fn call(&self, shows: Option<&ClientCertificate>, token: &str) -> String {
        let mut wire = self.client(shows).connect(LEDGER).await;
        wire.call(LEDGER, token).await
    }

    /// Replaces the list, and waits as long as it may take until it counts.
    async fn revoke(&self, these: &[&ClientCertificate], next_update: Timestamp) {
        std::fs::write(self.path("list.crl"), self.authority.revoked(these, self.world.now(), next_update)).unwrap();
        tokio::time::sleep(Duration::from_millis(900)).await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }
}

pub(crate) fn certificate() -> Certificate {
    let names = ["localhost", LEDGER, "card.localhost"].map(str::to_owned).to_vec();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    Certificate { chain: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

/// A client that shows one certificate wherever it is asked.
struct Client {
    config: Arc<rustls::ClientConfig>,
    port: u16,
}

impl Client {
    fn new(root: &str, port: u16, shows: Option<&ClientCertificate>) -> Self {
        Self { config: client_config(root, shows, rustls::DEFAULT_VERSIONS), port }
    }

    /// A new connection whose hello names this host.
    async fn connect(&self, host: &'static str) -> Wire {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let stream = TlsConnector::from(Arc::clone(&self.config)).connect(host.try_into().unwrap(), stream).await;
        Wire { stream: stream.unwrap(), port: self.port }
    }
}

struct Wire {
    stream: TlsStream<TcpStream>,
    port: u16,
}

impl Wire {
    /// Asks the upstream's list with this token; gives the status, and what is wrong with the token or the request.
    async fn call(&mut self, host: &str, token: &str) -> String {
        self.call_with(host, &format!("authorization: Bearer {token}\r\n")).await
    }

    async fn call_with(&mut self, host: &str, headers: &str) -> String {
        let request = format!(
            "GET /payments HTTP/1.1\r\nhost: {host}:{}\r\naccept: application/json\r\n{headers}\r\n",
            self.port
        );
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        let (head, length) = loop {
            let mut buffer = [0; 4096];
            let read = self.stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&said));
            said.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&said).to_lowercase();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                break (head.len() + 4, length.unwrap_or("0").trim().parse::<usize>().unwrap());
            }
        };
        while said.len() < head + length {
            let mut buffer = [0; 4096];
            let read = self.stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the body ended early");
            said.extend_from_slice(&buffer[..read]);
        }
        let status = String::from_utf8_lossy(&said[9..12]).into_owned();
        let body: Value = serde_json::from_slice(&said[head..head + length]).unwrap_or_default();
        let what = body["what"].as_str().or(body["code"].as_str()).unwrap_or_default();
        format!("{status} {what}").trim().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b100_a_bound_token_goes_through_with_its_certificate_and_with_no_other() {
    let api = Api::start().await;
    let (good, other) = (api.good(), api.good());
    let stranger = Authority::new("Strangers").issue("robot", ago(1), in_days(30));
    // Its issuer has the right name, and another key.
    let namesake = Authority::new("Machines").issue("robot", ago(1), in_days(30));
    let expired = api.authority.issue("robot", ago(3), ago(1));
    let early = api.authority.issue("robot", in_days(1), in_days(2));
    let own = ClientCertificate::self_signed("robot", ago(1), in_days(30));
    let server = api.authority.issue_with("robot", ago(1), in_days(30), |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_eq!(api.call(Some(&good), &api.bound_to(&good)).await, "200");
    let cases = [
        (None, &good, "token_certificate_missing"),
        (Some(&other), &good, "token_certificate_other"),
        (Some(&stranger), &stranger, "token_certificate_issuer"),
        (Some(&namesake), &namesake, "token_certificate_chain"),
        (Some(&own), &own, "token_certificate_issuer"),
        (Some(&expired), &expired, "token_certificate_expired"),
        (Some(&early), &early, "token_certificate_not_yet_valid"),
        (Some(&server), &server, "token_certificate_purpose"),
    ];
    for (shown, bound, wrong) in cases {
        assert_eq!(api.call(shown, &api.bound_to(bound)).await, format!("401 {wrong}"));
    }
    // Whoever has no bound token needs no certificate, and none that is bad is in the way.
    for shown in [None, Some(&good), Some(&stranger)] {
        assert_eq!(api.call(shown, &api.token(&Value::Null)).await, "200");
    }
    // What a client writes into headers is no certificate, and does not go on.
    let mut wire = api.client(None).connect(LEDGER).await;
    let encoded = base64_of(&good.der);
    let (bound, unbound) = (api.bound_to(&good), api.token(&Value::Null));
    let written = format!(
        "authorization: Bearer {bound}\r\nclient-cert: :{encoded}:\r\nx-ssl-client-cert: {encoded}\r\nx-client-cert: {encoded}\r\n"
    );
    assert_eq!(wire.call_with(LEDGER, &written).await, "401 token_certificate_missing");
    let written = written.replace(&bound, &unbound);
    assert_eq!(wire.call_with(LEDGER, &written).await, "200");
    let arrived = api.payments.0.requests().pop().unwrap();
    for name in ["client-cert", "x-ssl-client-cert", "x-client-cert", "authorization"] {
        assert!(arrived.value(name).is_none(), "{name}");
    }
    let query = EntryQuery { limit: 1_000, ..EntryQuery::default() };
    let entries = api.world.gate.database.entries(query).await.unwrap();
    let entries: String = entries.iter().map(|entry| serde_json::to_string(&entry.entry.event).unwrap()).collect();
    for (_, _, wrong) in cases {
        assert!(entries.contains(wrong), "{wrong} is no entry: {entries}");
    }
    api.world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn b96_what_is_revoked_ends_within_a_second_on_connections_that_are_open() {
    let api = Api::start().await;
    let (good, bad) = (api.good(), api.good());
    let (mut of_good, mut of_bad) =
        (api.client(Some(&good)).connect(LEDGER).await, api.client(Some(&bad)).connect(LEDGER).await);
    let (good_token, bad_token) = (api.bound_to(&good), api.bound_to(&bad));
    for _ in 0..2 {
        assert_eq!(of_good.call(LEDGER, &good_token).await, "200");
        assert_eq!(of_bad.call(LEDGER, &bad_token).await, "200");
    }
    api.revoke(&[&bad], in_days(7)).await;
    assert_eq!(of_bad.call(LEDGER, &bad_token).await, "401 token_certificate_revoked");
    assert_eq!(api.call(Some(&bad), &bad_token).await, "401 token_certificate_revoked");
    assert_eq!(of_good.call(LEDGER, &good_token).await, "200");
    // A broken list, an empty one, and one that is gone change nothing: nobody is let in again.
    let list = api.path("list.crl");
    let broken = [Some("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"), Some(""), None];
    for broken in broken {
        match broken {
            Some(text) => std::fs::write(&list, text).unwrap(),
            None => std::fs::remove_file(&list).unwrap(),
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(of_bad.call(LEDGER, &bad_token).await, "401 token_certificate_revoked", "{broken:?}");
        assert_eq!(of_good.call(LEDGER, &good_token).await, "200", "{broken:?}");
    }
    // A list of somebody else says nothing of these.
    std::fs::write(&list, Authority::new("Others").revoked(&[], ago(1), in_days(7))).unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(of_good.call(LEDGER, &good_token).await, "401 token_certificate_revocation_unknown");
    // Nor does one with the right name that another key signed.
    std::fs::write(&list, Authority::new("Machines").revoked(&[], ago(1), in_days(8))).unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(of_good.call(LEDGER, &good_token).await, "401 token_certificate_revocation_unknown");
    api.revoke(&[], in_days(7)).await;
    assert_eq!(of_bad.call(LEDGER, &bad_token).await, "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn b96_dates_that_pass_end_what_rests_on_them_on_connections_that_are_open() {
    let api = Api::start().await;
    let (short, long) = (api.authority.issue("robot", ago(1), in_days(2)), api.good());
    let mut of_short = api.client(Some(&short)).connect(LEDGER).await;
    let mut of_long = api.client(Some(&long)).connect(LEDGER).await;
    let (short_token, long_token) = (api.bound_to(&short), api.bound_to(&long));
    assert_eq!(of_short.call(LEDGER, &short_token).await, "200");
    assert_eq!(of_long.call(LEDGER, &long_token).await, "200");
    api.world.clock.advance(DAY * 2 + Duration::from_secs(1));
    assert_eq!(of_short.call(LEDGER, &short_token).await, "401 token_certificate_expired");
    assert_eq!(of_long.call(LEDGER, &long_token).await, "200");
    // The list is past its next update: nobody knows what was revoked since.
    api.world.clock.advance(DAY * 5);
    assert_eq!(of_long.call(LEDGER, &long_token).await, "401 token_certificate_revocation_list_expired");
    api.revoke(&[], in_days(20)).await;
    assert_eq!(of_long.call(LEDGER, &long_token).await, "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn b101_what_a_connection_showed_counts_for_the_host_of_its_hello() {
    let api = Api::start().await;
    let good = api.good();
    let token = api.bound_to(&good);
    let client = api.client(Some(&good));
    // A connection to a host that asks for nothing reaches none that asks, whatever stands in `Host`.
    let mut gate = client.connect("localhost").await;
    assert_eq!(gate.call(LEDGER, &token).await, "421 misdirected");
    assert_eq!(gate.call(LEDGER, &api.token(&Value::Null)).await, "421 misdirected");
    // Nor the other way: what one host asked for is not shown to another.
    let mut ledger = client.connect(LEDGER).await;
    assert_eq!(ledger.call("localhost", &token).await, "421 misdirected");
    assert_eq!(ledger.call(LEDGER, &token).await, "200");
    // A host is the same in other letters, in the hello and in the request.
    let mut ledger = client.connect("LEDGER.localhost").await;
    assert_eq!(ledger.call("Ledger.LOCALHOST", &token).await, "200");
    // Without a name in the hello it is for hosts that ask for nothing.
    let mut nameless = Client { config: without_name(&client), port: client.port }.connect(LEDGER).await;
    assert_eq!(nameless.call(LEDGER, &token).await, "421 misdirected");
}

fn without_name(client: &Client) -> Arc<rustls::ClientConfig> {
    let mut config = (*client.config).clone();
    config.enable_sni = false;
    Arc::new(config)
}

#[tokio::test(flavor = "multi_thread")]
async fn b96_no_session_is_resumed_where_a_certificate_was_shown() {
    let api = Api::start().await;
    let good = api.good();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let config = client_config(&api.own.chain, Some(&good), &[version]);
        let client = Client { config, port: api.world.port };
        for host in [LEDGER, "localhost"] {
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let mut wire = client.connect(host).await;
                // Tickets come with the first bytes.
                let _ = wire.call(host, &api.bound_to(&good)).await;
                kinds.push(wire.stream.get_ref().1.handshake_kind().unwrap());
            }
            let expected = match host {
                LEDGER => [rustls::HandshakeKind::Full, rustls::HandshakeKind::Full],
                // So that the test would see one.
                _ => [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed],
            };
            assert_eq!(kinds, expected, "{host} {version:?}");
        }
    }
}

fn client_config(
    root: &str,
    shows: Option<&ClientCertificate>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some(one) => {
            let key = PrivateKeyDer::from_pem_slice(one.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![CertificateDer::from(one.der.clone())], key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_to_vouch_where_the_token_says_which_certificate() {
    let api = Api::with("anchors = [\"FILES/ca.pem\"]\ndanger_no_crls = true").await;
    let good = api.good();
    assert_eq!(api.call(Some(&good), &api.bound_to(&good)).await, "200");
    drop(api);
    let api = Api::with("key_alone = true").await;
    let own = ClientCertificate::self_signed("robot", ago(1), in_days(1));
    let other = ClientCertificate::self_signed("robot", ago(1), in_days(1));
    let over = ClientCertificate::self_signed("robot", ago(2), ago(1));
    assert_eq!(api.call(Some(&own), &api.bound_to(&own)).await, "200");
    assert_eq!(api.call(Some(&other), &api.bound_to(&own)).await, "401 token_certificate_other");
    assert_eq!(api.call(Some(&over), &api.bound_to(&over)).await, "401 token_certificate_expired");
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
