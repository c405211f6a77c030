//! The sample challenges.

use std::time::Duration;

use jiff::SignedDuration;
use stepgate_console::views::{
    Asker, ChallengePage, CodeOffer, Grant, Input, LockedFactor, MissingFactor, NumberMatch, Offers, OnDevices,
    PasskeyCall, PushOffer, Reason, Said, Sent, SentOffer, SentTo, ServiceView, Step, StepState, Technical,
};
use stepgate_console::words;

use super::{company, frame, later, passkey_call};

fn challenge() -> ChallengePage {
    ChallengePage {
        frame: frame(),
        id: "9f1c2a77e04b4f0f".to_owned(),
        action: "/challenges/9f1c2a77e04b4f0f/answers".to_owned(),
        login_action: "/challenges/9f1c2a77e04b4f0f/login".to_owned(),
        send_action: "/challenges/9f1c2a77e04b4f0f/codes".to_owned(),
        cancel_action: "/challenges/9f1c2a77e04b4f0f/cancel".to_owned(),
        watch: None,
        service: ServiceView { name: "Ledger".to_owned(), host: "ledger.example.com".to_owned() },
        front: None,
        asker: Asker::ThisSession { device: "Firefox on Linux, signed in since 09:14 UTC".to_owned() },
        title: "Approve payment 42 of 12,000.00".to_owned(),
        inputs: vec![input("To", "Northwind Traders Ltd")],
        reasons: vec![Reason {
            text: "Payments over 10,000 need your passkey, for this payment alone.".to_owned(),
            policy: "large-payment".to_owned(),
        }],
        grant: Grant::ThisRequest { lifetime: Duration::from_secs(300) },
        instruction: "Confirm that it is you".to_owned(),
        steps: Vec::new(),
        offers: Offers {
            passkey: Some(passkey_call()),
            logins: Vec::new(),
            push: None,
            totp: Some(CodeOffer::default()),
            hotp: None,
            password: None,
            sent: Vec::new(),
            recovery: Some(CodeOffer::default()),
            username: "alice".to_owned(),
        },
        locked: Vec::new(),
        missing: Vec::new(),
        number: NumberMatch::Shown("471 083".to_owned()),
        said: None,
        expires: later(SignedDuration::from_mins(9)),
        expires_in: "in 9 minutes".to_owned(),
        technical: Technical {
            method: "POST".to_owned(),
            url: "https://ledger.example.com/payments/42/approve".to_owned(),
            content_type: Some("application/x-www-form-urlencoded".to_owned()),
            body_digest: words::in_groups("6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b", 8),
            inputs: vec![input("Payment", "42"), input("Amount", "12000.00"), input("To", "Northwind Traders Ltd")],
            headers: vec![input("idempotency-key", "3b1f")],
            statement_digest: Some(words::in_groups(
                "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35",
                8,
            )),
        },
    }
}

/// The challenge with this text in every place that others fill.
pub(crate) fn challenge_with(text: &str) -> ChallengePage {
    let plain = challenge();
    ChallengePage {
        title: text.to_owned(),
        inputs: vec![input(text, text)],
        reasons: vec![Reason { text: text.to_owned(), policy: text.to_owned() }],
        asker: Asker::Program { name: text.to_owned(), address: text.to_owned() },
        offers: Offers { passkey: Some(PasskeyCall { options: text.to_owned(), ..passkey_call() }), ..plain.offers },
        number: NumberMatch::Typed(text.to_owned()),
        technical: Technical { url: text.to_owned(), ..plain.technical },
        said: Some(Said::bad(text, text)),
        ..plain
    }
}

pub(super) fn challenge_of(name: &str) -> Option<ChallengePage> {
    let plain = challenge();
    Some(match name {
        "challenge" => plain,
        "challenge-wrong-code" => ChallengePage {
            said: Some(Said::bad("That code is not right.", "7 tries left.")),
            offers: Offers { totp: Some(CodeOffer { tries_left: None, failed: true }), ..plain.offers },
            ..plain
        },
        "challenge-two-steps" => ChallengePage {
            title: "Delete the workspace “Finance 2026”".to_owned(),
            instruction: "Now your passkey".to_owned(),
            steps: vec![step("Authenticator app", StepState::Done), step("Passkey", StepState::Now)],
            said: Some(Said::good("The code is right.", "One more proof is needed.")),
            offers: Offers { passkey: plain.offers.passkey.clone(), ..Offers::default() },
            number: NumberMatch::NotUsed,
            ..plain
        },
        "challenge-agent" => ChallengePage {
            asker: Asker::Program { name: "reports-bot".to_owned(), address: "203.0.113.17".to_owned() },
            title: "Export all customer records of November".to_owned(),
            reasons: vec![
                Reason {
                    text: "Exports need a second factor from the last five minutes.".to_owned(),
                    policy: "exports-need-a-fresh-second-factor".to_owned(),
                },
                Reason {
                    text: "Programs may export only what their owner confirms.".to_owned(),
                    policy: "programs-ask-their-owner".to_owned(),
                },
            ],
            inputs: vec![input("Format", "csv")],
            number: NumberMatch::Asked,
            ..plain
        },
        "challenge-missing" => ChallengePage {
            offers: Offers::default(),
            missing: vec![MissingFactor {
                need: "You need a passkey for this.".to_owned(),
                how: "It cannot be added in the middle of a confirmation. Add one in your account, then do this again."
                    .to_owned(),
                link: Some("/account/factors/passkey".to_owned()),
                link_text: "Add a passkey".to_owned(),
            }],
            locked: vec![LockedFactor {
                name: "Your authenticator app".to_owned(),
                until: later(SignedDuration::from_mins(15)),
            }],
            number: NumberMatch::NotUsed,
            instruction: "You cannot confirm this yet".to_owned(),
            ..plain
        },
        "challenge-freshness" => ChallengePage {
            title: "Open the November reports".to_owned(),
            inputs: Vec::new(),
            front: Some("https://ledger.example.com/".to_owned()),
            reasons: vec![Reason {
                text: "Reports need a second factor from the last five minutes.".to_owned(),
                policy: "reports-need-a-fresh-second-factor".to_owned(),
            }],
            grant: Grant::Freshness { counts_for: Some(Duration::from_secs(300)) },
            offers: Offers {
                passkey: None,
                logins: Vec::new(),
                push: None,
                totp: Some(CodeOffer::default()),
                hotp: None,
                password: Some(CodeOffer::default()),
                sent: Vec::new(),
                recovery: Some(CodeOffer::default()),
                username: "alice".to_owned(),
            },
            technical: Technical {
                method: "GET".to_owned(),
                url: "https://ledger.example.com/reports/2026-11".to_owned(),
                content_type: None,
                body_digest: words::in_groups("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 8),
                inputs: Vec::new(),
                headers: Vec::new(),
                statement_digest: None,
            },
            ..plain
        },
        "challenge-hardware-code" => ChallengePage {
            said: Some(Said::bad("That code is not right.", "4 tries are left.")),
            offers: Offers { hotp: Some(CodeOffer { tries_left: None, failed: true }), totp: None, ..plain.offers },
            ..plain
        },
        "challenge-send-code" => ChallengePage {
            offers: Offers { sent: vec![by_mail(Sent::No), to_phone(Sent::Failed)], ..plain.offers },
            ..plain
        },
        "challenge-code-sent" => ChallengePage {
            said: Some(Said::good("A code is on its way.", "Type it here. It counts for this question alone.")),
            offers: Offers { sent: vec![by_mail(Sent::OnItsWay)], ..Offers::default() },
            ..plain
        },
        "challenge-company" => ChallengePage {
            offers: Offers {
                logins: vec![company()],
                totp: Some(CodeOffer::default()),
                username: "alice".to_owned(),
                ..Offers::default()
            },
            ..plain
        },
        "challenge-company-beside" => ChallengePage {
            offers: Offers { logins: vec![company()], passkey: Some(passkey_call()), ..Offers::default() },
            ..plain
        },
        "challenge-recovery-only" => ChallengePage {
            offers: Offers { recovery: Some(CodeOffer::default()), ..Offers::default() },
            locked: vec![LockedFactor {
                name: "Your authenticator app".to_owned(),
                until: later(SignedDuration::from_mins(15)),
            }],
            ..plain
        },
        "challenge-push" => ChallengePage { offers: Offers { push: Some(push(None)), ..plain.offers }, ..plain },
        "challenge-push-asked" => {
            let asked = OnDevices { number: Some("471 083".to_owned()), expires: later(SignedDuration::from_mins(9)) };
            ChallengePage { offers: Offers { push: Some(push(Some(asked))), ..plain.offers }, ..plain }
        }
        "challenge-push-other" => {
            let push = PushOffer { instead_of: Some("9f1c".to_owned()), ..push(None) };
            let said = Said::bad("Something else is open on your device.", "“Approve payment 41” waits there first.");
            ChallengePage { offers: Offers { push: Some(push), ..Offers::default() }, said: Some(said), ..plain }
        }
        _ => return None,
    })
}

fn by_mail(sent: Sent) -> SentOffer {
    let to = SentTo { address: "01".to_owned(), masked: "a…@example.com".to_owned(), sent };
    SentOffer { factor: "email_code".to_owned(), to: vec![to], failed: false }
}

fn to_phone(sent: Sent) -> SentOffer {
    let to = SentTo { address: "02".to_owned(), masked: "+41…67".to_owned(), sent };
    SentOffer { factor: "phone_code".to_owned(), to: vec![to], failed: false }
}

fn push(asked: Option<OnDevices>) -> PushOffer {
    PushOffer {
        action: "/challenges/9f1c2a77e04b4f0f/push".to_owned(),
        place: "My phone".to_owned(),
        asked,
        instead_of: None,
    }
}

fn input(label: &str, value: &str) -> Input {
    Input { label: label.to_owned(), value: value.to_owned() }
}

fn step(name: &str, state: StepState) -> Step {
    Step { name: name.to_owned(), state }
}
