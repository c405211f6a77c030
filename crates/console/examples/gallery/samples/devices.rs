//! The sample pages of approver devices, and of who adds one.

use axum::response::Response;
use http::StatusCode;
use jiff::SignedDuration;
use stepgate_console::page::{ContentPolicy, respond};
use stepgate_console::views::{
    ApproverEnrolPage, ApproverInvitedPage, ApproverPage, DeviceQuestion, EnrolDevicePage, Input, LastQuestion, QrCode,
    Reason, Said, ServiceView,
};

use super::{ago, frame, later, passkey_call, stranger};

/// A few squares that look like a QR code from afar.
const QR: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 29 29"><rect width="29" height="29" fill="#fff"/><path d="M4 4h7v7H4zM18 4h7v7h-7zM4 18h7v7H4zM13 6h2v2h-2zM13 13h3v3h-3zM18 18h2v4h-2zM22 21h3v3h-3z" fill="#000"/></svg>"##;

pub(super) fn of(name: &str, policy: &ContentPolicy) -> Option<Response> {
    let ok = StatusCode::OK;
    let wrong = Some(Said::bad("That is not the number.", "4 tries left."));
    Some(match name {
        "approver" => respond(ok, policy, &approver(Some(question()), None)),
        "approver-wrong" => respond(StatusCode::UNPROCESSABLE_ENTITY, policy, &approver(Some(question()), wrong)),
        "approver-insufficient" => {
            let question = DeviceQuestion { suffices: false, passkey: None, ..question() };
            respond(ok, policy, &approver(Some(question), None))
        }
        "approver-idle" => respond(ok, policy, &approver(None, None)),
        "approver-approved" => {
            let said = Said::good("Approved.", "It goes on where it was asked.");
            respond(ok, policy, &approver(None, Some(said)))
        }
        "approver-invited" => {
            let (frame, person) = (stranger(), "Alice Meyer".to_owned());
            let action = "/approver/enrol/x".to_owned();
            respond(ok, policy, &ApproverInvitedPage { frame, person, host: "gate.example.com".to_owned(), action })
        }
        "approver-enrol" => respond(ok, policy, &enrol(None)),
        "approver-number" => respond(ok, policy, &enrol(Some("471 083".to_owned()))),
        "enrol-device" => respond(ok, policy, &add(Some(QrCode::from_svg(QR.to_owned())))),
        "enrol-device-followed" => respond(ok, policy, &add(None)),
        _ => return None,
    })
}

fn approver(question: Option<DeviceQuestion>, said: Option<Said>) -> ApproverPage {
    ApproverPage {
        frame: stranger(),
        person: "Alice Meyer".to_owned(),
        device: "My phone".to_owned(),
        last: question.is_none().then(last),
        question,
        watch: "/approver?showing=".to_owned(),
        web_push: Some("BCVxsr7N".to_owned()),
        said,
    }
}

fn last() -> LastQuestion {
    LastQuestion {
        id: "9f1c2a77e04b4f0f".to_owned(),
        service: ServiceView { name: "Ledger".to_owned(), host: "ledger.example.com".to_owned() },
        title: "Approve payment 42 of 12000".to_owned(),
        asked: ago(SignedDuration::from_mins(2)),
        became: "not asked here any more",
    }
}

fn question() -> DeviceQuestion {
    DeviceQuestion {
        id: "9f1c2a77e04b4f0f".to_owned(),
        service: ServiceView { name: "Ledger".to_owned(), host: "ledger.example.com".to_owned() },
        title: "Approve payment 42 of 12,000.00".to_owned(),
        inputs: vec![Input { label: "To".to_owned(), value: "Northwind Traders Ltd".to_owned() }],
        reasons: vec![Reason {
            text: "Payments over 10,000 need your approval.".to_owned(),
            policy: "large-payment".to_owned(),
        }],
        asker: "Signed in as you, in Firefox on Linux".to_owned(),
        since: Some("signed in 12 minutes ago, a browser not seen before".to_owned()),
        place: "from 192.0.2.44, office, Berlin, DE".to_owned(),
        asked: ago(SignedDuration::from_mins(1)),
        expires: later(SignedDuration::from_mins(9)),
        expires_in: "in 9 minutes".to_owned(),
        digits: 6,
        passkey: Some(passkey_call()),
        suffices: true,
        statement_digest: Some("d4735e3a 265e16ee e03f5971".to_owned()),
    }
}

fn enrol(number: Option<String>) -> ApproverEnrolPage {
    ApproverEnrolPage {
        frame: stranger(),
        person: "Alice Meyer".to_owned(),
        passkey: number.is_none().then(passkey_call),
        watch: None,
        number,
        said: None,
    }
}

fn add(qr: Option<QrCode>) -> EnrolDevicePage {
    EnrolDevicePage {
        frame: frame(),
        qr,
        url: "https://gate.example.com/approver/enrol/mA9x0Q".to_owned(),
        action: "/account/enrolments/x/push".to_owned(),
        back: "/account".to_owned(),
        said: None,
    }
}
