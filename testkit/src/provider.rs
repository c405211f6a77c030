//! An OpenID provider on loopback that signs a person in at once, is as strict with its
//! client as a real one, remembers what it was asked, and lies as it is told.
//!
//! Honest, it does what the standards say: it verifies client, redirect URI, PKCE and
//! code; a new login is made when `prompt` or `max_age` asks for one; a class that the
//! person can reach is reached; an essential one that they cannot is an error.

mod answers;
mod script;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use stepgate_core::time::{Clock, Timestamp};

use crate::{Answer, RecordedRequest, RecordingUpstream, Signer};

pub use script::{Client, ClientProof, Forged, Somebody};

/// A provider that runs.
#[derive(Debug)]
pub struct TestProvider {
    server: RecordingUpstream,
    state: Arc<Mutex<State>>,
}

type Change<T> = Arc<dyn Fn(&mut T) + Send + Sync>;
type Instead = Arc<dyn Fn(&RecordedRequest) -> Answer + Send + Sync>;

struct State {
    issuer: String,
    clock: Arc<dyn Clock>,
    clients: Vec<Client>,
    somebody: Somebody,
    /// The first signs; all are published.
    keys: Vec<Arc<Signer>>,
    signs_with: Option<Arc<Signer>>,
    refuses: Option<String>,
    change_metadata: Option<Change<Value>>,
    change_answer: Option<Change<Vec<(String, String)>>>,
    change_token: Option<Change<Forged>>,
    instead: HashMap<String, Instead>,
    asked: Vec<BTreeMap<String, String>>,
    pushed: HashMap<String, BTreeMap<String, String>>,
    grants: HashMap<String, Grant>,
    refreshes: HashMap<String, Grant>,
    made: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("issuer", &self.issuer).field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// What a code or a refresh token stands for.
#[derive(Clone, Debug)]
struct Grant {
    client: String,
    redirect_uri: String,
    challenge: Option<String>,
    nonce: Option<String>,
    somebody: Somebody,
    scope: String,
}

impl TestProvider {
    /// Starts one that tells the time by this clock, with an ES256 key and nobody's client.
    pub async fn start(clock: Arc<dyn Clock>) -> Self {
        let somebody = Somebody::new("subject-1", clock.now());
        let state = Arc::new(Mutex::new(State {
            issuer: String::new(),
            clock,
            clients: Vec::new(),
            somebody,
            keys: vec![Arc::new(Signer::new("ES256", "key-1"))],
            signs_with: None,
            refuses: None,
            change_metadata: None,
            change_answer: None,
            change_token: None,
            instead: HashMap::new(),
            asked: Vec::new(),
            pushed: HashMap::new(),
            grants: HashMap::new(),
            refreshes: HashMap::new(),
            made: 0,
        }));
        let answering = Arc::clone(&state);
        let server = RecordingUpstream::start(move |request| locked(&answering).answer(request)).await;
        locked(&state).issuer = server.url();
        Self { server, state }
    }

    /// Its issuer identifier.
    pub fn issuer(&self) -> String {
        self.state().issuer.clone()
    }

    /// Registers a client; one of the same name is replaced.
    pub fn register(&self, client: Client) {
        let mut state = self.state();
        state.clients.retain(|known| known.id != client.id);
        state.clients.push(client);
    }

    /// Who is signed in there from now on.
    pub fn signed_in(&self, somebody: Somebody) {
        self.state().somebody = somebody;
    }

    /// Who is signed in there, with what they did since.
    pub fn somebody(&self) -> Somebody {
        self.state().somebody.clone()
    }

    /// Answers each request to authorize with this error of OAuth.
    pub fn refuse(&self, error: &str) {
        self.state().refuses = Some(error.to_owned());
    }

    /// Signs with this key from now on, and publishes it alone.
    pub fn rotate(&self, key: Signer) {
        let mut state = self.state();
        state.keys = vec![Arc::new(key)];
        state.signs_with = None;
    }

    /// Signs with a key that it does not publish.
    pub fn sign_with_hidden(&self, key: Signer) {
        self.state().signs_with = Some(Arc::new(key));
    }

    /// The key that it signs with.
    pub fn key(&self) -> Arc<Signer> {
        let state = self.state();
        state.signer()
    }

    /// Changes what it says of itself.
    pub fn change_metadata(&self, change: impl Fn(&mut Value) + Send + Sync + 'static) {
        self.state().change_metadata = Some(Arc::new(change));
    }

    /// Changes the query with which the browser comes back.
    pub fn change_answer(&self, change: impl Fn(&mut Vec<(String, String)>) + Send + Sync + 'static) {
        self.state().change_answer = Some(Arc::new(change));
    }

    /// Changes each token that it signs.
    pub fn change_token(&self, change: impl Fn(&mut Forged) + Send + Sync + 'static) {
        self.state().change_token = Some(Arc::new(change));
    }

    /// Answers this path so, instead of doing what it is for.
    pub fn answer_instead(&self, path: &str, answer: impl Fn(&RecordedRequest) -> Answer + Send + Sync + 'static) {
        self.state().instead.insert(path.to_owned(), Arc::new(answer));
    }

    /// Does what it is for again, in all things.
    pub fn be_honest(&self) {
        let mut state = self.state();
        state.signs_with = None;
        state.refuses = None;
        state.change_metadata = None;
        state.change_answer = None;
        state.change_token = None;
        state.instead.clear();
    }

    /// The parameters of each request to authorize until now, pushed ones among them.
    pub fn asked(&self) -> Vec<BTreeMap<String, String>> {
        self.state().asked.clone()
    }

    /// All requests that reached it.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.server.requests()
    }

    /// How often this path was called.
    pub fn calls(&self, path: &str) -> usize {
        let is_it = |request: &&RecordedRequest| request.target().split('?').next() == Some(path);
        self.requests().iter().filter(is_it).count()
    }

    /// Ends all logins of everybody: refresh tokens are worth nothing any more.
    pub fn end_logins(&self) {
        self.state().refreshes.clear();
    }

    /// A logout token for a client (OpenID Connect Back-Channel Logout 1.0). A session that was logged out does not
    /// come back: whoever it names has a `sid` of its own from then on.
    pub fn logout_token(&self, client: &str, subject: Option<&str>, sid: Option<&str>) -> String {
        let mut state = self.state();
        let now_s = state.now_s();
        let mut claims = json!({
            "iss": state.issuer, "aud": client, "iat": now_s, "exp": now_s + 120, "jti": state.next("logout"),
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        let named = [("sub", subject), ("sid", sid)];
        for (name, value) in named.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            claims[name] = json!(value);
        }
        if subject == Some(state.somebody.subject.as_str()) || sid == Some(state.somebody.sid.as_str()) {
            state.somebody.sid = state.next("sid");
        }
        state.signed("logout+jwt", claims)
    }

    /// Posts a logout token to where a client wants it, and gives the status.
    pub async fn post_logout_token(&self, to: &str, token: &str) -> u16 {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let body = url::form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", token).finish();
        let request = client.post(to).header("content-type", "application/x-www-form-urlencoded").body(body);
        request.send().await.expect("the client of the provider answers").status().as_u16()
    }

    /// Goes where a browser would: follows the URL to the provider and gives the query with which it comes back.
    pub async fn visit(&self, url: &str) -> String {
        let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let answer = builder.build().expect("a client").get(url).send().await.expect("the provider answers");
        let status = answer.status();
        let Some(location) = answer.headers().get("location") else {
            panic!("the provider shows a page ({status}): {}", answer.text().await.unwrap_or_default());
        };
        let location = location.to_str().expect("a URL").to_owned();
        location.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default()
    }

    /// Stops: from now on nobody is there.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

fn locked(state: &Arc<Mutex<State>>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn now_s(&self) -> i64 {
        self.clock.now().as_ms() / 1000
    }

    fn next(&mut self, what: &str) -> String {
        self.made += 1;
        format!("{what}-{}", self.made)
    }

    fn signer(&self) -> Arc<Signer> {
        self.signs_with.clone().unwrap_or_else(|| Arc::clone(self.keys.first().expect("a key")))
    }

    fn signed(&self, typ: &str, claims: Value) -> String {
        let signer = self.signer();
        let header = json!({ "typ": typ, "alg": signer.algorithm(), "kid": signer.id() });
        let mut forged = Forged { header, claims, signer, instead: None };
        if let Some(change) = &self.change_token {
            change(&mut forged);
        }
        forged.text()
    }

    fn id_token(&self, grant: &Grant, nonce: Option<&str>, access_token: &str) -> String {
        let (now_s, somebody) = (self.now_s(), &grant.somebody);
        let mut claims: Map<String, Value> = somebody.claims.clone();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("iss", json!(self.issuer));
        put("sub", json!(somebody.subject));
        put("aud", json!(grant.client));
        put("iat", json!(now_s));
        put("exp", json!(now_s + 300));
        put("auth_time", json!(somebody.logged_in_at.as_ms() / 1000));
        put("sid", json!(somebody.sid));
        put("amr", json!(somebody.amr));
        put("at_hash", json!(answers::half_hash(self.signer().algorithm(), access_token)));
        if let Some(nonce) = nonce {
            put("nonce", json!(nonce));
        }
        if let Some(acr) = &somebody.acr {
            put("acr", json!(acr));
        }
        if !somebody.acrs.is_empty() {
            put("acrs", json!(somebody.acrs));
        }
        self.signed("JWT", Value::Object(claims))
    }

    /// A new login now, if one is asked for.
    fn log_in_again(&mut self, asked: &BTreeMap<String, String>) {
        let now = self.clock.now();
        let age_s = |since: Timestamp| now.since(since).map_or(0, |age| age.as_secs());
        let is_old =
            |max: &String| max.parse::<u64>().is_ok_and(|max| max == 0 || age_s(self.somebody.logged_in_at) > max);
        let is_asked = asked.get("prompt").is_some_and(|prompt| prompt.split(' ').any(|one| one == "login"));
        if is_asked || asked.get("max_age").is_some_and(is_old) {
            self.somebody.logged_in_at = now;
        }
    }
}
