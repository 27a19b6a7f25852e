//! Whether the task of a job in flight still runs.
//!
//! A runtime can stand still without ending: a current-thread runtime runs only during `block_on`.
//! A job in it then neither continues nor ends, and its timers do not fire. So the task of a job
//! beats while it runs, and its waiters, which may be in another runtime, look for the beats.

use std::{
    convert::Infallible,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// The interval of the beats.
const BEAT: Duration = Duration::from_secs(2);

/// How often waiters look for a beat.
pub(super) const CHECK: Duration = Duration::from_millis(2_500);

/// After how many checks without a beat a job stands still: after 10 seconds.
const MISSED: u32 = 4;

#[derive(Default)]
pub(super) struct Liveness {
    beats: AtomicU32,
    checks: Mutex<Checks>,
}

/// The checks since the last beat.
#[derive(Default)]
struct Checks {
    beats: u32,
    missed: u32,
    counted_at: Option<Instant>,
}

impl Liveness {
    /// Beats until the future is dropped.
    pub(super) async fn beat(&self) -> Infallible {
        loop {
            sleep(BEAT).await;
            self.beats.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records a check at the time `now`. Returns whether the job stands still.
    ///
    /// Checks that follow each other at once count once: if the whole process was stopped, its
    /// waiters may run before the job does.
    pub(super) fn check(&self, now: Instant) -> bool {
        let beats = self.beats.load(Ordering::Relaxed);
        // Each change leaves a valid value.
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.record(beats, now)
    }
}

impl Checks {
    fn record(&mut self, beats: u32, now: Instant) -> bool {
        if beats != self.beats || self.counted_at.is_none() {
            *self = Self {
                beats,
                missed: 0,
                counted_at: Some(now),
            };
        } else if self
            .counted_at
            .is_some_and(|counted| now.saturating_duration_since(counted) >= CHECK)
        {
            self.missed += 1;
            self.counted_at = Some(now);
        }
        self.missed >= MISSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(checks: &[(u32, u64)]) -> bool {
        let start = Instant::now();
        let mut state = Checks::default();
        let mut is_still = false;
        for &(beats, millis) in checks {
            is_still = state.record(beats, start + Duration::from_millis(millis));
        }
        is_still
    }

    #[test]
    fn p04_job_stands_still_after_10_seconds_without_a_beat() {
        for (checks, is_still, case) in [
            (&[(0, 0)][..], false, "one check"),
            (
                &[(0, 0), (0, 2_500), (0, 5_000), (0, 7_500)],
                false,
                "7.5 s",
            ),
            (
                &[(0, 0), (0, 2_500), (0, 5_000), (0, 7_500), (0, 10_000)],
                true,
                "10 s",
            ),
            (
                &[(0, 0), (0, 2_500), (0, 5_000), (0, 7_500), (1, 10_000)],
                false,
                "a late beat",
            ),
            (
                &[(3, 0), (4, 2_500), (5, 5_000), (6, 7_500), (7, 10_000)],
                false,
                "beats",
            ),
            (&[(0, 0), (0, 60_000)], false, "the process was stopped"),
            (
                &[(0, 0), (0, 60_000), (0, 60_000), (0, 60_001), (0, 60_002)],
                false,
                "many waiters",
            ),
            (
                &[
                    (0, 0),
                    (0, 99_000),
                    (0, 199_000),
                    (0, 299_000),
                    (0, 399_000),
                ],
                true,
                "rare checks",
            ),
        ] {
            assert_eq!(checked(checks), is_still, "{case}");
        }
    }
}
