//! Time, injected.
//!
//! Nothing in this crate asks the operating system for the time except [`SystemClock`]. How long to wait is measured by
//! `tokio::time`, which tests can pause; what time it is, everything asks a
//! [`Clock`], which has two hands: a *monotonic* one, that never steps but stands still while a machine is suspended, and
//! a *wall* clock, that goes on during a suspend but may be set forwards or back. A token is taken for dead as soon as
//! the earlier of the two says so.
//!
//! ```
//! use std::time::{Duration, Instant, SystemTime};
//! use tower_oauth2_client::clock::{Clock, SystemClock};
//!
//! /// Two hours fast, as a badly kept server may be.
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
    time::{Instant, SystemTime},
};

/// Where the time comes from.
///
/// The monotonic hand must be the one that the timers of the runtime follow: waiting is done with `tokio::time`.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// A time that never goes back. The only clock that a request reads, once, so it should be cheap.
    fn monotonic(&self) -> Instant;

    /// The time of day, as stored beside a token set and compared with after a suspend or a restart.
    fn wall(&self) -> SystemTime;
}

/// The clocks of the operating system.
///
/// Its monotonic hand is that of `tokio::time`, so that it stands still and jumps with `tokio::time::pause` and
/// `tokio::time::advance` in tests.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it is its own value")]
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
