//! Devices are woken through their push services: from a queue, beside the requests that want it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use stepgate_core::flows::{Devices, Flows};
use stepgate_core::push::{NoWebPush, Wake, Wakes};
use stepgate_core::time::{Clock, Randomness, Timestamp};
use stepgate_factors::{FactorSet, VapidKeys, WakeUp};
use stepgate_identity::http::{Http, HttpError};
use stepgate_store::Database;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::error::StartError;
use super::slots::Slots;
use crate::config::Settings;

/// Wake-ups that wait in the queue, and as many that pause or are being posted; what is more is dropped, and the device's
/// page looks by itself.
const WAITING_MAX: usize = 256;
/// Wake-ups that wait, pause or are being posted to one host.
const WAITING_OF_ONE_MAX: usize = 128;
/// Wake-ups that are being posted at once.
const AT_ONCE: usize = 8;
/// Wake-ups that are being posted to one host at once.
const AT_ONCE_OF_ONE: usize = 4;
/// How often one is posted.
const TRIES_MAX: u32 = 4;
/// The pause after a failure at first, and the longest that a push service may ask for.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The longest answer of a push service that is read.
const ANSWER_MAX: usize = 16 * 1024;
/// How often the keys are read again: somebody may have rotated them.
const KEYS_EVERY: Duration = Duration::from_secs(60);

const TTL: HeaderName = HeaderName::from_static("ttl");
const URGENCY: HeaderName = HeaderName::from_static("urgency");
const TOPIC: HeaderName = HeaderName::from_static("topic");

/// What is shared by who wants devices woken and who wakes them.
struct Shared {
    keys: ArcSwapOption<VapidKeys>,
    contact: String,
    http: Http,
    slots: Arc<Slots>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Randomness>,
}

/// Puts wake-ups into the queue.
#[derive(Clone)]
struct Waker {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Wake>,
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker(..)")
    }
}

impl Wakes for Waker {
    fn key(&self) -> Option<String> {
        self.shared.keys.load().as_ref().map(|keys| keys.newest().to_owned())
    }

    fn allowed(&self, endpoint: &str) -> Result<(), String> {
        // The address may be a secret by itself: whoever knows it can wake the device.
        let url = Url::parse(endpoint).map_err(|_| "it is no address".to_owned())?;
        self.shared.http.reach().check(&url).map_err(|error| error.kind().to_owned())
    }

    fn wake(&self, wake: Wake) {
        if self.queue.try_send(wake).is_err() {
            tracing::warn!("too many devices wait to be woken; this one looks by itself");
        }
    }
}

/// The end of the queue.
pub struct WakeQueue {
    shared: Arc<Shared>,
    waiting: mpsc::Receiver<Wake>,
}

impl std::fmt::Debug for WakeQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WakeQueue(..)")
    }
}

/// What approving on devices needs, if it is offered, and what wakes them, if anything does.
pub(super) fn devices(
    settings: &Settings,
    factors: &FactorSet,
    database: &Arc<Database>,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Randomness>,
) -> Result<Option<(Devices, Option<WakeQueue>)>, StartError> {
    let Some(push) = &settings.push else { return Ok(None) };
    let (wakes, queue): (Arc<dyn Wakes>, _) = match &push.web_push {
        None => (Arc::new(NoWebPush), None),
        Some(web_push) => {
            let shared = Arc::new(Shared {
                keys: ArcSwapOption::empty(),
                contact: web_push.contact.clone(),
                http: Http::new(web_push.reach, None).map_err(StartError::PushServices)?,
                slots: Arc::new(Slots::new(AT_ONCE, AT_ONCE_OF_ONE, WAITING_OF_ONE_MAX)),
                clock: Arc::clone(clock),
                random: Arc::clone(random),
            });
            let (queue, waiting) = mpsc::channel(WAITING_MAX);
            (Arc::new(Waker { shared: Arc::clone(&shared), queue }), Some(WakeQueue { shared, waiting }))
        }
    };
    let store = Arc::clone(database) as _;
    Ok(Some((Devices { store, factor: factors.devices(), wakes, limits: push.limits }, queue)))
}

/// Takes the keys as they are in the store; the first is made if there is none.
pub(super) async fn take_keys(queue: &WakeQueue, database: &Database) -> Result<(), StartError> {
    queue.shared.take_keys(database).await
}

/// Wakes devices until the gate stops. What waits then is not woken.
pub(super) async fn run(queue: WakeQueue, flows: Arc<Flows>, database: Arc<Database>, stop: CancellationToken) {
    let WakeQueue { shared, mut waiting } = queue;
    let mut posting = JoinSet::new();
    let mut keys = tokio::time::interval(KEYS_EVERY);
    keys.tick().await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = keys.tick() => {
                if let Err(error) = shared.take_keys(&database).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "the keys that wake devices could not be read, those of before stay");
                }
            }
            Some(_) = posting.join_next() => {}
            Some(wake) = waiting.recv(), if posting.len() < WAITING_MAX => {
                let (shared, flows) = (Arc::clone(&shared), Arc::clone(&flows));
                posting.spawn(async move { shared.wake(&wake, &flows).await });
            }
        }
    }
}

/// What came of a try.
enum Tried {
    /// It is done, or will never be.
    Over,
    /// The subscription is gone.
    Gone,
    /// Again, after so long if the push service says so.
    Again(Option<Duration>, String),
}

impl Shared {
    async fn take_keys(&self, database: &Database) -> Result<(), StartError> {
        let keys = database.push_keys(VapidKeys::make).await?;
        let read = VapidKeys::new(keys.iter().map(|key| key.pkcs8.as_slice()), &self.contact);
        self.keys.store(Some(Arc::new(read.map_err(StartError::PushKey)?)));
        Ok(())
    }

    /// Wakes a device, if that is wanted still whenever it is tried.
    async fn wake(&self, wake: &Wake, flows: &Flows) {
        let host = host_of(&wake.subscription.endpoint);
        let Some(caller) = self.slots.enter(&host) else {
            tracing::warn!(host, "too many devices wait to be woken there; this one looks by itself");
            return;
        };
        let mut pause = PAUSES.0;
        for left in (0..TRIES_MAX).rev() {
            let tried = {
                // A place is held for the call alone.
                let Some(_slot) = caller.slot().await else { return };
                match flows.open_on_devices(wake.person, wake.challenge).await {
                    Ok(Some(until)) => self.try_once(wake, &host, until).await,
                    // Answered, withdrawn or over.
                    Ok(None) => return,
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "whether a device is still to be woken could not be read");
                        return;
                    }
                }
            };
            match tried {
                Tried::Over => return,
                Tried::Gone => {
                    let forgotten = flows.unsubscribe_device(wake.person, wake.device, &wake.subscription, "gone");
                    if let Err(error) = forgotten.await {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "a dead subscription could not be dropped");
                    }
                    return;
                }
                Tried::Again(after, why) => {
                    tracing::warn!(host, why, device = %wake.device, "a device was not woken");
                    if left == 0 {
                        return;
                    }
                    tokio::time::sleep(after.unwrap_or(pause).clamp(PAUSES.0, PAUSES.1)).await;
                    pause = pause.saturating_mul(4);
                }
            }
        }
    }

    async fn try_once(&self, wake: &Wake, host: &str, until: Timestamp) -> Tried {
        let Some(keys) = self.keys.load_full() else { return Tried::Over };
        let now = self.clock.now();
        let Some(left) = until.min(wake.until).since(now).filter(|left| !left.is_zero()) else { return Tried::Over };
        let Some(up) = WakeUp::new(&wake.subscription, &keys, now, self.random.as_ref()) else { return Tried::Gone };
        let Ok(mut authorization) = HeaderValue::from_str(&up.authorization) else { return Tried::Over };
        authorization.set_sensitive(true);
        // A later message about the same challenge replaces one that waits.
        let Ok(topic) = HeaderValue::from_str(&wake.challenge.to_string()) else { return Tried::Over };
        let call = self
            .http
            .post(&up.endpoint)
            .body(HeaderValue::from_static("application/octet-stream"), Bytes::from(up.body))
            .header(header::CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"))
            .header(header::AUTHORIZATION, authorization)
            .header(TTL, HeaderValue::from(left.as_secs()))
            .header(URGENCY, HeaderValue::from_static("high"))
            .header(TOPIC, topic)
            .at_most(ANSWER_MAX);
        match call.send().await {
            Ok(answer) => match answer.status {
                StatusCode::NOT_FOUND | StatusCode::GONE => Tried::Gone,
                status if status.is_success() => Tried::Over,
                status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                    Tried::Again(answer.retry_after(now), format!("it answered {}", status.as_u16()))
                }
                status => {
                    tracing::warn!(host, %status, device = %wake.device, "a push service refused a wake-up");
                    Tried::Over
                }
            },
            // Its name leads elsewhere by now, or it leads on elsewhere: nobody follows.
            Err(error @ (HttpError::NotAllowed(_) | HttpError::Redirect { .. } | HttpError::TooLarge { .. })) => {
                tracing::warn!(host, why = error.kind(), device = %wake.device, "a push service was not called");
                Tried::Over
            }
            Err(error) => Tried::Again(None, error.kind().to_owned()),
        }
    }
}

/// The host of an address, for logs and shares: nothing more of it is anybody's to know.
fn host_of(endpoint: &str) -> String {
    let url = Url::parse(endpoint).ok();
    url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}
