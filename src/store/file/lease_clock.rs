//! The time by which leases end.
//!
//! The wall clock may be set forward or back while a lease is held. Processes on one machine
//! therefore compare the time since the machine was started, which never steps and continues
//! during a suspend. Other machines, and systems without such a clock, use the wall clock.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, SystemClock};

/// A point in time by both clocks.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub(super) wall: SystemTime,
    pub(super) boot: Option<BootTime>,
}

/// A time since a start of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BootTime {
    /// Identifies the machine and its start.
    pub(super) id: String,
    pub(super) since: Duration,
}

/// A source of both times.
pub(super) trait LeaseClock: fmt::Debug + Send + Sync {
    fn now(&self) -> Moment;
}

/// The clocks of the operating system.
#[derive(Debug)]
pub(super) struct SystemLeaseClock {
    /// `None` if the system has no such id.
    boot_id: Option<String>,
}

impl SystemLeaseClock {
    pub(super) fn new() -> Self {
        Self { boot_id: boot_id() }
    }
}

impl LeaseClock for SystemLeaseClock {
    fn now(&self) -> Moment {
        let boot = self.boot_id.as_ref().and_then(|id| {
            Some(BootTime {
                id: id.clone(),
                since: since_boot()?,
            })
        });
        Moment {
            wall: SystemClock.wall(),
            boot,
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    // In another time namespace, the same clock shows another time.
    let namespace = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
    Some(format!("{} {}", id.trim(), namespace.display()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn boot_id() -> Option<String> {
    None
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn since_boot() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};

    clock_gettime(ClockId::Boottime).try_into().ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn since_boot() -> Option<Duration> {
    None
}
