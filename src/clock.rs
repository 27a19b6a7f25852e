//! Injected time.
//!
//! Every part of this crate reads the time from a [`Clock`]. Only [`SystemClock`] asks the
//! operating system. Timers are tokio's, which tests can pause.
//!
//! A clock has two sources of time. The *monotonic* time never steps, but may stand still while the
//! machine is suspended. The *wall* time continues during a suspend, but can be set forward or
//! back. A token counts as expired as soon as one of the two says so.
//!
//! ```
//! use std::time::{Duration, Instant, SystemTime};
//! use tower_oauth2_client::clock::{Clock, SystemClock};
//!
//! /// A wall clock that is two hours fast.
//! #[derive(Debug)]
//! struct Fast;
//!
//! impl Clock for Fast {
//!     fn monotonic(&self) -> Instant {
//!         SystemClock.monotonic()
//!     }
//!     fn wall(&self) -> SystemTime {
//!         SystemClock.wall() + Duration::from_secs(7_200)
//!     }
//! }
//!
//! assert!(Fast.wall() > SystemClock.wall() + Duration::from_secs(7_000));
//! ```

use std::{
    fmt,
    future::{Future, pending},
    pin::Pin,
    time::{Instant, SystemTime},
};

/// A source of monotonic and of wall time.
///
/// The monotonic time must be the one that tokio's timers follow.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The monotonic time. Each request reads it once, so it should be cheap.
    fn monotonic(&self) -> Instant;

    /// The wall time. It is stored with token sets, and compared after a suspend or a restart.
    fn wall(&self) -> SystemTime;

    /// Waits until the clock has been moved forward, in another way than by the passing of time.
    ///
    /// Background tasks sleep by tokio's timers, which do not move with such a clock. They then
    /// compare the time at once, instead of within 30 seconds. The future also has to notice a move
    /// between this call and its first poll. By default it never completes.
    fn moved(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(pending())
    }
}

/// The clocks of the operating system.
///
/// The monotonic time is that of `tokio::time`, so `tokio::time::pause` and `tokio::time::advance`
/// affect it in tests.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a unit struct that callers name as a value"
)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn monotonic(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
