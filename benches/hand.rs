//! A clock that can be put forward, so that a token falls due at a moment that a bench chooses, and an exchange is allowed that
//! otherwise would come too soon after the last one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tower_oauth2_client::clock::{Clock, SystemClock};

/// The operating system's, put forward by hand. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct HandClock {
    ahead: Arc<AtomicU64>,
}

impl HandClock {
    pub fn put_forward(&self, by: Duration) {
        self.ahead.fetch_add(by.as_secs(), Ordering::Relaxed);
    }

    fn ahead(&self) -> Duration {
        Duration::from_secs(self.ahead.load(Ordering::Relaxed))
    }
}

impl Clock for HandClock {
    fn monotonic(&self) -> Instant {
        SystemClock.monotonic() + self.ahead()
    }

    fn wall(&self) -> SystemTime {
        SystemClock.wall() + self.ahead()
    }
}
