//! What happens seldom, beside what happens with every request.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// A future that is asked only when it was woken itself.
///
/// A task that waits for several things asks all of them whenever one has come. A
/// connection's is woken several times for each request, and each time timer and
/// tokens would be asked, which have nothing to say for minutes.
pub(super) struct Seldom<F> {
    future: F,
    bell: Arc<Bell>,
    waker: Waker,
}

struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F: Future + Unpin> Seldom<F> {
    /// It is asked the first time as any other.
    pub(super) fn new(future: F) -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { future, waker: Waker::from(Arc::clone(&bell)), bell }
    }
}

impl<F: Future + Unpin> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        // Before looking whether it rang, so that a ring in between wakes the task again.
        this.bell.task.register(cx.waker());
        if !this.bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn it_is_asked_when_it_was_woken_and_not_otherwise() {
        let (asked, event) = (AtomicUsize::new(0), Notify::new());
        let mut waiting = Box::pin(event.notified());
        let counted = std::future::poll_fn(|cx| {
            asked.fetch_add(1, Ordering::Relaxed);
            waiting.as_mut().poll(cx)
        });
        let mut seldom = Seldom::new(counted);
        let mut poll = async || std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut seldom).poll(cx))).await;
        for _ in 0..5 {
            assert!(poll().await.is_pending());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        event.notify_waiters();
        assert!(poll().await.is_ready());
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_ring_is_lost() {
        for round in 0..300_u64 {
            let event = Arc::new(Notify::new());
            let ringing = Arc::clone(&event);
            let ring = tokio::spawn(async move {
                for _ in 0..round % 7 {
                    tokio::task::yield_now().await;
                }
                ringing.notify_one();
            });
            let mut other = tokio::time::interval(Duration::from_micros(50));
            let mut seldom = Seldom::new(Box::pin(event.notified()));
            let end = tokio::time::timeout(Duration::from_secs(20), async {
                loop {
                    tokio::select! {
                        biased;
                        () = &mut seldom => return,
                        _ = other.tick(), if round % 2 == 0 => {}
                    }
                }
            });
            end.await.expect("it was woken");
            ring.await.unwrap();
        }
    }
}
