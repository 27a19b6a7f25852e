//! How long a request takes, in rounds in which all are timed one after another, so that what disturbs the machine disturbs all
//! alike. What counts is the median of the rounds' differences and ratios.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use super::median;
use crate::load::Load;

const ROUNDS: usize = 51;
/// So many that two threads run at once for nearly all of the time: that takes longer than they have a processor for before it
/// is another's turn, and longer than it takes to wake one up.
const REQUESTS: u32 = 25_000;
/// Before the clock starts: a new thread's allocator gets its memory, and caches fill.
const WARMING: u64 = 500;
/// At a time, after the clock has stopped, for as long as another's still runs.
const COMPANY: u64 = 100;

/// Nanoseconds that a request took, in each round.
pub(crate) struct Times {
    /// In a thread of its own.
    alone: Vec<f64>,
    /// In each of two threads that share the token.
    together: Vec<f64>,
}

impl Times {
    pub(crate) fn nanoseconds(&self) -> f64 {
        median(self.alone.iter().copied())
    }

    /// How much longer it took than `bare`, which was timed in the same rounds.
    pub(crate) fn above(&self, bare: &Self) -> f64 {
        median(
            self.alone
                .iter()
                .zip(&bare.alone)
                .map(|(with, bare)| with - bare),
        )
    }

    /// How many times as long it took in each of two threads.
    pub(crate) fn slowdown(&self) -> f64 {
        median(
            self.together
                .iter()
                .zip(&self.alone)
                .map(|(both, one)| both / one),
        )
    }
}

/// Times all of `loads`, round by round.
pub(crate) fn interleaved(loads: &[Box<dyn Load>]) -> Vec<Times> {
    let mut times: Vec<_> = loads
        .iter()
        .map(|_| Times {
            alone: Vec::with_capacity(ROUNDS),
            together: Vec::with_capacity(ROUNDS),
        })
        .collect();
    for _ in 0..ROUNDS {
        for (load, times) in loads.iter().zip(&mut times) {
            times.alone.push(per_request(vec![load.another()]));
            times
                .together
                .push(per_request(vec![load.another(), load.another()]));
        }
    }
    times
}

/// Each of `loads` in a thread of its own, all at once: the mean of what a request takes.
fn per_request(loads: Vec<Box<dyn Load>>) -> f64 {
    let start = &Barrier::new(loads.len());
    let timed_still = &AtomicUsize::new(loads.len());
    let took: Vec<f64> = thread::scope(|scope| {
        let threads: Vec<_> = loads
            .into_iter()
            .map(|load| scope.spawn(move || timed(load, start, timed_still)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("sending does not panic"))
            .collect()
    });
    let threads = u32::try_from(took.len()).unwrap_or(u32::MAX);
    took.iter().sum::<f64>() / f64::from(threads)
}

#[expect(
    clippy::disallowed_methods,
    reason = "real time is what is measured here"
)]
fn timed(mut load: Box<dyn Load>, start: &Barrier, timed_still: &AtomicUsize) -> f64 {
    load.send(WARMING);
    start.wait();
    let began = Instant::now();
    load.send(u64::from(REQUESTS));
    let took = began.elapsed();
    timed_still.fetch_sub(1, Ordering::Relaxed);
    while timed_still.load(Ordering::Relaxed) > 0 {
        load.send(COMPANY);
    }
    took.as_secs_f64() * 1e9 / f64::from(REQUESTS)
}
