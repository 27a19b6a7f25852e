//! Measures each peer, net of the same request without a token.

pub(crate) mod allocations;
pub(crate) mod instructions;

use tokio::runtime::Runtime;

use crate::{
    load::Load,
    peers::{Failure, PEERS, Peer},
    work::SHAPES,
};

/// The net cost of one request with a peer.
pub(crate) struct Cost {
    pub(crate) peer: &'static Peer,
    /// Of each shape. `None` if callgrind did not count them.
    pub(crate) instructions: [Option<f64>; SHAPES.len()],
    /// Of the first shape.
    pub(crate) allocations: f64,
}

/// The results of one run.
pub(crate) struct Results {
    pub(crate) costs: Vec<Cost>,
    pub(crate) unusable: Vec<(&'static Peer, Failure)>,
}

/// A peer with a fresh token, and its baseline.
struct Warm {
    peer: &'static Peer,
    load: Box<dyn Load>,
    bare: Box<dyn Load>,
}

/// Measures all peers, in some minutes.
pub(crate) fn all(runtime: &Runtime) -> Results {
    let mut unusable = Vec::new();
    let mut warm = Vec::new();
    for peer in &PEERS {
        match peer.warm(runtime) {
            Ok(load) => {
                let bare = peer.bare();
                warm.push(Warm { peer, load, bare });
            }
            Err(failure) => unusable.push((peer, failure)),
        }
    }
    let alone = SHAPES.map(instructions::of_request_alone);
    let costs = warm
        .iter_mut()
        .map(|warm| Cost {
            peer: warm.peer,
            instructions: [0, 1]
                .map(|shape| instructions::above_bare(warm.peer, SHAPES[shape], alone[shape])),
            allocations: allocations::per_request(&mut *warm.load)
                - allocations::per_request(&mut *warm.bare),
        })
        .collect();
    Results { costs, unusable }
}

impl Cost {
    /// The order of the table, and the value of the chart: instructions, which hardly vary between
    /// runs.
    pub(crate) fn order(&self) -> f64 {
        self.instructions[0].unwrap_or(f64::INFINITY)
    }
}
