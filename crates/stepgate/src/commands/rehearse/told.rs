//! What a rehearsal came to, for people and programs.

use serde_json::{Value, json};

use super::play::Played;
use crate::cli::Format;
use crate::commands::print;

pub(super) fn tell(played: &[Played], unrehearsed: &[String], format: Format) {
    match format {
        Format::Json => print::json(&json!({
            "requests": played.iter().map(one).collect::<Vec<_>>(), "not_rehearsed": unrehearsed,
        })),
        Format::Text => {
            played.iter().for_each(text);
            if !unrehearsed.is_empty() {
                println!("\nnothing was sent to");
                unrehearsed.iter().for_each(|resource| println!("  {resource}"));
                println!(
                    "a case of a test table gives a request for each; what changes something needs --also as well"
                );
            }
            let count = |right| played.iter().filter(|one| one.is_right == Some(right)).count();
            let sent = played.iter().filter(|one| one.not_sent.is_none()).count();
            println!("\n{sent} sent, {} as expected, {} not", count(true), count(false));
        }
    }
}

fn text(played: &Played) {
    let mark = match (&played.not_sent, played.is_right) {
        (Some(_), _) => "SKIP ",
        (None, Some(false)) => "WRONG",
        (None, _) => "ok   ",
    };
    println!("{mark} {}  ({})", played.name, played.resource);
    if let Some(why) = &played.not_sent {
        println!("      not sent: {why}");
        return;
    }
    let by = if played.policies.is_empty() { String::new() } else { format!(", by {}", played.policies.join(", ")) };
    println!("      {}{by}", played.found);
    if let Some(status) = played.let_through {
        println!("      let through: the application answered {status} after {} ms", played.took.as_millis());
    }
    if let Some(stuck) = &played.stuck {
        println!("      not let through: {stuck}");
    }
    if let (Some(false), Some(expected)) = (played.is_right, &played.expected) {
        println!("      expected {expected}");
    }
}

fn one(played: &Played) -> Value {
    json!({
        "case": played.name, "resource": played.resource, "not_sent": played.not_sent, "expected": played.expected,
        "found": played.found, "policies": played.policies, "let_through": played.let_through, "stuck": played.stuck,
        "took_ms": u64::try_from(played.took.as_millis()).unwrap_or(u64::MAX), "right": played.is_right,
    })
}
