//! The routes of the gate's own origin.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use stepgate_core::flows::Flows;
use stepgate_core::web::Transport;
use tokio::sync::Semaphore;

use crate::handlers::{
    account, approver, approver_enrol, ask_devices, asset, challenge, enrolment, evidence, hand_off, link, logins,
    not_found, sign_in,
};

/// Exports of the evidence that are sent at once. Each reads the whole ledger.
const EXPORTS: usize = 2;

/// What every handler needs.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    pub(crate) flows: Arc<Flows>,
    pub(crate) transport: Transport,
    pub(crate) site: Arc<str>,
    pub(crate) origin: Arc<str>,
    /// The places for exports that are free.
    pub(crate) exports: Arc<Semaphore>,
}

impl Console {
    pub(crate) fn new(flows: Arc<Flows>, transport: Transport, site: &str) -> Self {
        let origin = flows.live.load().catalogue.gate_origin.as_str().into();
        Self { flows, transport, site: site.into(), origin, exports: Arc::new(Semaphore::new(EXPORTS)) }
    }

    /// The way to prove something: served without a decision.
    pub(crate) fn pages(self) -> Router {
        Router::new()
            .route("/sign-in", get(sign_in::show).post(sign_in::with_password))
            .route("/sign-in/passkey", get(sign_in::to_page).post(sign_in::with_passkey))
            .route("/sign-in/with/{provider}", get(sign_in::to_page).post(logins::leave))
            .route("/sign-in/back/{provider}", get(logins::back))
            .route("/sign-in/logout/{provider}", post(logins::logout))
            .route("/sign-out", get(sign_in::ask_to_sign_out).post(sign_in::sign_out))
            .route("/challenges/{id}", get(challenge::show).delete(challenge::delete))
            .route("/challenges/{id}/answers", get(challenge::to_page).post(challenge::answer))
            .route("/challenges/{id}/login", get(challenge::to_page).post(logins::prove))
            .route("/challenges/{id}/codes", get(challenge::to_page).post(challenge::send_code))
            .route("/challenges/{id}/cancel", get(challenge::to_page).post(challenge::cancel))
            .route("/challenges/{id}/push", get(challenge::to_page).post(ask_devices::ask))
            .route("/approver", get(approver::show))
            .route("/approver/answer", get(approver::to_page).post(approver::answer))
            .route("/approver/refuse", get(approver::to_page).post(approver::refuse))
            .route("/approver/subscription", get(approver::to_page).post(approver::subscribe))
            .route("/approver/enrol", get(approver_enrol::show).post(approver_enrol::did))
            .route("/approver/enrol/{link}", get(approver_enrol::look).post(approver_enrol::follow))
            .route("/approver/worker.js", get(approver::fixed))
            .route("/approver/manifest.webmanifest", get(approver::fixed))
            .route("/approver/icon-192.png", get(approver::fixed))
            .route("/approver/icon-512.png", get(approver::fixed))
            .route("/enrol/{token}", get(link::look).post(link::open))
            .route("/enrol/with/{ticket}", get(enrolment::choose))
            .route("/enrol/with/{ticket}/end", post(enrolment::end))
            .route("/enrol/with/{ticket}/{kind}", get(enrolment::begin).post(enrolment::finish))
            .route("/assets/{name}", get(asset))
            .fallback(not_found)
            .method_not_allowed_fallback(not_found)
            .with_state(self)
    }

    /// The way to services, one's own account and the evidence: every request was decided, and says so in its extensions.
    pub(crate) fn account(self) -> Router {
        Router::new()
            .route("/hand-off", get(hand_off::go))
            .route("/go-on/{challenge}", get(hand_off::go_on))
            .route("/account", get(account::show))
            .route("/account/activity", get(account::activity))
            .route("/evidence", get(evidence::search))
            .route("/evidence/export", post(evidence::export))
            .route("/account/factors", post(account::add_factor))
            .route("/account/approvals/unlock", post(account::unlock_approvals))
            .route("/account/factors/{id}/remove", post(account::remove_factor))
            .route("/account/devices/{id}/name", post(account::name_device))
            .route("/account/devices/{id}/forget", post(account::forget_device))
            .route("/account/sessions/end-others", post(account::end_others))
            .route("/account/sessions/{id}/end", post(account::end_session))
            .route("/account/enrolments/{ticket}", get(enrolment::choose))
            .route("/account/enrolments/{ticket}/end", post(enrolment::end))
            .route("/account/enrolments/{ticket}/{kind}", get(enrolment::begin).post(enrolment::finish))
            .fallback(not_found)
            .method_not_allowed_fallback(not_found)
            .with_state(self)
    }
}
