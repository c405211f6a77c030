//! What a directory of 100,000 people costs: added, found, read to the end, changed and put out of service over
//! HTTP, evidence on disk (SQLite, `synchronous = FULL`). 64 connections add; everything else is one after the other.
//! A debug build takes 2,000 and only shows that it works.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use stepgate::commands::{NewDeployment, write_deployment};
use stepgate::gate::House;
use stepgate::system::{SystemClock, SystemRandomness};
use stepgate_bench::{Error, now};
use stepgate_core::flows::Provisioning;
use stepgate_core::machine::{MachineName, Scope};
use stepgate_core::ports::EntryQuery;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const ACCOUNTS: usize = if cfg!(debug_assertions) { 2_000 } else { 100_000 };
/// Connections that add at once.
const CONNECTIONS: usize = 64;
/// How often each thing is done whose middle time is told.
const TIMES: usize = 101;
/// The largest page.
const PAGE: usize = 200;
/// In one group.
const MEMBERS: usize = ACCOUNTS / 10;

/// Nobody comes; a service needs one.
const POLICY: &str = r#"@id("staff") permit (principal in Group::"staff", action, resource in Service::"app");"#;

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

fn main() -> ExitCode {
    let run = tokio::runtime::Runtime::new().map_err(Error::from).and_then(|runtime| runtime.block_on(run()));
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A directory that speaks to the gate.
#[derive(Clone)]
struct Directory {
    http: Client,
    base: String,
    token: String,
}

impl Directory {
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header("content-type", "application/scim+json").body(body.to_string());
        }
        let response = request.send().await?;
        let status = response.status();
        let body = response.bytes().await?;
        if !status.is_success() {
            return Err(format!("{path}: {status} {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(if status == StatusCode::NO_CONTENT { Value::Null } else { serde_json::from_slice(&body)? })
    }

    async fn found(&self, path: &str, filter: &str) -> Result<Value, Error> {
        let query = [("filter", filter)];
        let url = reqwest::Url::parse_with_params("http://any", query)?;
        self.ask(Method::GET, &format!("{path}?{}&count={PAGE}", url.query().unwrap_or_default()), None).await
    }

    async fn patch(&self, id: &str, path: &str, value: Value) -> Result<Value, Error> {
        let body = json!({ "schemas": [PATCH], "Operations": [{ "op": "replace", "path": path, "value": value }] });
        self.ask(Method::PATCH, &format!("/Users/{id}"), Some(&body)).await
    }

    async fn add(&self, number: usize) -> Result<String, Error> {
        let body = json!({
            "schemas": [USER], "userName": format!("person{number}@example.com"), "externalId": format!("x{number}"),
            "displayName": format!("Person {number}"), "active": true,
            "emails": [{ "value": format!("person{number}@example.com"), "primary": true }],
        });
        id_of(&self.ask(Method::POST, "/Users", Some(&body)).await?)
    }
}

fn id_of(told: &Value) -> Result<String, Error> {
    Ok(told.get("id").and_then(Value::as_str).ok_or("no id")?.to_owned())
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// Does this often, and tells the middle time and the longest.
async fn middle<T>(what: &str, mut once: impl AsyncFnMut(usize) -> Result<T, Error>) -> Result<(), Error> {
    let mut took = Vec::with_capacity(TIMES);
    for number in 0..TIMES {
        let start = now();
        once(number).await?;
        took.push(now().saturating_sub(start));
    }
    took.sort_unstable();
    let at = |index: usize| took.get(index).copied().map_or(0.0, milliseconds);
    println!("{what:<46} {:>9.1} ms, the slowest of {TIMES} {:.1} ms", at(TIMES / 2), at(TIMES - 1));
    Ok(())
}

/// Does it once, and tells how long it took.
async fn once<T>(what: &str, once: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let start = now();
    let done = once.await?;
    println!("{what:<46} {:>9.1} ms", milliseconds(now().saturating_sub(start)));
    Ok(done)
}

async fn run() -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    let door = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = door.local_addr()?.port();
    let config = format!(
        "[gate]\norigin = \"http://localhost:{port}\"\nlisten = \"127.0.0.1:{port}\"\nmaster_key_file = \"keys/master.key\"\n\
         [[service]]\nname = \"app\"\norigin = \"http://app.localhost:{port}\"\nupstream = \"http://127.0.0.1:9\"\n\
         [machines]\nlisten = \"127.0.0.1:0\"\norigin = \"http://localhost:4182\"\n[machines.scim]\n"
    );
    let new = NewDeployment { dir: folder.path(), config: &config, policies: &[("app.cedar", POLICY)] };
    let file = write_deployment(&new).map_err(|failure| failure.report.to_string())?;
    let settings = stepgate::config::load(&file)?;
    let house = House::open(settings, Some(file), Arc::new(SystemClock), Arc::new(SystemRandomness)).await?;
    let (flows, database) = (Arc::clone(&house.flows), Arc::clone(&house.database));
    let provisioning = Provisioning { flows: Arc::clone(&flows), accounts: database as _, links: None };
    let token =
        provisioning.add_machine(MachineName::parse("hr")?, vec![Scope::Scim], String::new(), None, "bench").await?;
    let gate = house.serve(vec![door]).await?;
    let at = gate.machines.ok_or("no listener for machines")?;
    let http = Client::builder().no_proxy().pool_max_idle_per_host(CONNECTIONS).build()?;
    let directory = Directory { http, base: format!("http://{at}/scim/v2"), token: token.expose().to_owned() };

    let ids = add_all(&directory).await?;
    let one = |number: usize| (number * 7_919) % ACCOUNTS;
    middle("found by userName", async |number| {
        directory.found("/Users", &format!("userName eq \"person{}@example.com\"", one(number))).await
    })
    .await?;
    middle("found by externalId", async |number| {
        directory.found("/Users", &format!("externalId eq \"x{}\"", one(number))).await
    })
    .await?;
    read_to_the_end(&directory).await?;
    once("a filter that looks at everybody", directory.found("/Users", "displayName ew \"77\"")).await?;
    middle("one PATCH", async |number| {
        let id = ids.get(one(number)).ok_or("nobody")?;
        directory.patch(id, "displayName", format!("Renamed {number}").into()).await
    })
    .await?;
    middle("one deactivation", async |number| {
        let id = ids.get(one(number + TIMES)).ok_or("nobody")?;
        directory.patch(id, "active", false.into()).await
    })
    .await?;
    groups(&directory, &ids).await?;
    let member = ids.first().ok_or("nobody")?.parse()?;
    middle("a person's entries", async |_| {
        let query = EntryQuery { person: Some(member), limit: 100, ..EntryQuery::default() };
        let found = flows.store.entries(query).await?;
        if found.len() < 3 { Err("of a person who is in a group more is recorded".into()) } else { Ok(found) }
    })
    .await?;
    gate.stop().await;
    Ok(())
}

async fn add_all(directory: &Directory) -> Result<Vec<String>, Error> {
    let start = now();
    let mut adding = JoinSet::new();
    for first in 0..CONNECTIONS {
        let directory = directory.clone();
        adding.spawn(async move {
            let mut ids = Vec::new();
            for number in (first..ACCOUNTS).step_by(CONNECTIONS) {
                ids.push(directory.add(number).await?);
            }
            Ok::<_, Error>(ids)
        });
    }
    let mut ids = Vec::with_capacity(ACCOUNTS);
    while let Some(added) = adding.join_next().await {
        ids.extend(added??);
    }
    let seconds = now().saturating_sub(start).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let rate = ids.len() as f64 / seconds;
    println!("{} accounts added in {seconds:.1} s: {rate:.0} per second", ids.len());
    Ok(ids)
}

async fn read_to_the_end(directory: &Directory) -> Result<(), Error> {
    let (start, mut slowest, mut read) = (now(), Duration::ZERO, 0);
    loop {
        let page_at = now();
        let page = directory.ask(Method::GET, &format!("/Users?startIndex={}&count={PAGE}", read + 1), None).await?;
        slowest = slowest.max(now().saturating_sub(page_at));
        match page.get("Resources").and_then(Value::as_array).map_or(0, Vec::len) {
            0 => break,
            some => read += some,
        }
    }
    let seconds = now().saturating_sub(start).as_secs_f64();
    if read != ACCOUNTS {
        return Err(format!("{read} accounts were read, there are {ACCOUNTS}").into());
    }
    println!("all read, {PAGE} in a page, in {seconds:.1} s; the slowest page {:.1} ms", milliseconds(slowest));
    Ok(())
}

async fn groups(directory: &Directory, ids: &[String]) -> Result<(), Error> {
    let members: Vec<Value> = ids.iter().take(MEMBERS).map(|id| json!({ "value": id })).collect();
    let group = json!({ "schemas": [GROUP], "displayName": "many", "members": members });
    let made =
        once(&format!("a group of {MEMBERS} made"), directory.ask(Method::POST, "/Groups", Some(&group))).await?;
    let group = id_of(&made)?;
    middle("a page of its members, as accounts", async |_| {
        directory.found("/Users", &format!("groups.value eq \"{group}\"")).await
    })
    .await?;
    let rename =
        json!({ "schemas": [PATCH], "Operations": [{ "op": "replace", "path": "displayName", "value": "all" }] });
    let path = format!("/Groups/{group}?excludedAttributes=members");
    once("the group renamed", directory.ask(Method::PATCH, &path, Some(&rename))).await?;
    Ok(())
}
