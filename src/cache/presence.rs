//! Whether the process has shown that it stays.
//!
//! A refresh that no caller waits for must not start in a process that is about to end: a rotated
//! refresh token would be lost with the response. The end of a short program cannot be foreseen. So
//! background work waits until its runtime has been running for a while.
//!
//! A runtime that stands still between calls of `block_on` does not count as running: its timers
//! fire late. The proof is therefore a series of short waits of the background task, each of which
//! ended on time.

use std::{
    future::Future,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

/// The longest wait that counts as a part of the proof.
const TICK: Duration = Duration::from_secs(5);

/// A timer that fires later than this was in a runtime that stood still.
const LATE: Duration = Duration::from_secs(2);

pub(crate) struct Presence {
    required: Duration,
    proof: Mutex<Proof>,
    /// Whether the proof is complete.
    is_staying: AtomicBool,
}

#[derive(Default)]
struct Proof {
    /// How long the background task has been running without a standstill.
    driven: Duration,
    /// The runtime of the background task.
    runtime: Option<Handle>,
}

impl Presence {
    pub(super) fn new(required: Duration) -> Self {
        Self {
            required,
            proof: Mutex::default(),
            is_staying: AtomicBool::new(required.is_zero()),
        }
    }

    /// Whether background work may start.
    pub(crate) fn is_staying(&self) -> bool {
        self.is_staying.load(Ordering::Relaxed)
    }

    /// The runtime in which background work is to run. `None` if any will do.
    pub(super) fn runtime(&self) -> Option<Handle> {
        self.proof().runtime.clone()
    }

    /// Starts the proof for the background task, which calls this.
    pub(crate) fn begin(&self) {
        let mut proof = self.proof();
        proof.runtime = Handle::try_current().ok();
        self.drive(&mut proof, Duration::ZERO);
    }

    /// The pause of the background task: waits for `pause` at most, or until `woken` is ready. The
    /// task has to wait in this way only.
    pub(crate) async fn pause(&self, pause: Duration, woken: impl Future<Output = ()>) {
        let pause = if self.is_staying() {
            pause
        } else {
            pause.min(TICK)
        };
        let started = Instant::now();
        let _ = timeout(pause, woken).await;
        let passed = started.elapsed();
        let mut proof = self.proof();
        let driven = if passed > pause.saturating_add(LATE) {
            Duration::ZERO
        } else {
            proof.driven.saturating_add(passed)
        };
        self.drive(&mut proof, driven);
    }

    fn drive(&self, proof: &mut Proof, driven: Duration) {
        proof.driven = driven;
        self.is_staying
            .store(driven >= self.required, Ordering::Relaxed);
    }

    fn proof(&self) -> MutexGuard<'_, Proof> {
        // Each change leaves a valid value.
        self.proof.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::advance;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    async fn paused(presence: &Presence, pauses: u32) {
        for _ in 0..pauses {
            presence.pause(MINUTE, pending()).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p13_process_stays_once_its_background_task_has_run_long_enough() {
        let presence = Presence::new(MINUTE);
        presence.begin();
        paused(&presence, 11).await;
        assert!(!presence.is_staying());
        paused(&presence, 1).await;
        assert!(presence.is_staying());
        // Long pauses are no standstill.
        paused(&presence, 1).await;
        assert!(presence.is_staying());
        // Another background task has to show it again.
        presence.begin();
        assert!(!presence.is_staying());
    }

    #[tokio::test(start_paused = true)]
    async fn p13_standstill_starts_the_proof_again() {
        let presence = Presence::new(MINUTE);
        presence.begin();
        for standstill in [3, 30, 3_600] {
            paused(&presence, 12).await;
            assert!(presence.is_staying());
            let late = async {
                // The timer is polled only after this.
                advance(MINUTE + Duration::from_secs(standstill)).await;
                pending::<()>().await;
            };
            presence.pause(MINUTE, late).await;
            assert!(!presence.is_staying(), "{standstill}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p13_short_waits_count_for_what_they_last() {
        let presence = Presence::new(MINUTE);
        presence.begin();
        for _ in 0..1_000 {
            presence.pause(MINUTE, async {}).await;
        }
        assert!(!presence.is_staying());
    }

    #[test]
    fn p13_nothing_is_required_without_a_delay() {
        assert!(Presence::new(Duration::ZERO).is_staying());
    }
}
