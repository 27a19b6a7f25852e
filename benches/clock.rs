//! A clock that a bench advances, to choose the moment of a refresh.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tower_oauth2_client::clock::{Clock, SystemClock};

/// The clock of the operating system plus an offset that clones share.
#[derive(Clone, Debug, Default)]
pub struct AdjustableClock {
    offset: Arc<AtomicU64>,
}

impl AdjustableClock {
    pub fn advance(&self, by: Duration) {
        self.offset.fetch_add(by.as_secs(), Ordering::Relaxed);
    }

    fn offset(&self) -> Duration {
        Duration::from_secs(self.offset.load(Ordering::Relaxed))
    }
}

impl Clock for AdjustableClock {
    fn monotonic(&self) -> Instant {
        SystemClock.monotonic() + self.offset()
    }

    fn wall(&self) -> SystemTime {
        SystemClock.wall() + self.offset()
    }
}
