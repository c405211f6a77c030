//! Security events of other systems: who is believed, and who is asked for them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use stepgate_core::flows::{Flows, Signals};
use stepgate_core::signals::Transmitter;
use stepgate_identity::http::{Http, Reach};
use stepgate_identity::keys::Keys;
use stepgate_identity::signals::{
    DefaultSubjects, Delivery, Poller, Subscriber, Subscription, TrustedTransmitter, TrustedTransmitters,
};
use stepgate_store::Database;
use tokio_util::sync::CancellationToken;

use super::error::StartError;
use crate::config::{MachinesSettings, TransmitterSettings};

/// For the URLs that the configuration names.
fn http(settings: &TransmitterSettings) -> Result<Http, StartError> {
    reaching(settings, if settings.danger_loopback { Reach::DangerLoopback } else { Reach::Network })
}

fn reaching(settings: &TransmitterSettings, reach: Reach) -> Result<Http, StartError> {
    Http::new(reach, None).map_err(|source| StartError::Transmitter { name: settings.name.clone(), source })
}

/// Receiving, if anybody is configured to tell something.
pub(super) fn receiving(
    settings: &MachinesSettings,
    flows: &Arc<Flows>,
    database: &Arc<Database>,
) -> Result<Option<Signals>, StartError> {
    if settings.transmitters.is_empty() {
        return Ok(None);
    }
    let mut trusted = Vec::new();
    for one in &settings.transmitters {
        trusted.push(TrustedTransmitter {
            transmitter: Transmitter {
                name: one.name.clone(),
                subject_issuers: one.subject_issuers.clone(),
                provider: one.provider.clone(),
                by_email: one.emails,
                by_external_id: one.external_ids,
                foreign: one.foreign,
                keep: one.keep,
            },
            issuer: one.issuer.clone(),
            audience: one.audience.clone(),
            keys: Keys::at(http(one)?, one.jwks_uri.clone()),
        });
    }
    Ok(Some(Signals {
        flows: Arc::clone(flows),
        store: Arc::clone(database) as _,
        accounts: Arc::clone(database) as _,
        transmitters: Arc::new(TrustedTransmitters::new(trusted)),
        arrivals: Arc::default(),
    }))
}

fn token(path: &Path) -> Result<SecretString, StartError> {
    let read = std::fs::read_to_string(path);
    let token = read.map_err(|source| StartError::PollToken { path: path.to_owned(), source })?;
    Ok(SecretString::from(token.trim().to_owned()))
}

/// Those that are polled, by name.
pub(crate) fn pollers(settings: &MachinesSettings) -> Result<Vec<(String, Poller)>, StartError> {
    let mut pollers = Vec::new();
    for one in &settings.transmitters {
        let Some((endpoint, file)) = &one.poll else { continue };
        pollers.push((one.name.clone(), Poller { http: http(one)?, endpoint: endpoint.clone(), token: token(file)? }));
    }
    Ok(pollers)
}

/// Those at which the gate sets up its stream, by name.
pub(crate) fn subscribers(settings: &MachinesSettings) -> Result<Vec<(String, Subscriber)>, StartError> {
    let mut subscribers = Vec::new();
    for one in &settings.transmitters {
        let Some(subscribe) = &one.subscribe else { continue };
        let delivery = match &subscribe.push_token {
            None => Delivery::Poll,
            Some(file) => {
                Delivery::Push { endpoint: format!("{}/signals/events", settings.origin), token: token(file)? }
            }
        };
        let subscriber = Subscriber {
            http: http(one)?,
            named: reaching(one, subscribe.reach)?,
            issuer: one.issuer.clone(),
            audience: one.audience.clone(),
            token: token(&subscribe.token)?,
            delivery,
        };
        subscribers.push((one.name.clone(), subscriber));
    }
    Ok(subscribers)
}

/// Asks a transmitter for events until the gate stops.
pub(super) async fn poll(signals: Signals, name: String, poller: Poller, stop: CancellationToken) {
    stepgate_machines::poll(signals, &name, &poller, stop).await;
}

/// How often it is looked whether the stream is still there.
const LOOK_EVERY: Duration = Duration::from_secs(5 * 60);
/// The pause after a failure, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long a verification event is waited for, and how often it is looked whether it came.
const VERIFIED_WITHIN: Duration = Duration::from_secs(60);
const VERIFIED_LOOKS: Duration = Duration::from_secs(1);

/// Keeps the gate's stream at a transmitter, and asks it for events if they are fetched, until the gate stops.
pub(super) async fn subscribe(signals: Signals, name: String, subscriber: Subscriber, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep_subscribed(&signals, &name, &subscriber) => {}
    }
}

async fn keep_subscribed(signals: &Signals, name: &str, subscriber: &Subscriber) {
    let (mut known, mut verified, mut pause) = (None::<Subscription>, false, PAUSES.0);
    loop {
        let wait = match subscriber.subscribe(known.as_ref()).await {
            Ok(found) => {
                if known.as_ref() != Some(&found) {
                    tracing::info!(transmitter = name, stream = found.stream, "subscribed to security events");
                    if found.default_subjects == DefaultSubjects::None {
                        tracing::warn!(transmitter = name, "this transmitter tells of nobody who is not added there");
                    }
                    (known, verified) = (Some(found), false);
                }
                pause = PAUSES.0;
                LOOK_EVERY
            }
            Err(why) => {
                tracing::warn!(transmitter = name, error = &why as &dyn std::error::Error, "not subscribed");
                let wait = pause;
                pause = pause.saturating_mul(2).min(PAUSES.1);
                wait
            }
        };
        // While the stream cannot be looked at, what is known of it is used on.
        let polling = async {
            match known.as_ref().and_then(|known| subscriber.poller(known)) {
                Some(poller) => {
                    stepgate_machines::poll(signals.clone(), name, &poller, CancellationToken::new()).await;
                }
                None => std::future::pending().await,
            }
        };
        let watching = async {
            if let (Some(known), false) = (&known, verified) {
                verified = is_verified(signals, name, subscriber, known).await;
            }
            tokio::time::sleep(wait).await;
        };
        tokio::select! {
            () = polling => {}
            () = watching => {}
        }
    }
}

/// Asks for a verification event, and waits for it. It comes as any other does, to whichever node.
async fn is_verified(signals: &Signals, name: &str, subscriber: &Subscriber, known: &Subscription) -> bool {
    let since = signals.flows.clock.now();
    if let Err(why) = subscriber.ask_to_verify(known, &signals.verification_state(name)).await {
        tracing::warn!(transmitter = name, error = &why as &dyn std::error::Error, "the stream cannot be verified");
        return false;
    }
    let coming = async {
        while !signals.is_verified(name, since).await.unwrap_or(false) {
            tokio::time::sleep(VERIFIED_LOOKS).await;
        }
    };
    let came = tokio::time::timeout(VERIFIED_WITHIN, coming).await.is_ok();
    match came {
        true => tracing::info!(transmitter = name, "the stream of security events works"),
        false => tracing::warn!(transmitter = name, "no verification event came: the stream may not work"),
    }
    came
}
