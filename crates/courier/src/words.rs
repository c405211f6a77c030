//! What a message says.

use askama::Template;
use secrecy::ExposeSecret as _;
use stepgate_core::ports::{About, Message};
use stepgate_core::surroundings::shown;

/// Longest subject, in characters.
const SUBJECT_MAX: usize = 90;
/// Longest value of an input, in characters.
const VALUE_MAX: usize = 200;
/// Inputs that are told; the page has all.
const INPUTS_MAX: usize = 12;

/// The parts of a message.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

#[derive(Template)]
#[template(path = "code.txt")]
struct Text<'a>(&'a Parts);

#[derive(Template)]
#[template(path = "code.html")]
struct Html<'a>(&'a Parts);

struct Parts {
    gate: String,
    /// In two groups, for reading.
    code: String,
    heading: String,
    /// What is asked, as pairs of label and value.
    facts: Vec<(String, String)>,
    not_me: &'static str,
    minutes: i64,
}

/// Says what the code is for. Nothing in it is a link: whoever can read the mail still has to be where the
/// question is asked.
pub(crate) fn words(message: &Message, gate: &str) -> Result<Words, String> {
    let code = message.code.expose_secret();
    let (left, right) = code.split_at_checked(code.len() / 2).unwrap_or((code, ""));
    let (subject, heading, mut facts, not_me) = match &message.about {
        About::Operation { service, title, inputs, address, agent } => {
            let title = shown(title, VALUE_MAX);
            let mut facts = vec![("At".to_owned(), shown(service, VALUE_MAX))];
            facts
                .extend(inputs.iter().take(INPUTS_MAX).map(|(name, value)| (shown(name, 60), shown(value, VALUE_MAX))));
            if inputs.len() > INPUTS_MAX {
                facts.push(("And".to_owned(), format!("{} more, on the page", inputs.len() - INPUTS_MAX)));
            }
            facts.push(("Asked from".to_owned(), format!("{}, {}", shown(address, 60), shown(agent, VALUE_MAX))));
            let not_me = "If this was not you, give the code to nobody, and choose “This wasn’t me” on the page or \
                          tell your administrator.";
            (format!("Code to confirm: {title}"), title, facts, not_me)
        }
        About::Enrolment { login } => {
            let facts = vec![("For".to_owned(), shown(login, VALUE_MAX))];
            let not_me = "If this was not you, ignore this message: without the code nothing happens.";
            ("Code to add this address".to_owned(), "Add this address to your account".to_owned(), facts, not_me)
        }
    };
    facts.push(("Asked at".to_owned(), shown(&message.at.to_string(), 40)));
    let minutes = (message.expires_at.as_ms() - message.at.as_ms()) / 60_000;
    let parts = Parts {
        gate: gate.to_owned(),
        code: format!("{left} {right}"),
        heading,
        facts,
        not_me,
        minutes: minutes.max(1),
    };
    let text = Text(&parts).render().map_err(|error| error.to_string())?;
    let html = Html(&parts).render().map_err(|error| error.to_string())?;
    Ok(Words { subject: shown(&subject, SUBJECT_MAX), text, html })
}

/// The same in one line, for a telephone: no more than what fits there.
pub(crate) fn line(message: &Message, gate: &str) -> String {
    let code = message.code.expose_secret();
    match &message.about {
        About::Operation { service, title, .. } => {
            format!(
                "{code} is your code for {}: {}. {gate} never asks for it on the phone.",
                shown(service, 40),
                shown(title, 80)
            )
        }
        About::Enrolment { login } => {
            format!("{code} is the code to add this number to {} at {gate}.", shown(login, 60))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use stepgate_core::factor::{Destination, FactorKind};
    use stepgate_core::id::Id;
    use stepgate_core::time::Timestamp;

    use super::*;

    pub(crate) fn message(title: &str, note: &str) -> Message {
        let at = Timestamp::from_ms(1_763_900_000_000);
        Message {
            id: Id::from_bytes([7; 16]),
            kind: FactorKind::EmailCode,
            to: Destination::email("alice@example.com").unwrap(),
            code: "01234567".into(),
            about: About::Operation {
                service: "Ledger".to_owned(),
                title: title.to_owned(),
                inputs: vec![("note".to_owned(), note.to_owned())],
                address: "192.0.2.7".to_owned(),
                agent: "Firefox on Linux".to_owned(),
            },
            at,
            expires_at: at.plus(std::time::Duration::from_secs(600)),
        }
    }

    #[test]
    fn a_message_says_what_it_is_for_and_leads_nowhere() {
        let said = words(&message("Approve payment 42 of 12000", "x"), "gate.example.com").unwrap();
        assert_eq!(said.subject, "Code to confirm: Approve payment 42 of 12000");
        for body in [&said.text, &said.html] {
            for part in
                ["0123 4567", "Approve payment 42 of 12000", "Ledger", "192.0.2.7", "Firefox on Linux", "10 minutes"]
            {
                assert!(body.contains(part), "{part} in {body}");
            }
            assert!(!body.contains("http") && !body.contains("href"), "{body}");
        }
        assert!(!said.subject.contains("0123"), "a subject is shown on locked screens");
    }

    /// What an application's page put into an input is text and nothing else.
    #[test]
    fn b146_an_operation_cannot_bend_its_message() {
        let evil = "<b>x</b>\r\nBcc: mallory@example.com\r\n\r\n<a href=//evil>0000 0000</a>";
        let said = words(&message(evil, evil), "gate").unwrap();
        assert!(!said.subject.chars().any(char::is_control), "{:?}", said.subject);
        assert!(!said.text.contains("\nBcc:"), "{}", said.text);
        assert!(!said.html.contains("<b>") && !said.html.contains("<a "), "{}", said.html);
        assert!(!line(&message(evil, evil), "gate").contains('\n'));
    }
}
