//! `/account`: one's own factors, sessions and activity. Every request here was
//! decided before; what was decided stands in its permit.

use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::extract::{Path, RawQuery};
use axum::response::{IntoResponse as _, Redirect, Response};
use bytes::Bytes;
use http::StatusCode;
use stepgate_core::factor::{Destination, EnrolledFactor, FactorKind, FactorSecret};
use stepgate_core::flows::DEVICE_NAME_LEN_MAX;
use stepgate_core::id::{FactorId, SessionId};
use stepgate_core::ports::{ChangeError, EntryQuery, RememberedDevice, SessionSummary};
use stepgate_core::secret::TokenDigest;
use stepgate_core::surroundings::shown;
use stepgate_core::web::{OurCookie, Permit, gate_path};

use crate::activity;
use crate::device;
use crate::failure::{Failure, no_store};
use crate::outcomes::Outcome;
use crate::present::instant;
use crate::views::{AccountPage, ActivityPage, AddFactor, Device, Factor, PersonView, Session};
use crate::visit::Visit;
use crate::words::Moment;

/// Entries that are read for the account page.
const RECENT: u32 = 30;
/// Lines of activity on the account page.
const RECENT_LINES: usize = 8;
/// Above every index, and still a number that every database has.
const NEWEST: u64 = i64::MAX as u64;
/// Longest name of a city that is shown, in characters.
const CITY_LEN_MAX: usize = 60;
/// Entries of one page of activity.
const PAGE: u32 = 100;

/// `GET /account`.
pub(crate) async fn show(visit: Visit) -> Response {
    visit.finish(account(&visit).await)
}

async fn account(visit: &Visit) -> Result<Response, Failure> {
    let session = &visit.permit()?.session;
    let flows = &visit.console.flows;
    let person = session.person.id;
    let enrolled = flows.store.factors(person).await?;
    let waiting = flows.assigned_tokens(&session.person).await?;
    let mut sessions = flows.store.sessions(person, visit.surroundings.now).await?;
    sessions.sort_by_key(|one| (one.id != session.id, std::cmp::Reverse(one.last_used_at)));
    let this = visit.trier().device;
    let mut devices = flows.store.devices(person).await?;
    devices.sort_by_key(|one| Some(one.device) != this);
    let query = EntryQuery {
        person: Some(person),
        kinds: kinds(),
        limit: RECENT,
        before: Some(NEWEST),
        ..EntryQuery::default()
    };
    let entries = flows.store.entries(query).await?;
    let mut lines = activity::in_words(&entries);
    let has_more = lines.len() > RECENT_LINES || entries.len() >= RECENT as usize;
    lines.truncate(RECENT_LINES);
    let view = AccountPage {
        frame: visit.frame(),
        person: PersonView { name: session.person.name.clone(), email: session.person.email.clone() },
        factors: enrolled.iter().map(|one| factor(visit, one, &enrolled)).collect(),
        add: addable(&flows.factors.keys().copied().collect(), &enrolled, !waiting.is_empty()),
        add_action: format!("{}/factors", gate_path::ACCOUNT),
        end_others_action: (sessions.len() > 1).then(|| format!("{}/sessions/end-others", gate_path::ACCOUNT)),
        sessions: sessions.iter().map(|one| summary(one, one.id == session.id)).collect(),
        devices: devices.iter().map(|one| remembered(one, Some(one.device) == this)).collect(),
        device_name_len_max: DEVICE_NAME_LEN_MAX,
        activity: lines,
        more_activity: has_more.then(|| format!("{}/activity", gate_path::ACCOUNT)),
        unlock_approvals: flows
            .approvals_locked(person)
            .await?
            .then(|| format!("{}/approvals/unlock", gate_path::ACCOUNT)),
        evidence: flows.offers_evidence(session, &visit.surroundings).then(|| gate_path::EVIDENCE.to_owned()),
        said: None,
    };
    // Changing something here may lead to a challenge and back, all on this origin.
    Ok(visit.page(StatusCode::OK, &view))
}

fn kinds() -> Vec<String> {
    activity::KINDS.iter().map(|kind| (*kind).to_owned()).collect()
}

fn factor(visit: &Visit, one: &EnrolledFactor, all: &[EnrolledFactor]) -> Factor {
    let now = visit.surroundings.now;
    let (kind, notes) = match &one.secret {
        FactorSecret::Passkey(passkey) => {
            let note = match (passkey.backup_eligible, passkey.backed_up) {
                (true, true) => "synced, backed up",
                (true, false) => "can be synced",
                (false, _) => "this device only",
            };
            let facts = visit.surroundings.models.of(passkey.aaguid).filter(|facts| facts.is_refused);
            let refused = facts.map(|facts| format!("counts for nothing: {} was reported of its model", facts.status));
            ("passkey", std::iter::once(note.to_owned()).chain(refused).collect())
        }
        FactorSecret::Oath { token: Some(token), .. } => {
            let over = token.is_over(now).then(|| "its time is over".to_owned());
            ("hardware token", [Some(format!("…{}", token.ending())), over].into_iter().flatten().collect())
        }
        FactorSecret::Oath { .. } => ("authenticator app", Vec::new()),
        FactorSecret::Password { .. } => ("password", Vec::new()),
        FactorSecret::RecoveryCodes { left } => ("recovery codes", vec![format!("{} left", left.len())]),
        FactorSecret::Idp(_) => ("company login", Vec::new()),
        FactorSecret::Push(device) => {
            let note = if device.passkey.is_some() { "signs" } else { "does not sign" };
            (one.kind().means_title(), vec![note.to_owned()])
        }
        FactorSecret::Address { to, .. } => {
            let note = match to {
                Destination::Email(_) => "proves the address, and is no second factor",
                // SP 800-63B-4 section 3.2.9: people are told of the risk.
                Destination::Phone(_) => "restricted: others can take a number over; a passkey is safer",
            };
            (one.kind().means_title(), vec![to.masked(), note.to_owned()])
        }
    };
    let replaced = matches!(one.kind(), FactorKind::Password | FactorKind::RecoveryCode);
    // The last way to sign in has no button: without it only an administrator could help.
    let is_last = signs_in(one) && all.iter().filter(|other| signs_in(other)).count() < 2;
    Factor {
        name: one.name.clone(),
        kind: kind.to_owned(),
        notes,
        added: Moment::with_day(instant(one.enrolled_at)),
        last_used: one.last_used_at.map(|at| Moment::with_day(instant(at))),
        last_used_from: one.last_used_from.map(|address| place_in_words(visit, address)),
        replace_kind: replaced.then(|| one.kind().name().to_owned()),
        remove_action: (!is_last).then(|| format!("{}/factors/{}/remove", gate_path::ACCOUNT, one.id)),
    }
}

/// `Zürich, CH`, `CH`, or the address where nobody knows more of it.
fn place_in_words(visit: &Visit, address: IpAddr) -> String {
    let place = visit.console.flows.live.load().environment.geography.places.place(address);
    match (place.city.as_str(), place.country.as_str()) {
        (_, "ZZ") => address.to_string(),
        ("", country) => country.to_owned(),
        (city, country) => format!("{}, {country}", shown(city, CITY_LEN_MAX)),
    }
}

fn signs_in(factor: &EnrolledFactor) -> bool {
    matches!(factor.kind(), FactorKind::Passkey(_) | FactorKind::Password | FactorKind::Idp(_))
}

fn addable(served: &BTreeSet<FactorKind>, enrolled: &[EnrolledFactor], token_waits: bool) -> Vec<AddFactor> {
    let has = |kind: FactorKind| enrolled.iter().any(|one| one.kind().is_same_factor(kind));
    let text = |kind: FactorKind| match kind {
        FactorKind::Passkey(_) => Some("Add a passkey"),
        FactorKind::Totp => Some("Add an authenticator app"),
        FactorKind::Password => (!has(kind)).then_some("Set a password"),
        FactorKind::RecoveryCode => (!has(kind)).then_some("Make recovery codes"),
        FactorKind::EmailCode => (!has(kind)).then_some("Add your e-mail address"),
        FactorKind::PhoneCode(_) => Some("Add a phone number"),
        FactorKind::Push(_) => Some("Add an approver device"),
        // Who was handed one activates it.
        FactorKind::Hotp => token_waits.then_some("Activate your hardware token"),
        // An administrator or a provider gives these.
        FactorKind::Idp(_) | FactorKind::Certificate => None,
    };
    let one =
        |kind: &FactorKind| text(*kind).map(|text| AddFactor { text: text.to_owned(), kind: kind.name().to_owned() });
    served.iter().filter_map(one).collect()
}

fn summary(session: &SessionSummary, is_this: bool) -> Session {
    Session {
        device: device::in_words(&session.agent),
        place: session.address.clone(),
        since: Moment::with_day(instant(session.started_at)),
        last_seen: Moment::with_day(instant(session.last_used_at)),
        is_this,
        end_action: format!("{}/sessions/{}/end", gate_path::ACCOUNT, session.id),
    }
}

fn remembered(one: &RememberedDevice, is_this: bool) -> Device {
    let action = |what: &str| format!("{}/devices/{}/{what}", gate_path::ACCOUNT, one.device.to_hex());
    Device {
        what: device::in_words(&one.agent),
        name: one.name.clone(),
        first_seen: Moment::with_day(instant(one.first_seen)),
        last_used: Moment::with_day(instant(one.last_used)),
        is_this,
        name_action: action("name"),
        forget_action: action("forget"),
    }
}

/// `POST /account/devices/{id}/name`.
pub(crate) async fn name_device(visit: Visit, Path(id): Path<String>, body: Bytes) -> Response {
    let result = async {
        let fields = visit.fields(&body)?;
        let device = TokenDigest::from_hex(&id).ok_or(Outcome::NotFound)?;
        let session = &visit.permit()?.session;
        theirs(visit.console.flows.name_device(session, device, fields.text("name")).await)
    };
    visit.finish(result.await)
}

/// `POST /account/devices/{id}/forget`.
pub(crate) async fn forget_device(visit: Visit, Path(id): Path<String>, body: Bytes) -> Response {
    let result = async {
        visit.fields(&body)?;
        let device = TokenDigest::from_hex(&id).ok_or(Outcome::NotFound)?;
        theirs(visit.console.flows.forget_device(&visit.permit()?.session, device).await)
    };
    visit.finish(result.await)
}

/// Back to the account; a device that is not theirs, or is forgotten already, is none of theirs now.
fn theirs(changed: Result<(), ChangeError>) -> Result<Response, Failure> {
    match changed {
        Ok(()) | Err(ChangeError::Conflict) => Ok(to_account()),
        Err(error) => Err(error.into()),
    }
}

/// `GET /account/activity?before=…`.
pub(crate) async fn activity(visit: Visit, RawQuery(query): RawQuery) -> Response {
    let result = async {
        let person = visit.permit()?.session.person.id;
        let flows = &visit.console.flows;
        let query = query.unwrap_or_default();
        let before = query.strip_prefix("before=").and_then(|index| index.parse().ok()).unwrap_or(NEWEST);
        let query = EntryQuery {
            person: Some(person),
            kinds: kinds(),
            before: Some(before),
            limit: PAGE,
            ..EntryQuery::default()
        };
        // Whoever searches the evidence stands in it, before anything is shown.
        flows.searched(&person.to_string(), "own activity").await?;
        let entries = flows.store.entries(query).await?;
        let oldest = entries.iter().map(|recorded| recorded.index).min();
        let older = oldest.filter(|_| entries.len() >= PAGE as usize);
        let view = ActivityPage {
            frame: visit.frame(),
            activity: activity::in_words(&entries),
            older: older.map(|index| format!("{}/activity?before={index}", gate_path::ACCOUNT)),
        };
        Ok::<_, Failure>(visit.page(StatusCode::OK, &view))
    };
    visit.finish(result.await)
}

/// `POST /account/factors`: a ticket to enrol one factor of this kind.
pub(crate) async fn add_factor(visit: Visit, body: Bytes) -> Response {
    let result = async {
        let fields = visit.fields(&body)?;
        let permit = visit.permit()?;
        let kind: FactorKind = fields.text("kind").parse().map_err(|_| Outcome::NotFound)?;
        let flows = &visit.console.flows;
        let ticket = flows.begin_own(&permit.session, kind, permit.authority(), &visit.browser).await?;
        let to = format!("{}/enrolments/{}", gate_path::ACCOUNT, ticket.expose());
        Ok::<_, Failure>(no_store(Redirect::to(&to).into_response()))
    };
    visit.finish(result.await)
}

/// `POST /account/factors/{id}/remove`.
pub(crate) async fn remove_factor(visit: Visit, Path(id): Path<String>, body: Bytes) -> Response {
    let result = async {
        visit.fields(&body)?;
        let permit = visit.permit()?;
        let id: FactorId = id.parse().map_err(|_| Outcome::NotFound)?;
        visit.console.flows.remove_factor(&permit.session, id, permit.authority()).await?;
        Ok::<_, Failure>(to_account())
    };
    visit.finish(result.await)
}

/// `POST /account/approvals/unlock`: after somebody said that it was not they who asked.
pub(crate) async fn unlock_approvals(visit: Visit, body: Bytes) -> Response {
    let result = async {
        visit.fields(&body)?;
        let permit = visit.permit()?;
        visit.console.flows.unlock_approvals(&permit.session, &permit.authority()).await?;
        Ok::<_, Failure>(to_account())
    };
    visit.finish(result.await)
}

/// `POST /account/sessions/{id}/end`.
pub(crate) async fn end_session(visit: Visit, Path(id): Path<String>, body: Bytes) -> Response {
    let result = async {
        visit.fields(&body)?;
        let permit = visit.permit()?;
        let id: SessionId = id.parse().map_err(|_| Outcome::NotFound)?;
        end_one(&visit, permit, id).await?;
        let mut response = to_account();
        if id == permit.session.id {
            response = no_store(Redirect::to(gate_path::SIGN_OUT).into_response());
            visit.set_cookie(&mut response, OurCookie::Session, "", Some(0));
        }
        Ok::<_, Failure>(response)
    };
    visit.finish(result.await)
}

/// `POST /account/sessions/end-others`.
pub(crate) async fn end_others(visit: Visit, body: Bytes) -> Response {
    let result = async {
        visit.fields(&body)?;
        let permit = visit.permit()?;
        let sessions = visit.console.flows.store.sessions(permit.session.person.id, visit.surroundings.now).await?;
        for other in sessions.iter().filter(|other| other.id != permit.session.id) {
            end_one(&visit, permit, other.id).await?;
        }
        Ok::<_, Failure>(to_account())
    };
    visit.finish(result.await)
}

async fn end_one(visit: &Visit, permit: &Permit, id: SessionId) -> Result<(), Failure> {
    match visit.console.flows.end_session(id, &permit.session, "revoked").await {
        // It is not theirs, or has ended: either way it is none of theirs now.
        Ok(()) | Err(ChangeError::Conflict) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn to_account() -> Response {
    no_store(Redirect::to(gate_path::ACCOUNT).into_response())
}
