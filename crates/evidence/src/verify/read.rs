//! What can be checked of one entry alone: its spelling, its details, its statement.

use serde::Deserialize as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use stepgate_ledger::export::{Details as Beside, Record};
use stepgate_ledger::jcs;

use super::beside::imported;
use super::logins::Login;
use super::report::{Problem, plain};
use crate::entry::{AgentName, Entry, Event, TOKEN_PREFIX};
use crate::statement::{CONFIRM_CONTEXT, Grant, SIGN_IN_CONTEXT, SignInStatement, Statement};

/// An entry and what lies beside it.
pub(super) struct ReadEntry {
    pub(super) index: u64,
    /// `None` if it cannot be read.
    pub(super) entry: Option<Entry>,
    pub(super) content: Content,
    /// For an opened challenge whose statement is kept and right.
    pub(super) statement: Option<Confirmed>,
    /// For a sign-in: whether the statement that was signed is kept and right.
    pub(super) sign_in_kept: bool,
    /// What lies beside it about a company login.
    pub(super) login: Login,
    pub(super) problems: Vec<Problem>,
}

/// What became of the details that an entry commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The entry commits to none.
    None,
    /// There, and what it commits to.
    Kept,
    /// There, and not what it commits to.
    Wrong,
    Erased,
    Absent,
}

/// What a statement says that later entries are held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confirmed {
    pub(super) body_sha256: [u8; 32],
    pub(super) expires_at_ms: i64,
    /// `None` for freshness.
    pub(super) lifetime_ms: Option<i64>,
}

pub(super) fn read(record: Record) -> ReadEntry {
    let Record { index, entry, details } = record;
    let mut problems = Vec::new();
    let (entry, commitment) = match Entry::from_leaf(&entry) {
        Ok((entry, commitment)) => (entry, commitment),
        Err(error) => {
            let reason = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(": ");
            problems.push(Problem::NotAnEntry { reason: plain(&reason) });
            return ReadEntry {
                index,
                entry: None,
                content: Content::None,
                statement: None,
                sign_in_kept: false,
                login: Login::NotHere,
                problems,
            };
        }
    };
    let (content, body) = compare(commitment, details, &mut problems);
    let login = Login::read(&entry.event, content, body.as_ref());
    let sign_in_kept = match (&entry.event, content) {
        (Event::SessionStarted { proof, .. }, Content::Kept) => {
            body.as_ref().is_some_and(|body| signed_in(body, &proof.bound_to, &mut problems))
        }
        _ => false,
    };
    let statement = match &entry.event {
        event @ Event::ChallengeOpened { .. } => match content {
            Content::Kept => body.and_then(|body| confirmed(event, &body, &mut problems)),
            Content::None => {
                problems.push(Problem::NoStatement);
                None
            }
            Content::Wrong | Content::Erased | Content::Absent => None,
        },
        _ => None,
    };
    ReadEntry { index, entry: Some(entry), content, statement, sign_in_kept, login, problems }
}

fn compare(
    commitment: Option<String>,
    beside: Option<Beside>,
    problems: &mut Vec<Problem>,
) -> (Content, Option<Value>) {
    match (commitment, beside) {
        (None, None) => (Content::None, None),
        (None, Some(_)) => {
            problems.push(Problem::UnexpectedDetails);
            (Content::None, None)
        }
        (Some(_), None) => (Content::Absent, None),
        (Some(_), Some(Beside::Erased)) => (Content::Erased, None),
        (Some(expected), Some(kept)) => match imported(kept) {
            Ok(Some(details)) if details.commitment().is_ok_and(|found| found == expected) => {
                (Content::Kept, Some(details.body))
            }
            _ => {
                problems.push(Problem::OtherDetails);
                (Content::Wrong, None)
            }
        },
    }
}

/// Holds the statement beside an opened challenge against the entry.
fn confirmed(event: &Event, body: &Value, problems: &mut Vec<Problem>) -> Option<Confirmed> {
    let Event::ChallengeOpened {
        challenge, session, person, agent, asked, policies, policy, statement: digest, ..
    } = event
    else {
        return None;
    };
    let Some(value) = body.get("statement") else {
        problems.push(Problem::NoStatement);
        return None;
    };
    let Some(statement) = statement_of(value, digest) else {
        problems.push(Problem::OtherStatement);
        return None;
    };
    let asked_policies = statement.policies.iter().map(|policy| &policy.id);
    for (field, same) in [
        ("the challenge", statement.challenge == *challenge),
        ("the session", statement.session == *session),
        ("the person", statement.principal == *person),
        ("the agent", agent.as_ref().is_none_or(|agent| is_of(&statement, agent))),
        ("the service", statement.service == asked.service),
        ("the action", statement.action == asked.action),
        ("the resource", statement.resource == asked.resource),
        ("the policies", asked_policies.eq(policies)),
        ("the policies' version", statement.policy_version == *policy),
    ] {
        if !same {
            problems.push(Problem::StatementContradicts { field });
        }
    }
    let facts = facts(&statement);
    if facts.is_none() {
        problems.push(Problem::StatementContradicts { field: "its own numbers" });
    }
    facts
}

/// Whether a statement is about what this agent asked: with an access token, and the person read its name first.
fn is_of(statement: &Statement, agent: &AgentName) -> bool {
    let (read, name): (Vec<char>, Vec<char>) =
        (statement.asker.agent.chars().collect(), agent.as_str().chars().collect());
    // What nobody sees is marked there, and what is long is cut.
    let same = |(at, (shown, c)): (usize, (&char, &char))| {
        shown == c || *shown == '·' || (*shown == '…' && at.saturating_add(1) == read.len())
    };
    let whole = match read.get(name.len()) {
        Some(after) => matches!(after, ' ' | '…'),
        None => read.len() == name.len() || read.last() == Some(&'…'),
    };
    let named = whole && read.iter().zip(&name).enumerate().all(same);
    named && statement.session.starts_with(TOKEN_PREFIX)
}

/// Whether the statement beside a sign-in is the one whose digest was signed. A
/// sign-in without a passkey has none.
fn signed_in(body: &Value, bound_to: &str, problems: &mut Vec<Problem>) -> bool {
    let Some(value) = body.get("statement").filter(|value| !value.is_null()) else { return false };
    let right = has_digest(SIGN_IN_CONTEXT, value, bound_to) && SignInStatement::deserialize(value).is_ok();
    if !right {
        problems.push(Problem::OtherStatement);
    }
    right
}

/// Whether the canonical form of a statement has this digest, in its context.
fn has_digest(context: &[u8], value: &Value, digest: &str) -> bool {
    let Ok(canonical) = jcs::canonical(value) else { return false };
    let mut hash = Sha256::new();
    hash.update(context);
    hash.update(canonical);
    hex::encode(hash.finalize()) == digest
}

/// The statement, if its canonical form has this digest ([`Statement::digest`]). It is taken over the
/// bytes that are kept, and a statement has no member that may be left out or added.
fn statement_of(value: &Value, digest: &str) -> Option<Statement> {
    let signed = has_digest(CONFIRM_CONTEXT, value, digest);
    Statement::deserialize(value).ok().filter(|_| signed)
}

fn facts(statement: &Statement) -> Option<Confirmed> {
    let mut body_sha256 = [0; 32];
    hex::decode_to_slice(&statement.body_sha256, &mut body_sha256).ok()?;
    let lifetime_ms = match &statement.grant {
        Grant::Freshness { max_age_s } => max_age_s.parse::<u64>().ok().map(|_| None)?,
        Grant::Confirmation { lifetime_s, uses } if uses == "1" => {
            Some(lifetime_s.parse::<i64>().ok()?.checked_mul(1000)?)
        }
        Grant::Confirmation { .. } => return None,
    };
    Some(Confirmed { body_sha256, expires_at_ms: statement.expires_at_ms.parse().ok()?, lifetime_ms })
}
