//! The sample data of every page.

use axum::response::Response;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use stepgate_console::assets::AssetBase;
use stepgate_console::outcomes::{Outcome, Reported};
use stepgate_console::page::{ContentPolicy, respond};
use stepgate_console::views::{
    AccountPage, Activity, ActivityPage, AddFactor, AddressStep, AwayPage, Destination, Device, EnrolAddressPage,
    EnrolLinkPage, EnrolPage, EnrolPasskeyPage, EnrolPasswordPage, EnrolTokenPage, EnrolTotpPage, Factor, FactorChoice,
    Frame, PasskeyCall, PersonView, ProviderButton, QrCode, RecoveryCodesPage, Said, Session, SignInPage, SignOutPage,
    Tone, Visitor,
};
use stepgate_console::words::{self, Moment};

pub(crate) mod challenges;
pub(crate) mod devices;
pub(crate) mod evidence;

use challenges::challenge_of;

/// Every page by name.
pub(crate) const NAMES: [&str; 72] = [
    "sign-in",
    "sign-in-again",
    "sign-in-password-only",
    "sign-in-company",
    "sign-in-company-only",
    "away",
    "challenge-company",
    "challenge-send-code",
    "challenge-hardware-code",
    "challenge-code-sent",
    "challenge-company-beside",
    "signed-out-there",
    "challenge",
    "challenge-wrong-code",
    "challenge-two-steps",
    "challenge-agent",
    "challenge-missing",
    "challenge-freshness",
    "challenge-recovery-only",
    "account",
    "account-empty",
    "enrol-link",
    "enrol",
    "enrol-more",
    "sign-out",
    "activity",
    "not-sent",
    "sending",
    "enrol-passkey",
    "enrol-totp",
    "enrol-token",
    "enrol-password",
    "enrol-email",
    "enrol-phone",
    "enrol-code",
    "recovery-codes",
    "enrolled",
    "signed-out",
    "denied",
    "expired",
    "foreign",
    "went-on",
    "failed",
    "cancelled",
    "not-me",
    "passed-elsewhere",
    "unavailable",
    "unknown-outcome",
    "factor-locked",
    "ambiguous",
    "unknown-host",
    "too-large",
    "dead-link",
    "not-me-here",
    "account-auditor",
    "evidence",
    "evidence-found",
    "evidence-wrong",
    "approver",
    "approver-wrong",
    "approver-insufficient",
    "approver-idle",
    "approver-approved",
    "approver-invited",
    "approver-enrol",
    "approver-number",
    "enrol-device",
    "enrol-device-followed",
    "challenge-push",
    "challenge-push-asked",
    "challenge-push-other",
    "account-locked",
];

const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

pub(crate) fn render(name: &str, policy: &ContentPolicy) -> Option<Response> {
    let ok = StatusCode::OK;
    let view = match name {
        "sign-in" => respond(ok, policy, &sign_in()),
        "sign-in-again" => respond(ok, policy, &sign_in_again()),
        "sign-in-password-only" => respond(ok, policy, &SignInPage { passkey: None, destination: None, ..sign_in() }),
        "sign-in-company" => respond(ok, policy, &SignInPage { logins: vec![company()], ..sign_in() }),
        "sign-in-company-only" => {
            let said = Some(Said::bad("Your company’s login cannot be reached.", "Try again in a while."));
            respond(ok, policy, &SignInPage { logins: vec![company()], passkey: None, said, ..sign_in() })
        }
        "away" => {
            let url = "https://id.example/authorize?client_id=stepgate&state=x".to_owned();
            let provider = company().title;
            respond(ok, policy, &AwayPage { frame: stranger(), provider, url, confirms: true })
        }
        "account" => respond(ok, policy, &account()),
        "account-auditor" => respond(ok, policy, &AccountPage { evidence: Some("/evidence".to_owned()), ..account() }),
        "evidence" => respond(ok, policy, &evidence::newest()),
        "evidence-found" => respond(ok, policy, &evidence::found()),
        "evidence-wrong" => respond(StatusCode::BAD_REQUEST, policy, &evidence::wrong()),
        "account-empty" => respond(ok, policy, &empty_account()),
        "enrol-link" => respond(ok, policy, &enrol_link()),
        "enrol" => respond(ok, policy, &enrol()),
        "enrol-more" => respond(ok, policy, &enrol_more()),
        "sign-out" => respond(ok, policy, &SignOutPage { frame: frame(), action: "/sign-out".to_owned() }),
        "activity" => {
            let AccountPage { frame, activity, .. } = account();
            let older = Some("/account/activity?before=1".to_owned());
            respond(ok, policy, &ActivityPage { frame, activity, older })
        }
        "enrol-passkey" => respond(ok, policy, &enrol_passkey()),
        "enrol-totp" => respond(ok, policy, &enrol_totp()),
        "enrol-token" => respond(ok, policy, &enrol_token()),
        "enrol-email" => respond(ok, policy, &enrol_address(AddressStep::Send("a…@example.com".to_owned()))),
        "enrol-phone" => {
            respond(ok, policy, &enrol_address(AddressStep::Type("With its country: +41 79 123 45 67.".to_owned())))
        }
        "enrol-code" => respond(ok, policy, &enrol_address(AddressStep::Code("+41…67".to_owned()))),
        "enrol-password" => respond(ok, policy, &enrol_password()),
        "recovery-codes" => respond(ok, policy, &recovery_codes()),
        "account-locked" => {
            let unlock_approvals = Some("/account/approvals/unlock".to_owned());
            respond(ok, policy, &AccountPage { unlock_approvals, ..account() })
        }
        _ => match challenge_of(name) {
            Some(challenge) => respond(ok, policy, &challenge),
            None => {
                if let Some(page) = devices::of(name, policy) {
                    return Some(page);
                }
                let outcome = outcome(name)?;
                respond(outcome.status(), policy, &outcome.page(frame()))
            }
        },
    };
    Some(view)
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn ago(span: SignedDuration) -> Moment {
    Moment::with_day(now().checked_sub(span).unwrap_or_default())
}

fn later(span: SignedDuration) -> Moment {
    Moment::of_today(now().checked_add(span).unwrap_or_default())
}

fn frame() -> Frame {
    Frame {
        site: "Stepgate".to_owned(),
        home: "/".to_owned(),
        assets: AssetBase::own_origin(),
        visitor: Some(Visitor { name: "Alice Meyer".to_owned() }),
        csrf: "sample".to_owned(),
        request_id: Some("01JD9M7X3T2E8Q".to_owned()),
    }
}

fn stranger() -> Frame {
    Frame { visitor: None, request_id: None, ..frame() }
}

fn passkey_call() -> PasskeyCall {
    PasskeyCall {
        action: "/sign-in/passkey".to_owned(),
        options: r#"{"challenge":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","timeout":120000,"rpId":"127.0.0.1","allowCredentials":[],"userVerification":"required"}"#.to_owned(),
        ceremony: "sample".to_owned(),
    }
}

fn sign_in() -> SignInPage {
    SignInPage {
        frame: stranger(),
        destination: Some(Destination { name: "Ledger".to_owned(), host: "ledger.example.com".to_owned() }),
        next: Some("/account".to_owned()),
        continues: None,
        action: "/sign-in".to_owned(),
        name: String::new(),
        signed_in_as: None,
        passkey: Some(passkey_call()),
        logins: Vec::new(),
        said: None,
    }
}

pub(crate) fn company() -> ProviderButton {
    ProviderButton { name: "corp".to_owned(), title: "Example Corp".to_owned() }
}

fn sign_in_again() -> SignInPage {
    SignInPage {
        name: "alice".to_owned(),
        said: Some(Said::bad("Name or password is not right.", "Please try again.")),
        ..sign_in()
    }
}

fn account() -> AccountPage {
    AccountPage {
        frame: frame(),
        person: PersonView { name: "Alice Meyer".to_owned(), email: "alice@example.com".to_owned() },
        factors: vec![
            Factor {
                name: "Laptop".to_owned(),
                kind: "passkey".to_owned(),
                notes: vec!["kept on several devices".to_owned()],
                added: ago(SignedDuration::from_hours(24 * 92)),
                last_used: Some(ago(SignedDuration::from_mins(4))),
                last_used_from: Some("Zürich, CH".to_owned()),
                replace_kind: None,
                remove_action: Some("/account/factors/1/remove".to_owned()),
            },
            Factor {
                name: "Blue key on the key ring".to_owned(),
                kind: "passkey".to_owned(),
                notes: vec!["this device only".to_owned()],
                added: ago(SignedDuration::from_hours(24 * 30)),
                last_used: None,
                last_used_from: None,
                replace_kind: None,
                remove_action: Some("/account/factors/2/remove".to_owned()),
            },
            Factor {
                name: "Authenticator app".to_owned(),
                kind: "code".to_owned(),
                notes: Vec::new(),
                added: ago(SignedDuration::from_hours(24 * 92)),
                last_used: Some(ago(SignedDuration::from_hours(49))),
                last_used_from: Some("203.0.113.9".to_owned()),
                replace_kind: None,
                remove_action: Some("/account/factors/3/remove".to_owned()),
            },
            Factor {
                name: "Recovery codes".to_owned(),
                kind: "code".to_owned(),
                notes: vec!["8 of 10 left".to_owned()],
                added: ago(SignedDuration::from_hours(24 * 92)),
                last_used: None,
                last_used_from: None,
                replace_kind: Some("recovery".to_owned()),
                remove_action: None,
            },
            Factor {
                name: "Password".to_owned(),
                kind: "password".to_owned(),
                notes: Vec::new(),
                added: ago(SignedDuration::from_hours(24 * 92)),
                last_used: Some(ago(SignedDuration::from_hours(2))),
                last_used_from: Some("CH".to_owned()),
                replace_kind: Some("password".to_owned()),
                remove_action: None,
            },
        ],
        add: vec![
            AddFactor { text: "Add a passkey".to_owned(), kind: "passkey".to_owned() },
            AddFactor { text: "Add an authenticator app".to_owned(), kind: "totp".to_owned() },
        ],
        add_action: "/account/factors".to_owned(),
        sessions: vec![
            Session {
                device: "Firefox on Linux".to_owned(),
                place: "192.0.2.44".to_owned(),
                since: ago(SignedDuration::from_mins(130)),
                last_seen: ago(SignedDuration::ZERO),
                is_this: true,
                end_action: "/account/sessions/1/end".to_owned(),
            },
            Session {
                device: "Safari on iPhone".to_owned(),
                place: "2001:db8:7::2a91".to_owned(),
                since: ago(SignedDuration::from_hours(40)),
                last_seen: ago(SignedDuration::from_hours(9)),
                is_this: false,
                end_action: "/account/sessions/2/end".to_owned(),
            },
        ],
        devices: vec![
            Device {
                what: "Firefox on Linux".to_owned(),
                name: "Laptop at home".to_owned(),
                first_seen: ago(SignedDuration::from_hours(24 * 92)),
                last_used: ago(SignedDuration::from_mins(130)),
                is_this: true,
                name_action: "/account/devices/1/name".to_owned(),
                forget_action: "/account/devices/1/forget".to_owned(),
            },
            Device {
                what: "Safari on iPhone".to_owned(),
                name: String::new(),
                first_seen: ago(SignedDuration::from_hours(24 * 3)),
                last_used: ago(SignedDuration::from_hours(40)),
                is_this: false,
                name_action: "/account/devices/2/name".to_owned(),
                forget_action: "/account/devices/2/forget".to_owned(),
            },
        ],
        device_name_len_max: 60,
        end_others_action: Some("/account/sessions/end-others".to_owned()),
        activity: vec![
            activity(
                "Confirmed “Approve payment 42 of 12,000.00”",
                "passkey Laptop, Ledger, answered 200",
                4,
                Tone::Good,
            ),
            activity("Wrong authenticator code", "Firefox on Linux, 192.0.2.44", 6, Tone::Warning),
            activity("Signed in", "password, Firefox on Linux, 192.0.2.44", 130, Tone::Neutral),
            activity("Refused “Export all customer records”", "no proof would change that", 1600, Tone::Bad),
        ],
        more_activity: Some("/account/activity".to_owned()),
        unlock_approvals: None,
        evidence: None,
        said: None,
    }
}

fn activity(what: &str, detail: &str, minutes_ago: i64, tone: Tone) -> Activity {
    Activity { what: what.to_owned(), detail: detail.to_owned(), at: ago(SignedDuration::from_mins(minutes_ago)), tone }
}

fn empty_account() -> AccountPage {
    let full = account();
    AccountPage {
        factors: Vec::new(),
        sessions: full.sessions.into_iter().take(1).collect(),
        end_others_action: None,
        activity: Vec::new(),
        said: None,
        ..account()
    }
}

fn enrol() -> EnrolPage {
    let choice = |name: &str, text: &str, is_recommended| FactorChoice {
        name: name.to_owned(),
        text: text.to_owned(),
        href: "/enrol/sample/passkey".to_owned(),
        is_recommended,
    };
    EnrolPage {
        frame: stranger(),
        enrolled: Vec::new(),
        choices: vec![
            choice(
                "A passkey",
                "Your fingerprint, face or PIN on this device, or a security key. Nothing to remember, nothing to give away.",
                true,
            ),
            choice("An authenticator app", "Six digits from an app on your phone, beside a password.", false),
            choice("A password", "Works everywhere. Take a long one.", false),
        ],
        can_sign_in: false,
        end_action: "/enrol/with/sample/end".to_owned(),
        said: None,
    }
}

fn enrol_more() -> EnrolPage {
    EnrolPage { enrolled: vec!["Firefox on Linux".to_owned()], can_sign_in: true, ..enrol() }
}

fn enrol_link() -> EnrolLinkPage {
    EnrolLinkPage {
        frame: stranger(),
        person: "Alice Meyer".to_owned(),
        kinds: "a passkey, an authenticator app or a password".to_owned(),
        action: "/enrol/sample".to_owned(),
    }
}

fn enrol_passkey() -> EnrolPasskeyPage {
    EnrolPasskeyPage {
        frame: frame(),
        action: "/account/factors/passkey".to_owned(),
        passkey: PasskeyCall {
            action: String::new(),
            options: r#"{"rp":{"id":"localhost","name":"Stepgate"},"user":{"id":"YWxpY2U","name":"alice","displayName":"Alice Meyer"},"challenge":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","pubKeyCredParams":[{"type":"public-key","alg":-7}],"timeout":120000,"excludeCredentials":[],"authenticatorSelection":{"residentKey":"required","requireResidentKey":true,"userVerification":"required"},"attestation":"none"}"#.to_owned(),
            ceremony: "sample".to_owned(),
        },
        relying_party: "gate.example.com".to_owned(),
        suggested_name: "Firefox on Linux".to_owned(),
        back: "/account".to_owned(),
        said: None,
    }
}

fn enrol_token() -> EnrolTokenPage {
    EnrolTokenPage {
        frame: frame(),
        action: "/account/enrolments/x/hotp".to_owned(),
        tokens: vec!["Hardware token …1234".to_owned()],
        back: "/account".to_owned(),
        said: None,
    }
}

fn enrol_totp() -> EnrolTotpPage {
    let uri = format!("otpauth://totp/Stepgate:alice?secret={SECRET}&issuer=Stepgate");
    let svg = qrcode::QrCode::new(uri.as_bytes())
        .map(|code| code.render::<qrcode::render::svg::Color<'_>>().quiet_zone(true).build())
        .unwrap_or_default();
    EnrolTotpPage {
        frame: frame(),
        action: "/account/factors/totp".to_owned(),
        qr: QrCode::from_svg(svg),
        uri,
        account: "alice at Stepgate".to_owned(),
        secret_text: words::in_groups(SECRET, 4),
        back: "/account".to_owned(),
        said: None,
    }
}

fn enrol_address(step: AddressStep) -> EnrolAddressPage {
    let is_mail = matches!(step, AddressStep::Send(_));
    let (heading, worth) = if is_mail {
        (
            "Add your e-mail address",
            "Codes that are sent there prove that you read its mail. They are no second factor.",
        )
    } else {
        (
            "Add a phone number",
            "Codes can be sent there. Others can take a number over at the telephone company, so such a code is \
             worth less than a passkey or an authenticator app.",
        )
    };
    EnrolAddressPage {
        frame: frame(),
        heading: heading.to_owned(),
        worth: worth.to_owned(),
        action: "/account/factors/address".to_owned(),
        step,
        back: "/account".to_owned(),
        said: None,
    }
}

fn enrol_password() -> EnrolPasswordPage {
    EnrolPasswordPage {
        frame: frame(),
        heading: "Set a password".to_owned(),
        action: "/account/factors/password".to_owned(),
        username: "alice".to_owned(),
        minimum_length: 8,
        advice: "Long is what counts: several random words are good, and spaces are allowed. Digits and signs are not required.".to_owned(),
        back: "/account".to_owned(),
        said: Some(Said::bad("The two are not the same.", "Type it again.")),
    }
}

fn recovery_codes() -> RecoveryCodesPage {
    RecoveryCodesPage {
        frame: frame(),
        codes: (0..10).map(|index| format!("K7Q{index}-XM4R-9TZ{index}-W2HD")).collect(),
        action: "/account/enrolments/sample/recovery_code".to_owned(),
    }
}

fn outcome(name: &str) -> Option<Outcome> {
    let back = || Some("https://ledger.example.com/payments/42".to_owned());
    Some(match name {
        "enrolled" => Outcome::Enrolled,
        "signed-out" => Outcome::SignedOut { there: None },
        "signed-out-there" => Outcome::SignedOut { there: Some("https://id.example/logout".to_owned()) },
        "denied" => Outcome::Denied {
            operation: Some("Export all customer records".to_owned()),
            reasons: vec!["Only the finance group may export.".to_owned()],
        },
        "expired" => Outcome::Expired { again: back() },
        "foreign" => Outcome::ForeignChallenge,
        "went-on" => {
            Outcome::WentOn { operation: "Approve payment 42 of 12,000.00".to_owned(), answered: 200, back: back() }
        }
        "failed" => Outcome::Failed { why: "There were too many wrong answers".to_owned(), again: back() },
        "cancelled" => Outcome::Cancelled { back: back(), reported: Reported::No },
        "not-me-here" => Outcome::Cancelled { back: back(), reported: Reported::NotMeHere },
        "not-me" => Outcome::Cancelled { back: back(), reported: Reported::NotMe },
        "passed-elsewhere" => {
            Outcome::PassedElsewhere { operation: "Export all customer records of November".to_owned() }
        }
        "unavailable" => Outcome::Unavailable { retry_after_s: 10 },
        "unknown-outcome" => Outcome::Unknown {
            operation: "Approve payment 42 of 12,000.00".to_owned(),
            sent: ago(SignedDuration::from_mins(1)),
            service: back(),
        },
        "factor-locked" => Outcome::FactorLocked {
            factor: "Your authenticator app".to_owned(),
            until: later(SignedDuration::from_mins(15)),
            others: Some("/challenges/9f1c2a77e04b4f0f".to_owned()),
        },
        "ambiguous" => Outcome::Ambiguous { code: "path-dot-segment".to_owned() },
        "unknown-host" => Outcome::UnknownHost,
        "too-large" => Outcome::TooLarge { limit: 1024 * 1024 },
        "not-sent" => Outcome::NotSent { operation: "Approve payment 42 of 12,000.00".to_owned(), again: back() },
        "sending" => Outcome::Sending { operation: "Approve payment 42 of 12,000.00".to_owned(), back: back() },
        "dead-link" => Outcome::DeadLink,
        _ => return None,
    })
}
