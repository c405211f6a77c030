//! `/evidence`: the ledger for those whom the operator's policy lets see it. Every
//! request here was decided before, as one to `/account` was; who looks and who
//! takes it away stands in the ledger itself.

use axum::extract::RawQuery;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use serde_json::json;
use stepgate_core::catalogue::GATE_SERVICE;
use stepgate_core::flows::{Export, ExportError};
use stepgate_core::ports::EntryQuery;
use stepgate_core::web::gate_path;
use stepgate_ledger::export::archive::FOLDER_PREFIX;

use crate::evidence::archive::{self, Label};
use crate::evidence::kinds::KINDS;
use crate::evidence::lines::{self, Names};
use crate::evidence::search::{BadTerm, Search};
use crate::failure::{Failure, no_store};
use crate::http::Wants;
use crate::outcomes::Outcome;
use crate::views::{Choice, EvidenceForm, EvidencePage, Said};
use crate::visit::Visit;
use crate::wire::{json, problem};

/// When to try again while all places for exports are taken, in seconds.
const BUSY_RETRY_S: u32 = 30;

/// What stands where no entry was found.
const NOTHING_FOUND: &str = "No entry is like this.";
/// What stands where a name was sought that nobody has.
const NOBODY: &str = "Nobody signs in with this name. Entries of people who are gone are found by their id.";

/// The fields that are folded away.
const FOLDED: [&str; 6] = ["since", "until", "action", "challenge", "request", "index"];

/// `GET /evidence?person=…&kind=…`.
pub(crate) async fn search(visit: Visit, RawQuery(query): RawQuery) -> Response {
    let result = async {
        visit.permit()?;
        match Search::parse(query.as_deref().unwrap_or_default()) {
            Ok(search) => found(&visit, search).await,
            Err(bad) => refused(&visit, &bad),
        }
    };
    visit.finish(result.await)
}

async fn found(visit: &Visit, search: Search) -> Result<Response, Failure> {
    let by = visit.permit()?.session.person.id.to_string();
    // One entry more than the page has is read: it tells whether there are older ones.
    let query = EntryQuery { limit: search.query.limit.saturating_add(1), ..search.query.clone() };
    let Some(mut entries) = visit.console.flows.search_evidence(&by, &search.person, query).await? else {
        return Ok(of_nobody(visit, &search));
    };
    let has_older = entries.len() > search.query.limit as usize;
    entries.truncate(search.query.limit as usize);
    let oldest = entries.last().filter(|_| has_older && search.query.from.is_none());
    let older = oldest.map(|oldest| search.older_than(oldest.index));
    let titles = visit.console.flows.titles(&entries).await?;
    if visit.wants == Wants::Json {
        let entries: Vec<_> = entries.iter().map(|recorded| lines::for_programs(recorded, &titles)).collect();
        let older = older.map(|path| format!("{}{path}", visit.console.origin));
        return Ok(json(StatusCode::OK, &json!({ "entries": entries, "older": older })));
    }
    let mut names = Names::new();
    for person in lines::people_of(&entries) {
        if let Some(known) = visit.console.flows.store.person(person).await? {
            names.insert(person, known);
        }
    }
    let entries = entries.iter().map(|recorded| lines::line(recorded, &names, &titles)).collect();
    let form = form(visit, Some(&search));
    Ok(visit.page(StatusCode::OK, &page(visit, form, entries, older, NOTHING_FOUND, None)))
}

/// A name that was mistyped must not read as a person of whom there is nothing.
fn of_nobody(visit: &Visit, search: &Search) -> Response {
    if visit.wants == Wants::Json {
        return problem(StatusCode::NOT_FOUND, "unknown_person", "Nobody has this name", NOBODY);
    }
    visit.page(StatusCode::OK, &page(visit, form(visit, Some(search)), Vec::new(), None, NOBODY, None))
}

fn refused(visit: &Visit, bad: &BadTerm) -> Result<Response, Failure> {
    let (status, title) = (StatusCode::BAD_REQUEST, "This search cannot be read");
    if visit.wants == Wants::Json {
        return Ok(problem(status, "bad_query", title, &bad.to_string()));
    }
    let said = Said::bad(format!("{title}."), format!("{bad}."));
    Ok(visit.page(status, &page(visit, form(visit, None), Vec::new(), None, "Nothing was searched.", Some(said))))
}

fn page(
    visit: &Visit,
    form: EvidenceForm,
    entries: Vec<crate::views::EvidenceEntry>,
    older: Option<String>,
    if_empty: &'static str,
    said: Option<Said>,
) -> EvidencePage {
    let export_action = format!("{}/export", gate_path::EVIDENCE);
    EvidencePage { frame: visit.frame(), form, entries, if_empty, older, export_action, said }
}

fn form(visit: &Visit, search: Option<&Search>) -> EvidenceForm {
    let given = |name: &str| search.map(|search| search.given(name).to_owned()).unwrap_or_default();
    let choice = |chosen: &str, value: &str, text: &str| Choice {
        value: value.to_owned(),
        text: text.to_owned(),
        is_chosen: chosen == value,
    };
    let kind = given("kind");
    let mut kinds = vec![choice(&kind, "", "Anything")];
    kinds.extend(KINDS.iter().map(|(value, text, _)| choice(&kind, value, text)));
    if kind.contains(',') {
        kinds.push(choice(&kind, &kind, "Several types"));
    }
    let service = given("service");
    let live = visit.console.flows.live.load();
    let mut services = vec![choice(&service, "", "Any")];
    let known = live.catalogue.services.iter().filter(|(name, _)| name.as_str() != GATE_SERVICE);
    services.extend(known.map(|(name, known)| choice(&service, name.as_str(), &known.title)));
    services.push(choice(&service, GATE_SERVICE, "The gate itself"));
    if !services.iter().any(|one| one.is_chosen) {
        // A service that is no longer configured has left its entries.
        services.push(choice(&service, &service, &service));
    }
    EvidenceForm {
        action: gate_path::EVIDENCE.to_owned(),
        person: given("person"),
        kinds,
        services,
        acted: given("action"),
        challenge: given("challenge"),
        request: given("request"),
        since: given("since"),
        until: given("until"),
        index: given("index"),
        is_open: FOLDED.iter().any(|name| !given(name).is_empty()),
        is_narrowed: search.is_some_and(Search::is_narrowed),
    }
}

/// `POST /evidence/export`: the whole log as one archive.
pub(crate) async fn export(visit: Visit, body: Bytes) -> Response {
    let result = async {
        visit.fields(&body)?;
        let permit = visit.permit()?;
        let flows = &visit.console.flows;
        let Ok(place) = visit.console.exports.clone().try_acquire_owned() else {
            return Err(Outcome::TooMany { retry_after_s: BUSY_RETRY_S }.into());
        };
        let by = permit.session.person.id.to_string();
        let export = flows.export_evidence(&by, &permit.authority()).await.map_err(not_exported)?;
        let label = label(&visit, &export);
        let name = format!("attachment; filename=\"{}.tar\"", label.folder);
        let disposition = HeaderValue::from_str(&name).map_err(|_| Failure::Fault("an export has no file name"))?;
        let mut response = no_store(Response::new(archive::body(export, label, place)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
        headers.insert(CONTENT_DISPOSITION, disposition);
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Ok::<_, Failure>(response)
    };
    visit.finish(result.await)
}

fn label(visit: &Visit, export: &Export) -> Label {
    let head = export.checkpoint().unverified();
    let log = head.origin.to_string();
    // A log is named like a host; anything else does not become part of a file's name.
    let plain = |sign: char| if sign.is_ascii_alphanumeric() || "-.".contains(sign) { sign } else { '-' };
    // With it, the longest path in the archive fits the 100 bytes of a header.
    let host: String = log.chars().take(40).map(plain).collect();
    Label {
        folder: format!("{FOLDER_PREFIX}{host}-{}", head.size),
        log,
        key: export.keys().signing.clone(),
        at: visit.surroundings.now,
    }
}

fn not_exported(error: ExportError) -> Failure {
    match error {
        ExportError::Store(error) => Failure::Store(error),
        ExportError::Checkpoint(_) | ExportError::Missing(_) => Failure::Fault("the evidence cannot be exported"),
    }
}
