//! The search: visits every state that is reachable from the start, each once.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt::Write,
    time::{Duration, Instant},
};

use super::{
    properties::{Counts, Violation},
    recovery::recover,
    setting::Setting,
    world::World,
};
use crate::clock::{Clock, SystemClock};

/// A state that satisfies the properties is found by its hash of 64 bits: among 100 million states,
/// the probability that two have one hash is below 1 in 3,000.
type Key = u64;

/// The key of the state before, and the number of the action that led from there.
type Link = (Key, u16);

/// How the search went.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) states: usize,
    pub(super) transitions: u64,
    pub(super) recoveries: usize,
    /// The longest path to a new state, in the order of the search.
    pub(super) depth: u32,
    pub(super) seconds: f64,
    pub(super) counts: Counts,
    /// The first violation, with its trace.
    pub(super) violation: Option<(Violation, String)>,
    /// Whether the search ended because of its limit.
    pub(super) is_cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Needs little memory for states that are not expanded yet.
    DepthFirst,
    /// Finds the shortest trace.
    BreadthFirst,
}

/// Visits every state, at most `limit`. Stops at the first violation.
pub(super) fn explore(setting: &Setting, order: Order, limit: usize) -> Outcome {
    let started = now();
    let root = World::new(setting);
    let root_key = root.key();
    let mut outcome = Outcome::default();
    let mut links: HashMap<Key, Link, foldhash::fast::FixedState> = HashMap::default();
    links.insert(root_key, (root_key, 0));
    let mut recovered = HashSet::new();
    let mut open = VecDeque::from([(root, root_key, 0_u32)]);
    let mut actions = Vec::new();
    let mut actions_of_trace = Vec::new();
    'search: while let Some((world, key, depth)) = match order {
        Order::DepthFirst => open.pop_back(),
        Order::BreadthFirst => open.pop_front(),
    } {
        outcome.depth = outcome.depth.max(depth);
        world.actions(setting, &mut outcome.counts.known, &mut actions);
        let is_quiet = world.is_idle() || (world.is_waiting() && !world.may_tick(setting));
        if is_quiet
            && let Err(violation) = recover(&world, setting, &mut recovered, &mut outcome.counts)
        {
            let trace = trace(setting, &links, key, None, &mut actions_of_trace);
            outcome.violation = Some((violation, trace));
            break;
        }
        for (number, action) in actions.iter().enumerate() {
            outcome.transitions += 1;
            match world.apply(*action, setting, &mut outcome.counts) {
                Ok(next) => {
                    let next_key = next.key();
                    let link = (key, u16::try_from(number).unwrap());
                    if let std::collections::hash_map::Entry::Vacant(entry) = links.entry(next_key)
                    {
                        entry.insert(link);
                        open.push_back((next, next_key, depth + 1));
                    }
                }
                Err(violation) => {
                    let last = Some(number);
                    let trace = trace(setting, &links, key, last, &mut actions_of_trace);
                    outcome.violation = Some((violation, trace));
                    break 'search;
                }
            }
        }
        if links.len() > limit {
            outcome.is_cut = true;
            break;
        }
    }
    outcome.states = links.len();
    outcome.recoveries = recovered.len();
    outcome.seconds = passed(started).as_secs_f64();
    outcome
}

/// The actions from the start to the state of `key`, and then `last`.
fn trace(
    setting: &Setting,
    links: &HashMap<Key, Link, foldhash::fast::FixedState>,
    key: Key,
    last: Option<usize>,
    actions: &mut Vec<super::world::Action>,
) -> String {
    let mut numbers: Vec<usize> = last.into_iter().collect();
    let mut at = key;
    while let Some((before, number)) = links.get(&at).copied().filter(|(before, _)| *before != at) {
        numbers.push(usize::from(number));
        at = before;
    }
    let mut world = World::new(setting);
    let mut text = format!("      {world}\n");
    let mut counts = Counts::default();
    for number in numbers.into_iter().rev() {
        world.actions(setting, &mut counts.known, actions);
        let action = actions[number];
        writeln!(text, "  {action:?}").unwrap();
        match world.apply(action, setting, &mut counts) {
            Ok(next) => world = next,
            Err(violation) => {
                writeln!(text, "      {violation}").unwrap();
                break;
            }
        }
        writeln!(text, "      {world}").unwrap();
    }
    text
}

fn now() -> Instant {
    SystemClock.monotonic()
}

fn passed(started: Instant) -> Duration {
    now().saturating_duration_since(started)
}
