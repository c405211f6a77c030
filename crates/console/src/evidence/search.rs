//! What somebody looks for in the evidence, as the query of the page says it.
//!
//! A parameter that is not known, or that cannot be read, is refused: a search
//! that silently leaves a condition out shows too much, and hides what was sought.

use jiff::Timestamp as Instant;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use stepgate_core::catalogue::{ActionName, ServiceName};
use stepgate_core::flows::Sought;
use stepgate_core::person::Login;
use stepgate_core::ports::EntryQuery;
use stepgate_core::time::Timestamp;
use stepgate_core::web::gate_path;

use super::kinds;

/// Entries of one page, unless the query says otherwise.
const PAGE: u32 = 50;
/// Most entries of one page.
const PAGE_MAX: u32 = 500;
/// Longest value of a parameter, in bytes.
const VALUE_MAX: usize = 500;
/// Most kinds in one query.
const KINDS_MAX: usize = 20;

/// The parameters that there are, in the order in which a link has them.
const NAMES: [&str; 11] =
    ["person", "kind", "service", "action", "challenge", "request", "since", "until", "index", "before", "limit"];

/// A parameter that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {expected}")]
pub(crate) struct BadTerm {
    name: String,
    expected: &'static str,
}

/// A search as it was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    /// The parameters as they were given, each once; those that are empty are left out.
    given: Vec<(&'static str, String)>,
    /// Whose entries.
    pub(crate) person: Sought,
    /// All other conditions. Its limit is that of the page.
    pub(crate) query: EntryQuery,
}

impl Search {
    /// Reads the query of a URL.
    pub(crate) fn parse(query: &str) -> Result<Self, BadTerm> {
        let mut search = Self {
            given: Vec::new(),
            person: Sought::Anybody,
            query: EntryQuery { limit: PAGE, ..EntryQuery::default() },
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let bad = |expected| BadTerm { name: name.chars().take(40).collect(), expected };
            let Some(known) = NAMES.into_iter().find(|known| *known == name) else {
                return Err(bad("there is no such parameter"));
            };
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            if value.len() > VALUE_MAX {
                return Err(bad("it is too long"));
            }
            if search.given.iter().any(|(given, _)| *given == known) {
                return Err(bad("it is there twice"));
            }
            search.read(known, value).map_err(bad)?;
            search.given.push((known, value.to_owned()));
        }
        let of_index = search.query.from.is_some();
        if of_index && search.given.iter().any(|(name, _)| *name == "before") {
            return Err(BadTerm { name: "before".to_owned(), expected: "one entry has no pages" });
        }
        Ok(search)
    }

    fn read(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        const AN_ID: &str = "an id is 32 digits and letters a to f";
        let query = &mut self.query;
        match name {
            "person" => {
                self.person = match (value.parse(), Login::parse(value)) {
                    (Ok(id), _) => Sought::Id(id),
                    (Err(_), Ok(login)) => Sought::Login(login),
                    (Err(_), Err(_)) => return Err("a sign-in name or a person's id is expected"),
                };
            }
            "kind" => {
                let wanted: Vec<&str> = value.split(',').collect();
                if wanted.len() > KINDS_MAX || !wanted.iter().all(|kind| kinds::is_one(kind)) {
                    return Err("there is no such type of entry");
                }
                query.kinds = wanted.into_iter().map(str::to_owned).collect();
            }
            "service" => query.service = Some(ServiceName::parse(value).map_err(|_| "a service's name is expected")?),
            "action" => query.action = Some(ActionName::parse(value).map_err(|_| "an action like payments.approve")?),
            "challenge" => query.challenges = vec![value.parse().map_err(|_| AN_ID)?],
            "request" => query.request = Some(value.parse().map_err(|_| AN_ID)?),
            "since" => query.since = Some(moment(value, Day::Begins)?),
            "until" => query.until = Some(moment(value, Day::Ends)?),
            "index" => {
                let index: u64 = value.parse().map_err(|_| "an entry's number is expected")?;
                query.from = Some(index);
                query.before = Some(index.saturating_add(1));
            }
            "before" => query.before = Some(value.parse().map_err(|_| "an entry's number is expected")?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                query.limit = limit.ok_or("1 to 500 entries are given at once")?;
            }
            _ => return Err("there is no such parameter"),
        }
        Ok(())
    }

    /// A parameter as it was given; empty if it was not.
    pub(crate) fn given(&self, name: &str) -> &str {
        self.given.iter().find(|(given, _)| *given == name).map_or("", |(_, value)| value)
    }

    /// Whether anything is looked for, rather than all.
    pub(crate) fn is_narrowed(&self) -> bool {
        self.given.iter().any(|(name, _)| !matches!(*name, "before" | "limit"))
    }

    /// Where the page before this entry is, older ones of the same search.
    pub(crate) fn older_than(&self, index: u64) -> String {
        let same = self.given.iter().filter(|(name, _)| *name != "before").map(|(name, value)| (*name, value.as_str()));
        link(same.chain([("before", index.to_string().as_str())]))
    }
}

/// The page for one condition.
pub(crate) fn link_to(name: &'static str, value: &str) -> String {
    link([(name, value)].into_iter())
}

fn link<'a>(terms: impl Iterator<Item = (&'static str, &'a str)>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(terms);
    format!("{}?{}", gate_path::EVIDENCE, query.finish())
}

/// Which end of a day is meant where only the day is said.
enum Day {
    Begins,
    Ends,
}

/// A moment (RFC 3339) or a day in UTC, which counts whole.
fn moment(text: &str, day: Day) -> Result<Timestamp, &'static str> {
    const EXPECTED: &str = "a day like 2026-11-22 or a moment like 2026-11-22T10:42:00Z is expected";
    if let Ok(at) = text.parse::<Instant>() {
        return Ok(Timestamp::from_ms(at.as_millisecond()));
    }
    let date: Date = text.parse().map_err(|_| EXPECTED)?;
    let date = match day {
        Day::Begins => date,
        Day::Ends => date.tomorrow().map_err(|_| EXPECTED)?,
    };
    let midnight = date.to_zoned(TimeZone::UTC).map_err(|_| EXPECTED)?;
    Ok(Timestamp::from_ms(midnight.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> EntryQuery {
        Search::parse(text).unwrap().query
    }

    fn wrong(text: &str) -> String {
        Search::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn each_condition_is_read() {
        let id = "ab".repeat(16);
        let read = query(&format!("challenge={id}&request={id}&service=ledger&action=payments.approve&kind=fault"));
        assert_eq!(read.challenges[0].to_string(), id);
        assert_eq!(read.request.unwrap().to_string(), id);
        assert_eq!(read.service.unwrap().as_str(), "ledger");
        assert_eq!(read.action.unwrap().as_str(), "payments.approve");
        assert_eq!((read.kinds, read.limit), (vec!["fault".to_owned()], 50));
        assert_eq!(query("kind=challenge.passed,operation.sent").kinds.len(), 2);
        let one = query("index=7");
        assert_eq!((one.from, one.before), (Some(7), Some(8)));
        assert_eq!(query("before=9&limit=500").limit, 500);
        assert_eq!(Search::parse(&format!("person={id}")).unwrap().person, Sought::Id(id.parse().unwrap()));
        let alice = Search::parse("person=+Alice+").unwrap();
        assert_eq!(alice.person, Sought::Login(Login::parse("Alice").unwrap()));
    }

    #[test]
    fn a_day_counts_whole_and_in_utc() {
        let ms = |text: &str| text.parse::<Instant>().unwrap().as_millisecond();
        let read = query("since=2026-11-22&until=2026-11-22");
        assert_eq!(read.since.unwrap().as_ms(), ms("2026-11-22T00:00:00Z"));
        assert_eq!(read.until.unwrap().as_ms(), ms("2026-11-23T00:00:00Z"));
        assert_eq!(query("until=2026-11-22T10:42:00%2B01:00").until.unwrap().as_ms(), ms("2026-11-22T09:42:00Z"));
    }

    #[test]
    fn what_an_empty_field_sends_is_no_condition() {
        let search = Search::parse("person=&kind=&since=&index=").unwrap();
        assert_eq!(search.query, EntryQuery { limit: 50, ..EntryQuery::default() });
        assert!(!search.is_narrowed());
    }

    #[test]
    fn a_condition_that_cannot_be_read_is_refused_rather_than_left_out() {
        assert_eq!(wrong("persom=alice"), "persom: there is no such parameter");
        assert_eq!(wrong("=x"), ": there is no such parameter");
        assert_eq!(wrong("person=a&person=b"), "person: it is there twice");
        assert!(wrong("kind=challenge.past").contains("no such type"));
        assert!(wrong("challenge=1").contains("32 digits"));
        assert!(wrong("since=yesterday").contains("a day like"));
        assert!(wrong("limit=501").contains("1 to 500"));
        assert!(wrong("limit=0").contains("1 to 500"));
        assert!(wrong("index=-1").contains("number"));
        assert!(wrong("index=1&before=5").contains("one entry"));
        assert!(wrong("service=%27%20OR%201=1").contains("service's name"));
        assert!(wrong(&format!("person={}", "a".repeat(501))).contains("too long"));
    }

    #[test]
    fn the_next_page_is_of_the_same_search() {
        let search = Search::parse("person=alice&before=90&limit=5").unwrap();
        assert_eq!(search.older_than(40), "/evidence?person=alice&limit=5&before=40");
        assert_eq!(link_to("challenge", "a&b=c"), "/evidence?challenge=a%26b%3Dc");
    }
}
