//! An enrolment in progress: `/enrol/with/{ticket}` after a link, and
//! `/account/enrolments/{ticket}` after a decided request. Both look the same; the
//! ticket says what may be enrolled, and is worthless in another browser.

use axum::extract::{Path, RawQuery};
use axum::response::{IntoResponse as _, Redirect, Response};
use bytes::Bytes;
use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::factor::{EnrolmentAnswer, EnrolmentOffer, FactorKind, NotEnrolled};
use stepgate_core::flows::{EnrolError, TicketView};
use stepgate_core::secret::Token;
use stepgate_core::web::gate_path;

use crate::device;
use crate::failure::{Failure, no_store, say};
use crate::http::Fields;
use crate::outcomes::Outcome;
use crate::views::{
    AddressStep, EnrolAddressPage, EnrolDevicePage, EnrolPage, EnrolPasskeyPage, EnrolPasswordPage, EnrolTokenPage,
    EnrolTotpPage, FactorChoice, Frame, PasskeyCall, QrCode, RecoveryCodesPage, Said,
};
use crate::visit::Visit;
use crate::words;

/// Shorter passwords are not even sent; the factor's own rules are stricter where
/// the password stands alone.
const PASSWORD_MIN: usize = 8;

/// One step of an enrolment: its ticket, where it lives, and what it may enrol.
struct Enrolment {
    ticket: Token,
    base: String,
    view: TicketView,
}

impl Enrolment {
    /// Whether the person has something to sign in with: a code or a recovery code is not enough.
    fn can_sign_in(&self) -> bool {
        self.view
            .enrolled
            .iter()
            .any(|one| matches!(one.kind(), FactorKind::Passkey(_) | FactorKind::Password | FactorKind::Idp(_)))
    }

    async fn read(visit: &Visit, ticket: &str) -> Result<Self, Failure> {
        let ticket = Token::parse(ticket).ok_or(Outcome::DeadLink)?;
        let view = visit.console.flows.enrolment(&ticket, &visit.browser).await?;
        // What a decided request gave is worth nothing without its session: not to a thief of the
        // ticket, and not once the session is gone.
        if !view.is_for(visit.permit.as_ref().map(|permit| permit.session.as_ref())) {
            return Err(Outcome::DeadLink.into());
        }
        let base = match &visit.permit {
            None => format!("{}/with/{}", gate_path::ENROL, ticket.expose()),
            Some(_) => format!("{}/enrolments/{}", gate_path::ACCOUNT, ticket.expose()),
        };
        Ok(Self { ticket, base, view })
    }

    /// The way back from a page of it.
    fn back(&self, visit: &Visit) -> String {
        if visit.permit.is_some() { gate_path::ACCOUNT.to_owned() } else { self.base.clone() }
    }

    fn kind(&self, kind: &str) -> Result<FactorKind, Failure> {
        let kind = kind.parse::<FactorKind>().map_err(|_| Outcome::NotFound)?;
        if self.view.kinds.contains(&kind) { Ok(kind) } else { Err(Outcome::NotFound.into()) }
    }
}

/// `GET {base}`: what to enrol.
pub(crate) async fn choose(visit: Visit, Path(ticket): Path<String>) -> Response {
    let result = async {
        let enrolment = Enrolment::read(&visit, &ticket).await?;
        match enrolment.view.kinds.as_slice() {
            [only] if enrolment.view.enrolled.iter().all(|one| one.kind() != *only) || visit.permit.is_some() => {
                let to = format!("{}/{only}", enrolment.base);
                Ok(no_store(Redirect::to(&to).into_response()))
            }
            _ => Ok::<_, Failure>(chooser(&visit, &enrolment, None)),
        }
    };
    visit.finish(result.await)
}

fn chooser(visit: &Visit, enrolment: &Enrolment, said: Option<Said>) -> Response {
    let has = |kind: FactorKind| enrolment.view.enrolled.iter().any(|one| one.kind().is_same_factor(kind));
    let choice = |kind: &FactorKind| {
        let (name, text) = match kind {
            FactorKind::Passkey(_) => (
                "A passkey",
                "Your fingerprint, face or PIN on this device, or a security key. Nothing to remember, nothing to give away.",
            ),
            FactorKind::Totp => ("An authenticator app", "Six digits from an app on your phone, beside a password."),
            FactorKind::Password => ("A password", "Works everywhere. Take a long one."),
            FactorKind::RecoveryCode => ("Recovery codes", "Ten codes on paper, for the day when all else is lost."),
            FactorKind::EmailCode => {
                ("An e-mail address", "Codes are sent there. They prove the address, and nothing more.")
            }
            FactorKind::PhoneCode(_) => {
                ("A phone number", "Codes are sent there. Others can take a number over, so it is worth less.")
            }
            FactorKind::Push(_) => {
                ("An approver device", "Your phone, or another browser: you approve there what is asked for here.")
            }
            // Nobody enrols these here: they come with the first login there, or from an administrator.
            FactorKind::Idp(_) => ("A company login", "Comes with your first login there."),
            FactorKind::Hotp => {
                ("A hardware token", "The one that you were handed: it shows a code when you press it.")
            }
            FactorKind::Certificate => ("A smart card", "Your administrator hands it out."),
        };
        FactorChoice {
            name: name.to_owned(),
            text: text.to_owned(),
            href: format!("{}/{kind}", enrolment.base),
            is_recommended: *kind == FactorKind::PASSKEY && !has(FactorKind::PASSKEY),
        }
    };
    // Passkeys and apps may be several; a password and recovery codes are there once.
    let is_open = |kind: &&FactorKind| {
        matches!(kind, FactorKind::Passkey(_) | FactorKind::Totp | FactorKind::PhoneCode(_)) || !has(**kind)
    };
    let view = EnrolPage {
        frame: visit.frame(),
        enrolled: enrolment.view.enrolled.iter().map(|one| one.name.clone()).collect(),
        choices: enrolment.view.kinds.iter().filter(is_open).map(choice).collect(),
        can_sign_in: enrolment.can_sign_in(),
        end_action: format!("{}/end", enrolment.base),
        said,
    };
    visit.page(StatusCode::OK, &view)
}

/// `GET {base}/{kind}`: begins to enrol one.
pub(crate) async fn begin(
    visit: Visit,
    Path((ticket, kind)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let result = async {
        let enrolment = Enrolment::read(&visit, &ticket).await?;
        let kind = enrolment.kind(&kind)?;
        // Another device may be at it: to look again takes nothing from it.
        if matches!(kind, FactorKind::Push(_))
            && query.as_deref() != Some("again")
            && let Some(same) = visit.console.flows.offer_again(&enrolment.view, kind)
        {
            return Ok(offered(&visit, &enrolment, kind, same, StatusCode::OK, None));
        }
        offer(&visit, &enrolment, kind, StatusCode::OK, None).await
    };
    visit.finish(result.await)
}

async fn offer(
    visit: &Visit,
    enrolment: &Enrolment,
    kind: FactorKind,
    status: StatusCode,
    said: Option<Said>,
) -> Result<Response, Failure> {
    if kind == FactorKind::Hotp {
        return token_page(visit, enrolment, status, said).await;
    }
    let offer = match visit.console.flows.begin_enrolment(&enrolment.view, kind).await {
        Ok(offer) => offer,
        Err(EnrolError::Refused(NotEnrolled::Refused(why))) => {
            return Ok(chooser(visit, enrolment, Some(Said::bad("This cannot be added.", why))));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(offered(visit, enrolment, kind, offer, status, said))
}

/// What a token is activated with. Nothing is begun for it: its seed was imported.
async fn token_page(
    visit: &Visit,
    enrolment: &Enrolment,
    status: StatusCode,
    said: Option<Said>,
) -> Result<Response, Failure> {
    let waiting = visit.console.flows.assigned_tokens(&enrolment.view.person).await?;
    if waiting.is_empty() {
        let said = Said::bad("There is no token for you.", "Your administrator has to hand one out to you first.");
        return Ok(chooser(visit, enrolment, Some(said)));
    }
    let view = EnrolTokenPage {
        frame: visit.frame(),
        action: format!("{}/{}", enrolment.base, FactorKind::Hotp),
        tokens: waiting.iter().map(|one| one.name.clone()).collect(),
        back: enrolment.back(visit),
        said,
    };
    Ok(visit.page(status, &view))
}

/// The page of what is offered.
fn offered(
    visit: &Visit,
    enrolment: &Enrolment,
    kind: FactorKind,
    offer: EnrolmentOffer,
    status: StatusCode,
    said: Option<Said>,
) -> Response {
    let action = format!("{}/{kind}", enrolment.base);
    let back = enrolment.back(visit);
    let frame = visit.frame();
    let person = &enrolment.view.person;
    match offer {
        EnrolmentOffer::Passkey { options } => {
            let view = EnrolPasskeyPage {
                frame,
                action,
                passkey: PasskeyCall { action: String::new(), options: options.to_string(), ceremony: String::new() },
                relying_party: visit.console.flows.live.load().catalogue.gate_host.to_string(),
                suggested_name: device::in_words(&visit.surroundings.agent),
                back,
                said,
            };
            visit.page(status, &view)
        }
        EnrolmentOffer::Totp { uri, secret_base32, qr_svg } => {
            let view = EnrolTotpPage {
                frame,
                action,
                qr: QrCode::from_svg(qr_svg.expose_secret().to_owned()),
                uri: uri.expose_secret().to_owned(),
                account: person.login.to_string(),
                secret_text: words::in_groups(secret_base32.expose_secret(), 4),
                back,
                said,
            };
            visit.page(status, &view)
        }
        EnrolmentOffer::Password => {
            let has = enrolment.view.enrolled.iter().any(|one| one.kind() == FactorKind::Password);
            let view = EnrolPasswordPage {
                frame,
                heading: if has { "Change your password" } else { "Set a password" }.to_owned(),
                action,
                username: person.login.to_string(),
                minimum_length: PASSWORD_MIN,
                advice: "Long is what counts: several random words are good, and spaces are allowed. \
                         Digits and signs are not required. At least 15 characters where the password \
                         is your only way in, 8 beside another one."
                    .to_owned(),
                back,
                said,
            };
            visit.page(status, &view)
        }
        EnrolmentOffer::Device { invitation } => {
            let url = invitation.as_ref().map(|invitation| invitation.url.expose_secret().to_owned());
            let view = EnrolDevicePage {
                frame,
                qr: invitation.map(|invitation| QrCode::from_svg(invitation.qr_svg.expose_secret().to_owned())),
                url: url.unwrap_or_default(),
                action,
                back,
                said,
            };
            visit.page(status, &view)
        }
        EnrolmentOffer::Address { known } => {
            let step = match known {
                Some(to) => AddressStep::Send(to.masked()),
                None => AddressStep::Type("With its country: +41 79 123 45 67.".to_owned()),
            };
            visit.page(status, &address_page(frame, kind, action, step, back, said))
        }
        EnrolmentOffer::SentCode { to } => {
            let step = AddressStep::Code(to.masked());
            visit.page(status, &address_page(frame, kind, action, step, back, said))
        }
        EnrolmentOffer::RecoveryCodes { codes } => {
            let codes = codes.iter().map(|code| code.expose_secret().to_owned()).collect();
            visit.page(status, &RecoveryCodesPage { frame, codes, action })
        }
    }
}

fn address_page(
    frame: Frame,
    kind: FactorKind,
    action: String,
    step: AddressStep,
    back: String,
    said: Option<Said>,
) -> EnrolAddressPage {
    let (heading, worth) = match kind {
        FactorKind::EmailCode => (
            "Add your e-mail address",
            "Codes that are sent there prove that you read its mail. They are no second factor.",
        ),
        _ => (
            "Add a phone number",
            "Codes can be sent there. Others can take a number over at the telephone company, so such a code is \
             worth less than a passkey or an authenticator app.",
        ),
    };
    EnrolAddressPage { frame, heading: heading.to_owned(), worth: worth.to_owned(), action, step, back, said }
}

/// `POST {base}/{kind}`: finishes what was begun.
pub(crate) async fn finish(visit: Visit, Path((ticket, kind)): Path<(String, String)>, body: Bytes) -> Response {
    let result = async {
        let mut fields = visit.fields(&body)?;
        let enrolment = Enrolment::read(&visit, &ticket).await?;
        let kind = enrolment.kind(&kind)?;
        complete(&visit, &enrolment, kind, &mut fields).await
    };
    visit.finish(result.await)
}

async fn complete(
    visit: &Visit,
    enrolment: &Enrolment,
    kind: FactorKind,
    fields: &mut Fields,
) -> Result<Response, Failure> {
    let unfit = StatusCode::UNPROCESSABLE_ENTITY;
    let flows = &visit.console.flows;
    let is_sent = matches!(kind, FactorKind::EmailCode | FactorKind::PhoneCode(_));
    if is_sent && fields.text("step") == "send" {
        return match flows.send_enrolment_code(&enrolment.view, kind, fields.text("destination")).await {
            Ok(asked) => Ok(offered(visit, enrolment, kind, asked, StatusCode::OK, None)),
            Err(EnrolError::Refused(NotEnrolled::Refused(why))) => {
                offer(visit, enrolment, kind, unfit, Some(Said::bad("No code was sent.", why))).await
            }
            Err(error) => Err(error.into()),
        };
    }
    let answer = match read_answer(kind, fields) {
        Ok(answer) => answer,
        Err(said) => return offer(visit, enrolment, kind, unfit, Some(said)).await,
    };
    // The password's form names the account for password managers; that is no name of the password.
    let name = if kind == FactorKind::Password { "" } else { fields.text("name") };
    let finished = match answer {
        EnrolmentAnswer::Text(code) if kind.is_typed_from_elsewhere() => {
            flows.finish_with_code(&enrolment.view, kind, name, code, visit.trier()).await
        }
        EnrolmentAnswer::Text(code) if kind == FactorKind::Hotp => {
            flows.activate_token(&enrolment.view, name, code, visit.trier()).await
        }
        answer => flows.finish_enrolment(&enrolment.view, kind, name, &answer).await,
    };
    match finished {
        Ok(_) if enrolment.view.is_single() => Ok(over(visit)),
        Ok(_) => Ok(no_store(Redirect::to(&enrolment.base).into_response())),
        Err(EnrolError::Refused(NotEnrolled::Refused(why))) => {
            again(visit, enrolment, kind, Said::bad("That does not fit.", why)).await
        }
        Err(EnrolError::Refused(early @ NotEnrolled::TooEarly)) => {
            again(visit, enrolment, kind, Said::bad("Not yet.", early.to_string())).await
        }
        Err(EnrolError::Refused(NotEnrolled::Fault(fault))) => {
            tracing::error!(factor = %kind, fault, "a factor could not be enrolled");
            Err(Failure::Fault("a factor could not be enrolled"))
        }
        Err(EnrolError::Taken) => {
            let said = Said::bad("This passkey is enrolled already.", "Use another device or key.");
            offer(visit, enrolment, kind, unfit, Some(said)).await
        }
        Err(error) => Err(error.into()),
    }
}

/// The same once more, with what was not right. What a person has already scanned
/// stays as it is, where the factor can show it again.
async fn again(visit: &Visit, enrolment: &Enrolment, kind: FactorKind, said: Said) -> Result<Response, Failure> {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    match visit.console.flows.offer_again(&enrolment.view, kind) {
        Some(same) => Ok(offered(visit, enrolment, kind, same, status, Some(said))),
        None => offer(visit, enrolment, kind, status, Some(said)).await,
    }
}

fn read_answer(kind: FactorKind, fields: &mut Fields) -> Result<EnrolmentAnswer, Said> {
    match kind {
        FactorKind::Passkey(_) => match serde_json::from_str(fields.text("credential")) {
            Ok(credential) => Ok(EnrolmentAnswer::Passkey(credential)),
            Err(_) => Err(Said::bad("No passkey was made.", "The browser has to allow scripts on this page for it.")),
        },
        FactorKind::Password => {
            let (password, again) = (fields.take_secret("password"), fields.take_secret("again"));
            if password.expose_secret() == again.expose_secret() {
                Ok(EnrolmentAnswer::Text(password))
            } else {
                Err(Said::bad("The two are not the same.", "Type it once more."))
            }
        }
        // Apps, mails and devices show codes in groups: the spaces between them are for reading.
        FactorKind::Totp
        | FactorKind::Hotp
        | FactorKind::Push(_)
        | FactorKind::PhoneCode(_)
        | FactorKind::EmailCode => {
            let typed = fields.take_secret("code");
            Ok(EnrolmentAnswer::Text(SecretString::from(typed.expose_secret().replace(' ', ""))))
        }
        FactorKind::RecoveryCode | FactorKind::Idp(_) | FactorKind::Certificate => {
            Ok(EnrolmentAnswer::Text(SecretString::default()))
        }
    }
}

/// `POST {base}/end`: nothing more is enrolled with this ticket.
pub(crate) async fn end(visit: Visit, Path(ticket): Path<String>, body: Bytes) -> Response {
    let result = async {
        visit.fields(&body)?;
        let enrolment = Enrolment::read(&visit, &ticket).await?;
        if !enrolment.can_sign_in() {
            let said = Said::bad("Not yet.", "Add a passkey or a password: that is what you sign in with.");
            return Ok(chooser(&visit, &enrolment, Some(said)));
        }
        visit.console.flows.end_enrolment(&enrolment.ticket).await?;
        Ok(over(&visit))
    };
    visit.finish(result.await)
}

/// The enrolment has ended.
fn over(visit: &Visit) -> Response {
    match visit.permit {
        Some(_) => no_store(Redirect::to(gate_path::ACCOUNT).into_response()),
        None => say(visit, Outcome::Enrolled),
    }
}
