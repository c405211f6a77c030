//! What the benchmarks share: a gate in a temporary directory, sessions without a
//! browser, and what a process has used.
//!
//! Machines are noisy: compare ratios within one run.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use stepgate::commands::{NewDeployment, write_deployment};
use stepgate::config;
use stepgate::gate::House;
use stepgate::system::{SystemClock, SystemRandomness};
use stepgate_core::factor::{EnrolmentAnswer, FactorKind, FactorUse};
use stepgate_core::flows::Flows;
use stepgate_core::id::{FactorId, PersonId, SessionId};
use stepgate_core::person::Login;
use stepgate_core::ports::{CodeSees, NewCode, NewSession};
use stepgate_core::secret::{Purpose, Token};
use stepgate_core::session::{Audience, Proof};

/// Any error; a benchmark only prints it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A gate with one service and one person.
#[derive(Debug)]
pub struct Rig {
    /// The opened house; serve it, or use its flows.
    pub house: House,
    /// The person.
    pub person: PersonId,
    /// The person's password.
    pub password: FactorId,
}

/// What the rig's service is like.
#[derive(Clone, Copy, Debug)]
pub struct RigOptions<'a> {
    /// Where the gate will listen.
    pub address: SocketAddr,
    /// Where the application is.
    pub upstream: SocketAddr,
    /// `always`, `stepped_up` or `never`.
    pub assertion: &'a str,
}

const POLICY: &str = r#"
@id("staff") permit (principal in Group::"staff", action, resource in Service::"app");
@id("approvals") @reason("Approvals need your passkey, for this one alone.")
forbid (principal, action == Action::"payments.approve", resource in Service::"app")
unless { context.confirmed.contains("passkey") };
@id("exports") @reason("Exports need a recent second factor.")
forbid (principal, action == Action::"payments.export", resource in Service::"app")
unless { context.age.second_factor <= duration("5m") };
"#;

impl Rig {
    /// Opens a gate with its evidence on disk in `directory`.
    pub async fn open(directory: &Path, options: RigOptions<'_>) -> Result<Self, Error> {
        let port = options.address.port();
        let config = format!(
            "[gate]\norigin = \"http://localhost:{port}\"\nlisten = \"{}\"\nmaster_key_file = \"keys/master.key\"\n\
             [[service]]\nname = \"app\"\norigin = \"http://app.localhost:{port}\"\nupstream = \"http://{}\"\nassertion = \"{}\"\n\
             [[service.operation]]\non = \"POST /payments/{{id}}/approve\"\naction = \"payments.approve\"\n\
             title = \"Approve {{id}}\"\ninputs = {{ id = \"path id as string\" }}\n\
             [[service.operation]]\non = \"GET /export\"\naction = \"payments.export\"\ntitle = \"Export\"\n",
            options.address, options.upstream, options.assertion
        );
        let new = NewDeployment { dir: directory, config: &config, policies: &[("app.cedar", POLICY)] };
        let file = write_deployment(&new).map_err(|failure| failure.report.to_string())?;
        let settings = config::load(&file)?;
        let house = House::open(settings, Some(file), Arc::new(SystemClock), Arc::new(SystemRandomness)).await?;
        let flows = &house.flows;
        let login = Login::parse("bench")?;
        let person = flows.add_person(login, "Bench", "bench@example.com", vec!["staff".to_owned()], "bench").await?;
        let link = flows.make_link(&person, vec![FactorKind::Password], Duration::from_secs(600), "bench").await?;
        let link = link.url.rsplit('/').next().and_then(Token::parse).ok_or("no link")?;
        let browser = Token::random(&SystemRandomness);
        let ticket = flows.use_link(&link, &browser).await?;
        let view = flows.enrolment(&ticket, &browser).await?;
        flows.begin_enrolment(&view, FactorKind::Password).await?;
        let view = flows.enrolment(&ticket, &browser).await?;
        let answer = EnrolmentAnswer::Text(SecretString::from("nearly correct horse battery staple"));
        let password = flows.finish_enrolment(&view, FactorKind::Password, "", &answer).await?;
        Ok(Self { person: person.id, password: password.id, house })
    }
}

/// Starts a session with this factor and gives its token at the gate, as a sign-in would, without
/// the argon2id that a sign-in spends.
pub async fn session(
    flows: &Flows,
    person: PersonId,
    (kind, factor): (FactorKind, FactorId),
) -> Result<(SessionId, Token), Error> {
    let at = flows.clock.now();
    let token = Token::random(&SystemRandomness);
    let id = SessionId::random(&SystemRandomness);
    let new = NewSession {
        id,
        person,
        proof: Proof { kind, at, generation: 1 },
        used: (factor, FactorUse::Nothing),
        prompt: None,
        gate_token: token.digest(Purpose::GateSession),
        browser: Token::random(&SystemRandomness).digest(Purpose::Browser),
        device: Token::random(&SystemRandomness).digest(Purpose::Device),
        started_at: at,
        ends_at: at.plus(Duration::from_secs(24 * 3600)),
        idle: Duration::from_secs(3600),
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        country: String::new(),
        agent: "bench".to_owned(),
        replaces: None,
        login: None,
    };
    flows.store.start_session(new, Vec::new()).await?;
    Ok((id, token))
}

/// A token of this session at a service's host, as a hand-off gives it.
pub async fn service_token(flows: &Flows, session: SessionId, audience: &Audience) -> Result<Token, Error> {
    let at = flows.clock.now();
    let code = Token::random(&SystemRandomness);
    let digest = code.digest(Purpose::HandOff);
    let expires_at = at.plus(Duration::from_secs(60));
    let audience_ = audience.clone();
    let new = NewCode {
        digest,
        purpose: Purpose::HandOff,
        session,
        audience: audience_,
        browser: None,
        challenge: None,
        sees: CodeSees::Everything,
        expires_at,
    };
    flows.store.put_code(new).await?;
    let redeemed = flows.redeem(&code, Purpose::HandOff, audience, None).await?;
    Ok(redeemed.ok_or("the code was not redeemed")?.token)
}

/// CPU time that a process has used, user and system, in clock ticks (100 a second on Linux).
pub fn cpu_ticks(pid: u32) -> Result<u64, Error> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold spaces; what follows its closing bracket does not.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    Ok(field(11).saturating_add(field(12)))
}

/// Resident memory of this process, KiB.
pub fn resident_kib() -> Result<u64, Error> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or_default())
}

/// Now, for elapsed time only.
pub fn now() -> Duration {
    stepgate::system::monotonic()
}
