//! What is measured of a peer, and above what.

pub(crate) mod allocations;
pub(crate) mod instructions;
pub(crate) mod time;

use tokio::runtime::Runtime;

use crate::{
    load::{self, Load},
    peers::{Failure, PEERS, Peer},
};

/// What one request costs with a peer, above the same request without a token.
pub(crate) struct Cost {
    pub(crate) peer: &'static Peer,
    /// `None` if they could not be counted.
    pub(crate) instructions: Option<f64>,
    pub(crate) allocations: f64,
    pub(crate) nanoseconds: f64,
    /// How many times as long a request takes, token or not, where two threads share the token.
    pub(crate) slowdown: f64,
}

/// By what costs are sorted and drawn: instructions, which hardly differ between runs, or time if they were not all counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Instructions,
    Nanoseconds,
}

/// The request alone.
pub(crate) struct Alone {
    /// `None` where there is no valgrind.
    pub(crate) instructions: Option<f64>,
    pub(crate) allocations: f64,
    pub(crate) nanoseconds: f64,
    pub(crate) slowdown: f64,
}

/// All that was found out in one run.
pub(crate) struct Findings {
    pub(crate) unit: Unit,
    pub(crate) alone: Alone,
    /// The cheapest first.
    pub(crate) costs: Vec<Cost>,
    pub(crate) unusable: Vec<(&'static Peer, Failure)>,
}

/// A peer that has its token.
struct Warm {
    peer: &'static Peer,
    load: Box<dyn Load>,
    /// Where among the timed loads the one is that it is above.
    above: usize,
    bare: Box<dyn Load>,
}

/// Measures all peers. Takes some minutes.
pub(crate) fn all(runtime: &Runtime) -> Findings {
    let mut unusable = Vec::new();
    // The first of those that are timed is the request alone.
    let mut timed = vec![load::no_layer()];
    let mut warm = Vec::new();
    for peer in &PEERS {
        match peer.warm(runtime) {
            Ok(load) => {
                let above = if peer.has_bare_of_its_own() {
                    timed.push(peer.bare());
                    timed.len() - 1
                } else {
                    0
                };
                let bare = peer.bare();
                warm.push(Warm {
                    peer,
                    load,
                    above,
                    bare,
                });
            }
            Err(failure) => unusable.push((peer, failure)),
        }
    }
    let first = timed.len();
    timed.extend(warm.iter().map(|warm| warm.load.another()));
    let times = time::interleaved(&timed);

    let alone_instructions = instructions::of_request_alone();
    let mut costs: Vec<_> = warm
        .into_iter()
        .enumerate()
        .map(|(index, mut warm)| {
            let time = &times[first + index];
            Cost {
                peer: warm.peer,
                instructions: instructions::above_bare(warm.peer, alone_instructions),
                allocations: allocations::per_request(&mut *warm.load)
                    - allocations::per_request(&mut *warm.bare),
                nanoseconds: time.above(&times[warm.above]),
                slowdown: time.slowdown(),
            }
        })
        .collect();
    let unit = if costs.iter().all(|cost| cost.instructions.is_some()) {
        Unit::Instructions
    } else {
        Unit::Nanoseconds
    };
    costs.sort_by(|one, other| one.in_unit(unit).total_cmp(&other.in_unit(unit)));
    Findings {
        unit,
        alone: Alone {
            instructions: alone_instructions,
            allocations: allocations::per_request(&mut *load::no_layer()),
            nanoseconds: times[0].nanoseconds(),
            slowdown: times[0].slowdown(),
        },
        costs,
        unusable,
    }
}

impl Cost {
    pub(crate) fn in_unit(&self, unit: Unit) -> f64 {
        match unit {
            Unit::Instructions => self.instructions.unwrap_or(f64::NAN),
            Unit::Nanoseconds => self.nanoseconds,
        }
    }
}

/// The middle one.
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
