//! Forwarding: built from the permit, with who asks.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Response};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use stepgate_core::catalogue::Site;
use stepgate_core::challenge::SendOutcome;
use stepgate_core::decide::Permitted;
use stepgate_core::flows::Confirmed;
use stepgate_core::id::RequestId;
use stepgate_core::person::Principal;
use stepgate_core::session::Audience;
use stepgate_core::surroundings::Surroundings;
use stepgate_core::web::{self, Permit};

use super::asker::{Known, Reader, asker};
use super::assertion::{About, AssertionMode, Passed};
use super::operation::Payload;
use super::{Inner, REQUEST_ID, ServiceUpstream, answers, script, streams};
use crate::body::Body;
use crate::canonical::CanonicalRequest;
use crate::server::ClientUpgrade;
use crate::upstream::{Answer, ForwardError, Outbound};

const PRINCIPAL: HeaderName = HeaderName::from_static("stepgate-principal");
const EMAIL: HeaderName = HeaderName::from_static("stepgate-email");
const GROUPS: HeaderName = HeaderName::from_static("stepgate-groups");
const ASSERTION: HeaderName = HeaderName::from_static("stepgate-assertion");

/// What could be taken for a separator or for the end of a header.
const UNSAFE: &AsciiSet = &CONTROLS.add(b',').add(b'%').add(b'"').add(b';').add(b' ');

/// A request that may go, with all that goes with it.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) request: Box<CanonicalRequest>,
    pub(super) payload: Payload,
    pub(super) upgrade: Option<ClientUpgrade>,
    pub(super) id: RequestId,
    pub(super) site: Arc<Site>,
    pub(super) reader: Reader,
    pub(super) known: Option<Known>,
    pub(super) surroundings: Surroundings,
    pub(super) passed: Option<Passed>,
}

/// What the upstream answered, and what is known of the request's fate.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) response: Response<Body>,
    pub(super) outcome: SendOutcome,
}

impl Inner {
    /// Sends a permitted request, once. The permit is used up.
    pub(super) async fn forward(self: &Arc<Self>, sending: Sending, permitted: Permitted) -> Forwarded {
        self.learn(&sending, &permitted);
        if sending.site.audience == Audience::Gate {
            return self.forward_to_account(sending, permitted).await;
        }
        let upstreams = self.upstreams.load();
        let Some(service) = upstreams.get(&sending.site.service.name).map(Arc::clone) else {
            tracing::error!(service = %sending.site.service.name, "a service has no upstream");
            return Forwarded { response: answers::unavailable(sending.reader), outcome: SendOutcome::NotSent };
        };
        drop(upstreams);
        self.forward_to(&service, sending, permitted).await
    }

    /// What goes through teaches what is usual, before it is sent: of two at once the second sees the first.
    fn learn(&self, sending: &Sending, permitted: &Permitted) {
        let confirmed = if sending.passed.is_some() { Confirmed::Yes } else { Confirmed::No };
        let by = asker(sending.known.as_ref());
        if let Some(went) = self.flows.to_learn(permitted.operation(), by, &sending.surroundings, confirmed) {
            self.flows.learn(went);
        }
    }

    async fn forward_to(
        self: &Arc<Self>,
        service: &ServiceUpstream,
        sending: Sending,
        permitted: Permitted,
    ) -> Forwarded {
        let Sending { request, payload, upgrade, id, site, reader, known, surroundings, passed } = sending;
        let mut nonce = [0; 16];
        if upgrade.is_some() {
            self.flows.random.fill(&mut nonce);
        }
        let certificate = request.certificate().cloned();
        let mut outbound = Outbound::new(request, payload.into_body(self.limits.stream), nonce);
        if let Some(rules) = &site.service.tokens {
            outbound.take_away_token(rules.accepted().forwarded);
        }
        let about = known.as_ref().map(|known| About {
            site: &site,
            known,
            request: id,
            now: surroundings.now,
            passed: passed.as_ref(),
        });
        self.identify(&mut outbound, service, id, about.as_ref());
        if service.inject_script.wants(reader) {
            outbound.accept_plain();
        }
        let answer = match service.upstream.send(outbound).await {
            Ok(answer) => answer,
            Err(error) => return failed(&error, reader, passed.as_ref()),
        };
        let watched = streams::Watched {
            operation: permitted.into_operation(),
            known,
            surroundings,
            confirmed: passed.map(|passed| passed.proofs).unwrap_or_default(),
            certificate,
        };
        match (answer, upgrade) {
            (Answer::Response(response), _) => {
                let outcome = SendOutcome::Answered { status: response.status().as_u16() };
                let response = script::inject(response, service.inject_script, reader);
                Forwarded { response: self.watch_stream(response, watched, reader), outcome }
            }
            (Answer::Switched(switched), Some(client)) => {
                let outcome = SendOutcome::Answered { status: switched.status().as_u16() };
                Forwarded { response: self.watch_tunnel(switched, client, watched, reader), outcome }
            }
            (Answer::Switched(_), None) => failed(&ForwardError::Response, reader, None),
        }
    }

    /// Whoever sent such headers, these are ours: the client's were taken away
    /// when the request was read.
    fn identify(&self, outbound: &mut Outbound, service: &ServiceUpstream, id: RequestId, about: Option<&About<'_>>) {
        let mut set = |name: HeaderName, value: &[u8]| {
            let Ok(value) = HeaderValue::from_bytes(value) else { return };
            if let Err(error) = outbound.set_own(name, value) {
                tracing::error!(%error, "an identity header was not set");
            }
        };
        set(REQUEST_ID, &id.digits());
        let Some(about) = about else { return };
        let Some(who) = about.known.asker().principal() else { return };
        match who {
            Principal::Person(person) => {
                set(PRINCIPAL, &person.id.digits());
                if !person.email.is_empty() {
                    set(EMAIL, safe(&person.email).as_bytes());
                }
            }
            Principal::Agent(_) => set(PRINCIPAL, safe(&who.id()).as_bytes()),
        }
        set(GROUPS, groups(who.groups()).as_bytes());
        let wanted = match service.assertion {
            AssertionMode::Always => true,
            AssertionMode::SteppedUp => about.passed.is_some(),
            AssertionMode::Never => false,
        };
        if wanted && let Some(assertion) = self.signer.load().sign(about) {
            set(ASSERTION, assertion.as_bytes());
        }
    }

    /// The gate's own decided pages are in this process: there is nothing to lose
    /// on the way.
    async fn forward_to_account(self: &Arc<Self>, sending: Sending, permitted: Permitted) -> Forwarded {
        let Sending { request, payload, id, reader, known, surroundings, passed, .. } = sending;
        let not_sent = |response| Forwarded { response, outcome: SendOutcome::NotSent };
        let Some(Known::Session(signed)) = known else {
            // A policy that admits anonymous people to their account is a mistake.
            let away = answers::AwayFromDenied { has_start: false, account: None };
            return not_sent(answers::forbidden(reader, &[], away));
        };
        let body = match payload.whole(self.limits.page_body).await {
            Ok(body) => body,
            Err(error) => return not_sent(answers::body(reader, &error)),
        };
        let mut local = local_request(&request, body, id);
        local.extensions_mut().insert(Permit {
            session: Arc::clone(&signed.view),
            token: signed.token,
            challenge: passed.as_ref().map(|passed| passed.challenge),
        });
        let response = self.account.call(local).await.map(Body::local);
        let outcome = SendOutcome::Answered { status: response.status().as_u16() };
        let watched = streams::Watched {
            operation: permitted.into_operation(),
            known: Some(Known::Session(signed)),
            surroundings,
            confirmed: passed.map(|passed| passed.proofs).unwrap_or_default(),
            certificate: None,
        };
        Forwarded { response: self.watch_local(response, watched), outcome }
    }
}

/// A request for the pages in this process, with all its cookies.
pub(super) fn local_request(
    request: &CanonicalRequest,
    body: bytes::Bytes,
    id: RequestId,
) -> http::Request<bytes::Bytes> {
    let mut local = http::Request::new(body);
    *local.method_mut() = request.method().clone();
    *local.uri_mut() = http::Uri::from(request.target().clone());
    *local.headers_mut() = request.headers().clone();
    if let Ok(host) = HeaderValue::try_from(request.host().to_string()) {
        local.headers_mut().insert(http::header::HOST, host);
    }
    let posture = request.posture();
    let client = web::Client { address: request.client().address(), request_id: id.to_string(), posture };
    local.extensions_mut().insert(client);
    local
}

fn failed(error: &ForwardError, reader: Reader, passed: Option<&Passed>) -> Forwarded {
    let outcome = if error.nothing_sent() { SendOutcome::NotSent } else { SendOutcome::Unknown };
    match error {
        // Anybody can break off their own request; that is no news of the upstream.
        ForwardError::RequestBody(..) => {
            tracing::debug!(error = error as &dyn std::error::Error, "a client broke off its request");
        }
        _ => tracing::warn!(error = error as &dyn std::error::Error, "an upstream did not answer"),
    }
    Forwarded { response: answers::upstream(reader, error, passed.is_some()), outcome }
}

/// In a form in which nothing of it is taken for a separator or the end.
fn safe(text: &str) -> Cow<'_, str> {
    // Most names are plain, and the encoder looks at one character after the other.
    let plain = |b: &u8| matches!(b, b'!'..=b'~') && !matches!(b, b',' | b'%' | b'"' | b';');
    match text.as_bytes().iter().all(plain) {
        true => Cow::Borrowed(text),
        false => utf8_percent_encode(text, UNSAFE).into(),
    }
}

fn groups(groups: &[String]) -> String {
    let mut joined = String::new();
    for (at, group) in groups.iter().enumerate() {
        if at > 0 {
            joined.push(',');
        }
        joined.push_str(&safe(group));
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_is_what_the_encoder_leaves_alone() {
        for c in (0..=0x250).filter_map(char::from_u32) {
            let text = format!("a{c}b");
            assert_eq!(safe(&text), utf8_percent_encode(&text, UNSAFE).to_string(), "U+{:04X}", u32::from(c));
        }
        assert_eq!(groups(&["a b".to_owned(), "c,d".to_owned(), "e".to_owned()]), "a%20b,c%2Cd,e");
        assert_eq!(groups(&[]), "");
    }
}
