//! The time of a request. In each round all loads are timed one after another, so that a
//! disturbance of the machine affects all of them. The results are medians over the rounds.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use crate::load::Load;

const ROUNDS: usize = 51;
/// Enough for two threads to run concurrently nearly all of the time: longer than a time slice of
/// the scheduler, and longer than a wake-up.
const REQUESTS: u32 = 25_000;
/// Requests before the clock starts, to fill the caches and the allocator of a new thread.
const WARMING: u64 = 500;
/// Requests at a time after the clock has stopped, until the other thread has finished too.
const COMPANY: u64 = 100;

/// Nanoseconds per request of each round.
pub(crate) struct Times {
    /// In one thread.
    alone: Vec<f64>,
    /// In each of two threads that share the token.
    together: Vec<f64>,
}

impl Times {
    pub(crate) fn nanoseconds(&self) -> f64 {
        median(self.alone.iter().copied())
    }

    /// The time above that of `bare`, which was timed in the same rounds.
    pub(crate) fn above(&self, bare: &Self) -> f64 {
        median(
            self.alone
                .iter()
                .zip(&bare.alone)
                .map(|(with, bare)| with - bare),
        )
    }

    /// The factor by which each of two threads is slower than one.
    pub(crate) fn slowdown(&self) -> f64 {
        median(
            self.together
                .iter()
                .zip(&self.alone)
                .map(|(both, one)| both / one),
        )
    }
}

/// Times all loads, round by round.
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

/// The mean time of a request, with each load in its own thread.
fn per_request(loads: Vec<Box<dyn Load>>) -> f64 {
    let start = &Barrier::new(loads.len());
    let still_timed = &AtomicUsize::new(loads.len());
    let elapsed: Vec<f64> = thread::scope(|scope| {
        let threads: Vec<_> = loads
            .into_iter()
            .map(|load| scope.spawn(move || timed(load, start, still_timed)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("sending does not panic"))
            .collect()
    });
    let threads = u32::try_from(elapsed.len()).unwrap_or(u32::MAX);
    elapsed.iter().sum::<f64>() / f64::from(threads)
}

#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn timed(mut load: Box<dyn Load>, start: &Barrier, still_timed: &AtomicUsize) -> f64 {
    load.send(WARMING);
    start.wait();
    let started = Instant::now();
    load.send(u64::from(REQUESTS));
    let elapsed = started.elapsed();
    still_timed.fetch_sub(1, Ordering::Relaxed);
    while still_timed.load(Ordering::Relaxed) > 0 {
        load.send(COMPANY);
    }
    elapsed.as_secs_f64() * 1e9 / f64::from(REQUESTS)
}

/// The median; the mean of the two middle values of an even number.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 0 => f64::midpoint(values[half - 1], values[half]),
        _ => values[half],
    }
}
