//! Measures each peer, net of the same request without a token.

pub(crate) mod allocations;
pub(crate) mod instructions;
pub(crate) mod time;

use tokio::runtime::Runtime;

use crate::{
    load::{self, Load},
    peers::{Failure, PEERS, Peer},
};

/// The net cost of one request with a peer.
pub(crate) struct Cost {
    pub(crate) peer: &'static Peer,
    /// `None` if callgrind did not count them.
    pub(crate) instructions: Option<f64>,
    pub(crate) allocations: f64,
    pub(crate) nanoseconds: f64,
    /// The factor by which a whole request is slower if two threads share the token.
    pub(crate) slowdown: f64,
}

/// The unit of the order and the chart: instructions, which hardly vary between runs, or time if a
/// count is absent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Instructions,
    Nanoseconds,
}

/// The cost of the request without a token.
pub(crate) struct Alone {
    /// `None` without valgrind.
    pub(crate) instructions: Option<f64>,
    pub(crate) allocations: f64,
    pub(crate) nanoseconds: f64,
    pub(crate) slowdown: f64,
}

/// The results of one run.
pub(crate) struct Results {
    pub(crate) unit: Unit,
    pub(crate) alone: Alone,
    /// In ascending order.
    pub(crate) costs: Vec<Cost>,
    pub(crate) unusable: Vec<(&'static Peer, Failure)>,
}

/// A peer with a fresh token.
struct Warm {
    peer: &'static Peer,
    load: Box<dyn Load>,
    /// The index of its baseline among the timed loads.
    baseline: usize,
    bare: Box<dyn Load>,
}

/// Measures all peers, in some minutes.
pub(crate) fn all(runtime: &Runtime) -> Results {
    let mut unusable = Vec::new();
    // The first timed load is the request without a token.
    let mut timed = vec![load::no_layer()];
    let mut warm = Vec::new();
    for peer in &PEERS {
        match peer.warm(runtime) {
            Ok(load) => {
                let baseline = if peer.has_own_bare_load() {
                    timed.push(peer.bare());
                    timed.len() - 1
                } else {
                    0
                };
                let bare = peer.bare();
                warm.push(Warm {
                    peer,
                    load,
                    baseline,
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
                nanoseconds: time.above(&times[warm.baseline]),
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
    Results {
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
