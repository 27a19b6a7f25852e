//! The time of a request. In each round all loads are timed one after another, so that a
//! disturbance of the machine affects all of them. The results are medians over the rounds.

use std::time::Instant;

use benches::report::median;

use crate::{load::Load, work::SHAPES};

const ROUNDS: usize = 101;
const REQUESTS: u32 = 10_000;

/// Nanoseconds per request of each round.
pub(crate) struct Times(Vec<f64>);

impl Times {
    /// The time above that of `bare`, which was timed in the same rounds.
    pub(crate) fn above(&self, bare: &Self) -> f64 {
        let differences = self.0.iter().zip(&bare.0).map(|(with, bare)| with - bare);
        median(differences.collect())
    }
}

/// Times all loads, round by round.
pub(crate) fn interleaved<'a>(loads: impl Iterator<Item = &'a mut Box<dyn Load>>) -> Vec<Times> {
    let mut loads: Vec<_> = loads.collect();
    let mut times: Vec<_> = loads.iter().map(|_| Times(Vec::new())).collect();
    for _ in 0..ROUNDS {
        for (load, times) in loads.iter_mut().zip(&mut times) {
            times.0.push(per_request(load));
        }
    }
    times
}

#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn per_request(load: &mut Box<dyn Load>) -> f64 {
    let started = Instant::now();
    load.send(SHAPES[0], REQUESTS);
    started.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS)
}
