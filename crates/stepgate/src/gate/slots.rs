//! Who may call others at this moment: so many at once, and a share of that for each host, so that a host that is slow
//! keeps no other waiting.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places for calls, and for those who wait for one.
#[derive(Debug)]
pub(super) struct Slots {
    all: Arc<Semaphore>,
    at_once_of_one: usize,
    waiting_of_one: usize,
    hosts: Mutex<HashMap<String, Host>>,
}

#[derive(Debug)]
struct Host {
    calls: Arc<Semaphore>,
    /// Those who wait, pause or call.
    here: usize,
}

/// Somebody who wants to call a host, until it is dropped.
#[derive(Debug)]
pub(super) struct Caller {
    slots: Arc<Slots>,
    host: String,
    calls: Arc<Semaphore>,
}

/// May call, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _of_host: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Slots {
    /// `at_once` calls; of one host at most `at_once_of_one`, and `waiting_of_one` who want to.
    pub(super) fn new(at_once: usize, at_once_of_one: usize, waiting_of_one: usize) -> Self {
        let all = Arc::new(Semaphore::new(at_once));
        Self { all, at_once_of_one, waiting_of_one, hosts: Mutex::new(HashMap::new()) }
    }

    /// Somebody who wants to call this host; `None` if too many do.
    pub(super) fn enter(self: &Arc<Self>, host: &str) -> Option<Caller> {
        let mut hosts = self.hosts.lock();
        let new = || Host { calls: Arc::new(Semaphore::new(self.at_once_of_one)), here: 0 };
        let entry = hosts.entry(host.to_owned()).or_insert_with(new);
        if entry.here >= self.waiting_of_one {
            return None;
        }
        entry.here = entry.here.saturating_add(1);
        Some(Caller { slots: Arc::clone(self), host: host.to_owned(), calls: Arc::clone(&entry.calls) })
    }
}

impl Caller {
    /// Waits until there is a place: first among those of the host, so that they take none of all while they wait.
    pub(super) async fn slot(&self) -> Option<Slot> {
        let of_host = Arc::clone(&self.calls).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.slots.all).acquire_owned().await.ok()?;
        Some(Slot { _of_host: of_host, _of_all: of_all })
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let mut hosts = self.slots.hosts.lock();
        if let Some(host) = hosts.get_mut(&self.host) {
            host.here = host.here.saturating_sub(1);
            if host.here == 0 {
                hosts.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn calls(caller: &Caller) -> Option<Slot> {
        caller.slot().now_or_never().flatten()
    }

    #[tokio::test]
    async fn b122_a_slow_host_keeps_no_other_waiting() {
        let slots = Arc::new(Slots::new(3, 2, 4));
        let slow: Vec<_> = (0..4).map_while(|_| slots.enter("slow")).collect();
        assert_eq!(slow.len(), 4);
        assert!(slots.enter("slow").is_none(), "more of one host do not even wait");
        let held: Vec<_> = slow.iter().filter_map(calls).collect();
        assert_eq!(held.len(), 2, "two of one host at once");
        let other = slots.enter("other").unwrap();
        let calling = calls(&other);
        assert!(calling.is_some(), "the third place is another host's");
        let third = slots.enter("third").unwrap();
        assert!(calls(&third).is_none(), "three of all at once");
        drop(held);
        assert!(calls(&third).is_some());
    }

    #[tokio::test]
    async fn what_nobody_calls_is_forgotten() {
        let slots = Arc::new(Slots::new(1, 1, 2));
        let one = slots.enter("one").unwrap();
        drop(calls(&one).unwrap());
        drop(one);
        assert!(slots.hosts.lock().is_empty());
        assert!(slots.enter("one").is_some());
    }
}
