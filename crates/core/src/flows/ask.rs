//! Asking: a request that matters becomes a challenge, or goes on with one that was passed.

use std::collections::BTreeMap;
use std::time::Duration;

use stepgate_evidence::{self as evidence, Event, Grant, Statement, StatementError};

use super::clear::{ClearError, Cleared};
use super::{Flows, asked};
use crate::access::TokenView;
use crate::catalogue::CrossSite;
use crate::challenge::{AskedBy, AskedFrom, Challenge, ChallengeState, Given, GrantKind, Held};
use crate::decide::{Asker, Challenged, Denied, RECORDED, Recorded};
use crate::factor::FactorKind;
use crate::id::{ChallengeId, PersonId, SessionId};
use crate::operation::ExactOperation;
use crate::ports::{ChangeError, StoreError, ToHold};
use crate::secret::{TokenDigest, six_digits};
use crate::session::{Audience, SessionView};
use crate::surroundings::{AGENT_LEN_MAX, Surroundings, shown};
use crate::time::Timestamp;

/// What happens with a request that matters.
#[derive(Debug)]
pub enum Step {
    /// Its challenge was passed: send it now, it was spent for this.
    Go(Box<Cleared>),
    /// The person is asked.
    Ask(Box<Challenge>),
    /// It is refused.
    Deny(Box<Denied>),
}

/// Who asks, and how the request came.
#[derive(Debug)]
pub struct Asking<'a> {
    /// With what.
    pub by: AskingBy<'a>,
    /// The surroundings.
    pub surroundings: &'a Surroundings,
    /// Whether the request is held.
    pub hold: ToHold,
    /// `Stepgate-Challenge`: the challenge that a program names.
    pub named: Option<ChallengeId>,
    /// `browser` or `program`, for the person to read.
    pub kind: &'static str,
    /// Whose page made the browser send it.
    pub from: AskedFrom,
}

/// What somebody asks with.
#[derive(Clone, Copy, Debug)]
pub enum AskingBy<'a> {
    /// A session.
    Session {
        /// What it shows.
        view: &'a SessionView,
        /// The session's token that came with the request.
        token: TokenDigest,
    },
    /// An access token.
    Token(&'a TokenView),
}

impl<'a> AskingBy<'a> {
    /// Who asks.
    pub const fn asker(self) -> Asker<'a> {
        match self {
            Self::Session { view, .. } => Asker::SignedIn(view),
            Self::Token(view) => Asker::Token(view),
        }
    }

    fn rotates(self) -> Option<(TokenDigest, Audience)> {
        match self {
            Self::Session { view, token } => Some((token, view.audience.clone())),
            Self::Token(_) => None,
        }
    }
}

/// Who a challenge is for, and where it may be spent.
#[derive(Clone, Debug)]
pub(super) struct OpenedBy {
    pub(super) asked_by: AskedBy,
    pub(super) generation: u32,
    pub(super) person: PersonId,
    pub(super) audience: Audience,
    pub(super) browser: Option<TokenDigest>,
    /// The program that asks with a token, the person's or its own.
    pub(super) program: Option<String>,
    /// The agent that asks in its own name, if it is one.
    pub(super) agent: Option<evidence::AgentName>,
}

impl OpenedBy {
    /// `None` for nobody.
    pub(super) fn of(asker: Asker<'_>) -> Option<Self> {
        match asker {
            Asker::Anonymous => None,
            Asker::SignedIn(session) => Some(Self {
                asked_by: session.id.into(),
                generation: session.generation,
                person: session.person.id,
                audience: session.audience.clone(),
                browser: session.browser,
                program: None,
                agent: None,
            }),
            Asker::Token(view) => Some(Self {
                asked_by: AskedBy::Token(view.token.id),
                generation: 0,
                person: view.person.id,
                audience: Audience::Host(view.host.clone()),
                browser: None,
                program: Some(format!("{}/{}", view.token.provider, view.token.client)),
                agent: asker.agent(),
            }),
        }
    }

    /// Whether a challenge is theirs, and not a newer token's or another browser's.
    pub(super) fn may_spend(&self, challenge: &Challenge) -> bool {
        challenge.asked_by == self.asked_by
            && challenge.person == self.person
            && self.generation >= challenge.generation
            // What holds a request is resumed by a code that only its browser redeems.
            && (challenge.held == Held::Request || self.browser == challenge.browser)
    }
}

/// Why nobody could be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The session, or the program with its tokens, has too many open challenges at this service.
    #[error("too many open challenges of this session or program at this service")]
    TooMany,
    /// The named challenge is another request's, another session's, or cannot be spent any more.
    #[error("the named challenge is not for this request, or was used already")]
    NotForThis,
    /// The statement could not be made.
    #[error("the statement cannot be made")]
    Statement(#[source] StatementError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Flows {
    /// Goes on with a passed challenge of exactly this request, or asks.
    ///
    /// `body` is the whole body. A request without a hold goes on when it is
    /// repeated with the same bytes from the same session and browser: the challenge
    /// is found by these and the digest, or by the name that the program gives.
    pub async fn ask(&self, challenged: Challenged, body: &[u8], asking: Asking<'_>) -> Result<Step, AskError> {
        let Challenged { operation, ask, policies, max_age, proved_within, seen, recorded } = challenged;
        let exact = operation.exactly(body);
        let now = asking.surroundings.now;
        if !matches!(asking.hold, ToHold::Request(_))
            && let Some(found) = self.find(&exact, &asking, now).await?
        {
            match found.state {
                ChallengeState::Passed { .. } => {
                    let (by, around) = (asking.by, asking.surroundings);
                    return match self.clear(&found, exact, by.asker(), around, None, by.rotates()).await {
                        Ok(step) => Ok(step),
                        Err(ClearError::NotPassed | ClearError::Expired | ClearError::NotForThis) => {
                            Err(AskError::NotForThis)
                        }
                        Err(ClearError::Store(error)) => Err(AskError::Store(error)),
                        Err(ClearError::Statement(error)) => Err(AskError::Statement(error)),
                        Err(ClearError::TooMany) => Err(AskError::TooMany),
                    };
                }
                _ => return Ok(Step::Ask(Box::new(found))),
            }
        }
        if asking.named.is_some() {
            return Err(AskError::NotForThis);
        }
        let surroundings = asking.surroundings.with_risks_of(asking.by.asker());
        // Nobody's operation is decided otherwise; and what only a better token proves is asked of no person.
        let by =
            OpenedBy::of(asking.by.asker()).filter(|by| by.program.is_none() || ask.grant == GrantKind::Confirmation);
        let by = by.ok_or(AskError::NotForThis)?;
        let opening = Opening {
            exact: &exact,
            ask,
            max_age,
            proved_within,
            policies,
            seen,
            recorded: recorded.as_deref(),
            by: &by,
            kind: asking.kind,
            asked_from: asking.from,
            surroundings: &surroundings,
            hold: &asking.hold,
            succeeds: None,
        };
        let (challenge, entry) = self.new_challenge(opening).map_err(AskError::Statement)?;
        let held = match &asking.hold {
            ToHold::Request(held) => Some(held),
            ToHold::Nothing | ToHold::SafeNavigation => None,
        };
        let pending_max = self.live.load().challenges.pending_per_session;
        match self.store.open_challenge(&challenge, held, pending_max, vec![entry]).await {
            Ok(()) => Ok(Step::Ask(Box::new(challenge))),
            Err(ChangeError::Limit(_)) => Err(AskError::TooMany),
            Err(ChangeError::Store(error)) => Err(AskError::Store(error)),
            // A new id cannot conflict; if it does, the caller may try again.
            Err(ChangeError::Conflict | ChangeError::UsedBefore) => Err(AskError::NotForThis),
        }
    }

    /// The challenge that this request may go on with.
    async fn find(
        &self,
        exact: &ExactOperation,
        asking: &Asking<'_>,
        now: Timestamp,
    ) -> Result<Option<Challenge>, AskError> {
        let by = OpenedBy::of(asking.by.asker()).ok_or(AskError::NotForThis)?;
        let Some(named) = asking.named else {
            let OpenedBy { asked_by, generation, browser, .. } = by;
            return Ok(self.store.challenge_for(asked_by, generation, browser, exact.digest(), now).await?);
        };
        let found = self.store.challenge(named).await?;
        let fits = |challenge: &Challenge| {
            by.may_spend(challenge)
                && by.browser == challenge.browser
                && challenge.operation == exact.digest()
                && matches!(challenge.state, ChallengeState::Pending { .. } | ChallengeState::Passed { .. })
        };
        match found {
            Some(challenge) if fits(&challenge) => Ok(Some(challenge)),
            // Foreign, spent, expired or unknown: one answer, so that nothing is told.
            _ => Err(AskError::NotForThis),
        }
    }

    /// Keeps a request whose session has just lapsed until the same person has
    /// signed in again. It holds whether or not the decision will ask for more then.
    pub async fn ask_to_sign_in_again(
        &self,
        exact: &ExactOperation,
        lapsed: (SessionId, PersonId),
        audience: &Audience,
        browser: TokenDigest,
        surroundings: &Surroundings,
        hold: ToHold,
    ) -> Result<Challenge, AskError> {
        let reason = "Your session has ended. Sign in again and this goes on.".to_owned();
        let by = OpenedBy {
            asked_by: lapsed.0.into(),
            // The session that goes on with it begins its own count.
            generation: 0,
            person: lapsed.1,
            audience: audience.clone(),
            browser: Some(browser),
            program: None,
            agent: None,
        };
        let opening = Opening {
            exact,
            ask: crate::challenge::Ask { grant: GrantKind::Freshness, ways: Vec::new(), not_enrolled: Vec::new() },
            max_age: None,
            proved_within: None,
            policies: vec![evidence::PolicyRef { id: "stepgate.sign-in-again".to_owned(), reason }],
            seen: BTreeMap::new(),
            recorded: None,
            by: &by,
            kind: "browser",
            // What another page sends is not kept.
            asked_from: AskedFrom::Here,
            surroundings,
            hold: &hold,
            succeeds: None,
        };
        let (challenge, entry) = self.new_challenge(opening).map_err(AskError::Statement)?;
        let held = match &hold {
            ToHold::Request(held) => Some(held),
            ToHold::Nothing | ToHold::SafeNavigation => None,
        };
        let pending_max = self.live.load().challenges.pending_per_session;
        match self.store.open_challenge(&challenge, held, pending_max, vec![entry]).await {
            Ok(()) => Ok(challenge),
            Err(ChangeError::Store(error)) => Err(AskError::Store(error)),
            Err(_) => Err(AskError::TooMany),
        }
    }

    pub(super) fn new_challenge(&self, opening: Opening<'_>) -> Result<(Challenge, evidence::Entry), StatementError> {
        let live = self.live.load();
        let Opening { exact, ask, policies, seen, surroundings, by, .. } = opening;
        let operation = exact.operation();
        let now = surroundings.now;
        let id: ChallengeId = self.id();
        let expires_at = now.plus(live.challenges.answer_within);
        let grant = match ask.grant {
            GrantKind::Freshness => {
                Grant::Freshness { max_age_s: opening.max_age.unwrap_or_default().as_secs().to_string() }
            }
            GrantKind::Confirmation => Grant::Confirmation {
                lifetime_s: live.challenges.spend_within.as_secs().to_string(),
                uses: "1".to_owned(),
            },
        };
        let asked = asked(operation);
        let mut nonce = [0; 16];
        self.random.fill(&mut nonce);
        let statement = Statement {
            challenge: id.to_string(),
            nonce: hex::encode(nonce),
            principal: by.person.to_string(),
            session: by.asked_by.to_string(),
            asker: evidence::Asker {
                kind: opening.kind.to_owned(),
                address: surroundings.address.to_string(),
                // Which program it is stands first: what it calls itself, anybody can.
                agent: match &by.program {
                    Some(program) => shown(&format!("{program} ({})", surroundings.agent), AGENT_LEN_MAX),
                    None => surroundings.agent.clone(),
                },
            },
            service: asked.service.clone(),
            action: asked.action.clone(),
            resource: asked.resource.clone(),
            title: operation.title(),
            inputs: operation.inputs.iter().map(|(name, value)| (name.clone(), value.to_string())).collect(),
            method: operation.method.clone(),
            url: operation.url.clone(),
            content_type: operation.content_type.clone(),
            headers: operation.effect_headers.clone(),
            body_sha256: hex::encode(exact.body_sha256()),
            policies: policies.clone(),
            policy_version: live.policies.version().to_owned(),
            grant,
            asked_at_ms: now.as_ms().to_string(),
            expires_at_ms: expires_at.as_ms().to_string(),
        };
        let digest = hex::encode(statement.digest()?);
        let place = surroundings.located.place();
        let mut body = serde_json::json!({
            "statement": serde_json::to_value(&statement).map_err(StatementError::Json)?,
            "surroundings": {
                "address": surroundings.address.to_string(),
                "network": surroundings.network,
                "country": place.country,
                "region": place.region,
                "city": place.city,
                "asn": place.asn,
                "anonymizer": place.anonymizer.iter().map(|one| one.name()).collect::<Vec<_>>(),
                "agent": surroundings.agent,
                "risk_level": surroundings.risk_level,
                "risk_signals": surroundings.risk_signals,
            },
            "because_of": seen,
        });
        if let (Some(recorded), Some(body)) = (opening.recorded, body.as_object_mut()) {
            body.insert(RECORDED.to_owned(), recorded.to_json());
        }
        let challenge = Challenge {
            id,
            version: 1,
            asked_by: by.asked_by,
            program: by.program.clone(),
            generation: by.generation,
            person: by.person,
            host: match &by.audience {
                Audience::Gate => None,
                Audience::Host(host) => Some(host.clone()),
            },
            browser: by.browser,
            operation: exact.digest(),
            asked: asked.clone(),
            statement,
            ask,
            proved_within: opening.proved_within,
            number: six_digits(self.random.as_ref()),
            held: opening.hold.held(),
            asked_from: opening.asked_from,
            succeeds: opening.succeeds,
            opened_at: now,
            expires_at,
            state: ChallengeState::Pending { answered: Vec::new(), wrong: 0 },
        };
        let event = Event::ChallengeOpened {
            challenge: id.to_string(),
            session: by.asked_by.to_string(),
            person: by.person.to_string(),
            agent: by.agent.clone(),
            asked,
            policies: policies.into_iter().map(|policy| policy.id).collect(),
            policy: live.policies.version().to_owned(),
            offered: challenge.ask.summary(),
            statement: digest,
            held: matches!(opening.hold, ToHold::Request(_)),
            succeeds: opening.succeeds.map(|id| id.to_string()).unwrap_or_default(),
        };
        Ok((challenge, self.entry_with(now, event, body)))
    }
}

/// Whether a request with an effect that comes from another site may be held for
/// this endpoint: holding it would launder cross-site request forgery.
pub const fn may_hold_cross_site(cross_site: CrossSite) -> bool {
    matches!(cross_site, CrossSite::Allow)
}

pub(super) struct Opening<'a> {
    pub(super) exact: &'a ExactOperation,
    pub(super) ask: crate::challenge::Ask,
    /// What the decision found; of a freshness only.
    pub(super) max_age: Option<Duration>,
    pub(super) proved_within: Option<Duration>,
    pub(super) policies: Vec<evidence::PolicyRef>,
    /// What they looked at of the surroundings, and saw.
    pub(super) seen: BTreeMap<String, String>,
    /// All that it was decided on; nothing where no decision asks.
    pub(super) recorded: Option<&'a Recorded>,
    pub(super) by: &'a OpenedBy,
    pub(super) kind: &'static str,
    pub(super) asked_from: AskedFrom,
    pub(super) surroundings: &'a Surroundings,
    pub(super) hold: &'a ToHold,
    pub(super) succeeds: Option<ChallengeId>,
}

/// The kinds of proofs, without their times.
pub(super) fn kinds(answered: &[Given]) -> Vec<FactorKind> {
    answered.iter().map(|given| given.kind).collect()
}

/// A reason as it may stand in an entry.
pub(super) fn reason(text: &str) -> String {
    shown(text, 200)
}
