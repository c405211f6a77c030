//! How often something may happen in a window, each key by itself and all together.
//! Counted in this process alone.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;

use crate::time::Timestamp;

/// What is counted of each key and of all in a window. Bounded by `all_max`: a key is kept only where something counted.
#[derive(Debug)]
pub(super) struct Rate<K> {
    window: Duration,
    of_one_max: u32,
    all_max: u32,
    counted: Mutex<Counted<K>>,
}

#[derive(Debug)]
struct Counted<K> {
    begun: Option<Timestamp>,
    all: u32,
    of: HashMap<K, u32>,
}

impl<K> Rate<K> {
    pub(super) fn new(window: Duration, of_one_max: u32, all_max: u32) -> Self {
        Self { window, of_one_max, all_max, counted: Mutex::new(Counted { begun: None, all: 0, of: HashMap::new() }) }
    }
}

impl<K: Eq + Hash> Rate<K> {
    /// Counts so many more of this key, if there is room for one.
    ///
    /// # Errors
    ///
    /// There is none, and nothing is counted: how long it is until there is.
    pub(super) fn count(&self, key: K, many: u32, now: Timestamp) -> Result<(), Duration> {
        let mut counted = self.counted.lock();
        // A clock that was set back begins anew, as a window that is over does.
        let age = counted.begun.and_then(|begun| now.since(begun)).filter(|age| *age < self.window);
        let Some(age) = age else {
            *counted = Counted { begun: Some(now), all: many, of: HashMap::from([(key, many)]) };
            return Ok(());
        };
        let of_one = counted.of.get(&key).copied().unwrap_or_default();
        if counted.all >= self.all_max || of_one >= self.of_one_max {
            return Err(self.window.saturating_sub(age));
        }
        counted.all = counted.all.saturating_add(many);
        counted.of.insert(key, of_one.saturating_add(many));
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.counted.lock().of.len()
    }
}
