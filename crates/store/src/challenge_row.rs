//! A challenge as a row, and back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use stepgate_core::catalogue::Host;
use stepgate_core::challenge::{
    Ask, AskedFrom, Challenge, ChallengeState, Given, GivenIn, GrantKind, Held, SendOutcome,
};
use stepgate_core::factor::FactorKind;
use stepgate_core::operation::OperationDigest;
use stepgate_core::ports::StoreError;
use stepgate_core::time::Timestamp;

use crate::error::unavailable;
use crate::row::Fields;

/// `SELECT` of everything of a challenge but what it holds, and what follows.
macro_rules! select_challenge {
    ($rest:literal) => {
        concat!(
            "SELECT id, version, session, program, generation, person, host, browser, operation, asked, statement, ask, proved_within_s, number, held, ",
            "asked_from, succeeds, opened_at, expires_at, state, standing FROM challenges ",
            $rest
        )
    };
}
pub(crate) use select_challenge;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskRow {
    grant: String,
    ways: Vec<Vec<String>>,
    not_enrolled: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Standing {
    Pending { answered: Vec<(String, i64, String)>, wrong: u32 },
    Passed { answered: Vec<(String, i64, String)>, at: i64, spend_before: i64 },
    Spent { at: i64, request: String, outcome: OutcomeRow },
    Failed { reason: String },
    Expired {},
    Cancelled { reason: String },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum OutcomeRow {
    Sending,
    Answered(u16),
    NotSent,
    Unknown,
}

pub(crate) fn held_name(held: Held) -> &'static str {
    match held {
        Held::Nothing => "nothing",
        Held::SafeNavigation => "safe_navigation",
        Held::Request => "request",
    }
}

pub(crate) fn ask_json(ask: &Ask) -> Result<String, StoreError> {
    let names = |kinds: &[FactorKind]| kinds.iter().map(|kind| kind.to_string()).collect::<Vec<_>>();
    let row = AskRow {
        grant: ask.grant.name().to_owned(),
        ways: ask.ways.iter().map(|way| names(way)).collect(),
        not_enrolled: names(&ask.not_enrolled),
    };
    serde_json::to_string(&row).map_err(unavailable)
}

pub(crate) fn standing_json(state: &ChallengeState) -> Result<String, StoreError> {
    let answer = |given: &Given| (given.kind.to_string(), given.at.as_ms(), given.place.name().to_owned());
    let answers = |answered: &[Given]| answered.iter().map(answer).collect();
    let row = match state {
        ChallengeState::Pending { answered, wrong } => Standing::Pending { answered: answers(answered), wrong: *wrong },
        ChallengeState::Passed { answered, at, spend_before } => {
            Standing::Passed { answered: answers(answered), at: at.as_ms(), spend_before: spend_before.as_ms() }
        }
        ChallengeState::Spent { at, request, outcome } => Standing::Spent {
            at: at.as_ms(),
            request: request.to_string(),
            outcome: match outcome {
                SendOutcome::Sending => OutcomeRow::Sending,
                SendOutcome::Answered { status } => OutcomeRow::Answered(*status),
                SendOutcome::NotSent => OutcomeRow::NotSent,
                SendOutcome::Unknown => OutcomeRow::Unknown,
            },
        },
        ChallengeState::Failed { reason } => Standing::Failed { reason: reason.clone() },
        ChallengeState::Expired => Standing::Expired {},
        ChallengeState::Cancelled { reason } => Standing::Cancelled { reason: reason.clone() },
    };
    serde_json::to_string(&row).map_err(unavailable)
}

pub(crate) fn challenge(row: &AnyRow) -> Result<Challenge, StoreError> {
    let fields = Fields::of("challenges", row);
    let host = match fields.maybe_text("host")? {
        None => None,
        Some(host) => Some(Host::parse(&host).map_err(|_| fields.corrupt("host is no host"))?),
    };
    let state = state(&fields)?;
    if state.name() != fields.text("state")? {
        return Err(fields.corrupt("state is another than its standing"));
    }
    Ok(Challenge {
        id: fields.id("id")?,
        version: fields.count("version")?,
        asked_by: fields.parsed("session")?,
        program: fields.maybe_text("program")?,
        generation: fields.count("generation")?,
        person: fields.id("person")?,
        host,
        browser: fields.maybe_digest("browser")?,
        operation: OperationDigest(fields.digest("operation")?.0),
        asked: fields.json("asked")?,
        statement: fields.json("statement")?,
        ask: ask(&fields)?,
        proved_within: fields.maybe_count("proved_within_s")?.map(Duration::from_secs),
        number: fields.text("number")?,
        held: held(&fields)?,
        asked_from: asked_from(&fields)?,
        succeeds: fields.maybe_parsed("succeeds")?,
        opened_at: fields.time("opened_at")?,
        expires_at: fields.time("expires_at")?,
        state,
    })
}

fn held(fields: &Fields<'_>) -> Result<Held, StoreError> {
    let name = fields.text("held")?;
    [Held::Nothing, Held::SafeNavigation, Held::Request]
        .into_iter()
        .find(|held| held_name(*held) == name)
        .ok_or_else(|| fields.corrupt("held is no way of holding"))
}

fn asked_from(fields: &Fields<'_>) -> Result<AskedFrom, StoreError> {
    let name = fields.text("asked_from")?;
    [AskedFrom::Here, AskedFrom::Elsewhere]
        .into_iter()
        .find(|from| from.name() == name)
        .ok_or_else(|| fields.corrupt("asked_from is neither here nor elsewhere"))
}

fn ask(fields: &Fields<'_>) -> Result<Ask, StoreError> {
    let row: AskRow = fields.json("ask")?;
    let kind = |name: &String| name.parse().map_err(|_| fields.corrupt("ask names no factor"));
    let kinds = |names: &Vec<String>| names.iter().map(kind).collect::<Result<Vec<FactorKind>, _>>();
    let grant = [GrantKind::Freshness, GrantKind::Confirmation].into_iter().find(|grant| grant.name() == row.grant);
    Ok(Ask {
        grant: grant.ok_or_else(|| fields.corrupt("ask names no grant"))?,
        ways: row.ways.iter().map(kinds).collect::<Result<_, _>>()?,
        not_enrolled: kinds(&row.not_enrolled)?,
    })
}

fn state(fields: &Fields<'_>) -> Result<ChallengeState, StoreError> {
    let answers = |answered: Vec<(String, i64, String)>| {
        let answer = |(name, at, place): (String, i64, String)| {
            let kind: FactorKind = name.parse().map_err(|_| fields.corrupt("standing names no factor"))?;
            let place = [GivenIn::AskingSession, GivenIn::Elsewhere].into_iter().find(|one| one.name() == place);
            let place = place.ok_or_else(|| fields.corrupt("standing names no place of a proof"))?;
            Ok(Given { kind, at: Timestamp::from_ms(at), place })
        };
        answered.into_iter().map(answer).collect::<Result<Vec<_>, StoreError>>()
    };
    Ok(match fields.json("standing")? {
        Standing::Pending { answered, wrong } => ChallengeState::Pending { answered: answers(answered)?, wrong },
        Standing::Passed { answered, at, spend_before } => ChallengeState::Passed {
            answered: answers(answered)?,
            at: Timestamp::from_ms(at),
            spend_before: Timestamp::from_ms(spend_before),
        },
        Standing::Spent { at, request, outcome } => ChallengeState::Spent {
            at: Timestamp::from_ms(at),
            request: request.parse().map_err(|_| fields.corrupt("standing names no request"))?,
            outcome: match outcome {
                OutcomeRow::Sending => SendOutcome::Sending,
                OutcomeRow::Answered(status) => SendOutcome::Answered { status },
                OutcomeRow::NotSent => SendOutcome::NotSent,
                OutcomeRow::Unknown => SendOutcome::Unknown,
            },
        },
        Standing::Failed { reason } => ChallengeState::Failed { reason },
        Standing::Expired {} => ChallengeState::Expired,
        Standing::Cancelled { reason } => ChallengeState::Cancelled { reason },
    })
}
