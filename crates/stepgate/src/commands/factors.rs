//! `stepgate user factors`: who has what.

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::json;
use stepgate_core::factor::{EnrolledFactor, FactorSecret};
use stepgate_core::flows::Flows;
use stepgate_core::person::{Login, Person};

use super::{Done, Failure, because, open};
use crate::cli::{Format, ReportArgs};

/// People of one reading.
const AT_ONCE: u32 = 500;
/// The columns of the report. `token`: the serial number, of a hardware token whose seed was imported.
const COLUMNS: [&str; 8] =
    ["login", "kind", "name", "enrolled_at", "last_used_at", "last_used_from", "token", "active"];

/// Who has what, a row for each factor, printed while it is read: nothing grows with the number of people.
pub(super) async fn report(args: ReportArgs) -> Done {
    let house = open(&args.config.config).await?;
    let mut out = std::io::stdout();
    let mut write = |text: &str| out.write_all(text.as_bytes()).map_err(because);
    let (format, csv) = (args.output.format(), args.csv);
    match (csv, format) {
        (true, _) => write(&line_of(COLUMNS))?,
        (false, Format::Json) => write("[")?,
        (false, Format::Text) => {}
    }
    let (mut after, mut first): (Option<Login>, bool) = (None, true);
    loop {
        let people = house.flows.store.people(after.as_ref(), AT_ONCE).await.map_err(because)?;
        let Some(last) = people.last() else { break };
        after = Some(last.login.clone());
        for person in &people {
            for row in rows(&house.flows, person).await? {
                match (csv, format) {
                    (true, _) => write(&line_of(row.each_ref().map(String::as_str)))?,
                    (false, Format::Text) => write(&text_of(&row))?,
                    (false, Format::Json) => {
                        let object: serde_json::Map<_, _> =
                            COLUMNS.iter().zip(&row).map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
                        let comma = if first { "" } else { "," };
                        write(&format!("{comma}\n  {}", serde_json::Value::Object(object)))?;
                    }
                }
                first = false;
            }
        }
    }
    if !csv && format == Format::Json {
        write("\n]\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

type Row = [String; COLUMNS.len()];

/// The rows of a person: one for each factor, and one without a kind for who has none.
async fn rows(flows: &Flows, person: &Person) -> Result<Vec<Row>, Failure> {
    let factors = flows.store.factors(person.id).await.map_err(because)?;
    if factors.is_empty() {
        return Ok(vec![row(person, None)]);
    }
    Ok(factors.iter().map(|one| row(person, Some(one))).collect())
}

fn row(person: &Person, one: Option<&EnrolledFactor>) -> Row {
    let told = |tell: &dyn Fn(&EnrolledFactor) -> Option<String>| one.and_then(tell).unwrap_or_default();
    let token = |one: &EnrolledFactor| match &one.secret {
        FactorSecret::Oath { token: Some(token), .. } => Some(token.serial.clone()),
        _ => None,
    };
    [
        person.login.to_string(),
        told(&|one| Some(one.kind().name().to_owned())),
        told(&|one| Some(one.name.clone())),
        told(&|one| Some(one.enrolled_at.to_string())),
        told(&|one| one.last_used_at.map(|at| at.to_string())),
        told(&|one| one.last_used_from.map(|address| address.to_string())),
        told(&token),
        if person.active { "yes" } else { "no" }.to_owned(),
    ]
}

fn text_of(row: &Row) -> String {
    let [login, kind, name, _, used, from, token, _] = row;
    let kind = if kind.is_empty() { "nothing enrolled" } else { kind };
    let used = match (kind, used.as_str()) {
        ("nothing enrolled", _) => String::new(),
        (_, "") => "never used".to_owned(),
        (_, used) => format!("used {used} from {from}"),
    };
    let line = format!("{login:<24} {kind:<16} {name:<28} {used} {token}");
    format!("{}\n", line.trim_end())
}

/// A line of CSV (RFC 4180). A field that a spreadsheet would take for a formula begins with an apostrophe: people
/// choose the names of their factors.
fn line_of(fields: [&str; COLUMNS.len()]) -> String {
    let field = |text: &str| {
        let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let guarded = if is_formula { format!("'{text}") } else { text.to_owned() };
        if guarded.contains([',', '"', '\n', '\r']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
    };
    format!("{}\r\n", fields.map(field).join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b154_no_name_of_a_factor_is_a_formula() {
        let row = |name| line_of(["alice", "passkey", name, "", "", "", "", "yes"]);
        for (name, expected) in [
            ("Laptop", "Laptop"),
            ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("a,b", "\"a,b\""),
            ("=\"a\"", "\"'=\"\"a\"\"\""),
        ] {
            assert_eq!(row(name), format!("alice,passkey,{expected},,,,,yes\r\n"), "{name:?}");
        }
    }
}
