//! `stepgate sinks …`.

use std::process::ExitCode;

use stepgate_core::ports::{ChangeError, EntryQuery, SinkName, SinkState, Sinks as _, Store as _};
use stepgate_evidence::Event;
use stepgate_monitor::Record;

use super::user::by;
use super::{Done, FOUND, because, failed, open, print, wrong_input};
use crate::cli::{ConfigArgs, Format, SinksCommand};
use crate::gate::House;

pub(super) async fn run(command: SinksCommand) -> Done {
    match command {
        SinksCommand::List { config, output } => list(&config, output.format()).await,
        SinksCommand::Sample { name, from, limit, config } => sample(&name, from, limit, &config).await,
        SinksCommand::Forget { name, config, output } => forget(&name, &config, output.format()).await,
    }
}

async fn list(config: &ConfigArgs, format: Format) -> Done {
    let house = open(&config.config).await?;
    let states = house.database.sinks().await.map_err(because)?;
    let newest = EntryQuery { before: Some(i64::MAX.unsigned_abs()), limit: 1, ..EntryQuery::default() };
    let newest = house.database.entries(newest).await.map_err(because)?;
    let end = newest.first().map_or(0, |entry| entry.index.saturating_add(1));
    let mut rows = Vec::new();
    let mut is_any_late = false;
    let configured = house.settings.sinks.iter().map(|sink| (sink.name.clone(), true));
    let others = states.iter().filter(|state| house.settings.sinks.iter().all(|sink| sink.name != state.sink));
    for (name, is_configured) in configured.chain(others.map(|state| (state.sink.clone(), false))) {
        let state = states.iter().find(|state| state.sink == name);
        is_any_late |= is_configured && state.is_some_and(|state| state.is_late);
        match format {
            Format::Text => println!("{:<24} {}", name.as_str(), words(state, is_configured, end)),
            Format::Json => rows.push(json(&name, state, is_configured, end)),
        }
    }
    if format == Format::Json {
        print::json(&serde_json::Value::Array(rows));
    } else if house.settings.sinks.is_empty() && states.is_empty() {
        println!("No [[sink]] is configured: nobody is told the evidence.");
    }
    Ok(if is_any_late { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

fn words(state: Option<&SinkState>, is_configured: bool, end: u64) -> String {
    let Some(state) = state else { return "was never told anything: no gate ran with it yet".to_owned() };
    let behind = end.saturating_sub(state.next_entry);
    let mut words = match (behind, &state.waits) {
        (0, _) => "has everything".to_owned(),
        (behind, None) => format!("{behind} entries behind"),
        (behind, Some((since, why))) => format!("{behind} entries behind, takes nothing since {since}: {why}"),
    };
    if state.is_late {
        words.insert_str(0, "LATE: ");
    }
    if let Some(at) = state.told_at {
        words.push_str(&format!(", last told {at}"));
    }
    if state.refused > 0 {
        words.push_str(&format!(", {} refused for good", state.refused));
    }
    if !is_configured {
        words.push_str(" (not configured any more; `stepgate sinks forget` forgets it)");
    }
    words
}

fn json(name: &SinkName, state: Option<&SinkState>, is_configured: bool, end: u64) -> serde_json::Value {
    serde_json::json!({
        "sink": name.as_str(),
        "configured": is_configured,
        "next_entry": state.map(|state| state.next_entry),
        "behind": state.map_or(end, |state| end.saturating_sub(state.next_entry)),
        "late": state.is_some_and(|state| state.is_late),
        "told_at": state.and_then(|state| state.told_at).map(|at| at.to_string()),
        "waits_since": state.and_then(|state| state.waits.as_ref()).map(|(since, _)| since.to_string()),
        "why": state.and_then(|state| state.waits.as_ref()).map(|(_, why)| why),
        "refused": state.map_or(0, |state| state.refused),
    })
}

async fn sample(name: &str, from: u64, limit: u32, config: &ConfigArgs) -> Done {
    let house = open(&config.config).await?;
    let sink = house.settings.sinks.iter().find(|sink| sink.name.as_str() == name);
    let sink = sink.ok_or_else(|| wrong_input(format!("the configuration has no [[sink]] {name}")))?;
    house.flows.searched(&by(), &format!("sample of {limit} entries from {from} on")).await.map_err(because)?;
    let query = EntryQuery { from: Some(from), limit, ..EntryQuery::default() };
    let gate = gate_name(&house);
    for recorded in house.database.entries(query).await.map_err(because)? {
        let record = Record { recorded, login: None }.telling(sink.personal);
        for document in sink.format.render(&record, &gate, sink.to.document_len_max()).map_err(because)? {
            println!("{}", document.body.line());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn gate_name(house: &House) -> String {
    house.flows.live.load().catalogue.gate_host.to_string()
}

async fn forget(name: &str, config: &ConfigArgs, format: Format) -> Done {
    let house = open(&config.config).await?;
    let name = SinkName::parse(name).map_err(wrong_input)?;
    if house.settings.sinks.iter().any(|sink| sink.name == name) {
        return Err(wrong_input(format!("{name} is configured: take it out of the configuration first")));
    }
    let states = house.database.sinks().await.map_err(because)?;
    let state = states.into_iter().find(|state| state.sink == name);
    let state = state.ok_or_else(|| failed(format!("there is no sink {name}")))?;
    let event = Event::SinkForgotten { sink: name.to_string(), next_index: state.next_entry.to_string(), by: by() };
    let entry = house.flows.entry(house.flows.clock.now(), event);
    match house.database.forget_sink(&name, entry).await {
        Ok(()) => {}
        Err(ChangeError::Conflict) => return Err(failed(format!("there is no sink {name}"))),
        Err(error) => return Err(because(error)),
    }
    let value = serde_json::json!({ "sink": name.as_str(), "forgotten": true });
    print::done(format, &value, &format!("Forgotten: a sink {name} would begin anew."))
}
