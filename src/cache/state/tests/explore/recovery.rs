//! The way out of a state: everything works again, and callers keep requesting tokens.

use std::collections::HashSet;

use super::{
    properties::{Counts, Property, Violation},
    setting::{Budget, Setting},
    world::{Action, How, World},
};

/// Steps and ticks that a recovery takes at most.
const MAX_STEPS: usize = 600;

/// Token requests that a recovery sends at most: one for each lost response or end that a replica
/// may meet, and the refreshes of the next lifetime.
const MAX_REQUESTS: u32 = 4;

/// Runs one recovery from `world`. Stops at a state from which an earlier one has recovered.
pub(super) fn recover(
    world: &World,
    setting: &Setting,
    known: &mut HashSet<u64>,
    counts: &mut Counts,
) -> Result<(), Violation> {
    let mut world = world.clone();
    world.budget = Budget::default();
    world.requests = Some(0);
    let before = world.stored_number();
    let mut endless = setting.clone();
    endless.horizon = u64::MAX;
    let mut trace = Vec::new();
    let mut actions = Vec::new();
    for _ in 0..MAX_STEPS {
        if world.is_recovered(before) || !known.insert(world.recovery_key() ^ u64::from(before)) {
            let requests = world.requests.unwrap_or_default();
            return counts.check(Property::Recovers, requests <= MAX_REQUESTS, || {
                format!("{requests} token requests\n{}", trace.join("\n"))
            });
        }
        world.actions(&endless, &mut counts.known, &mut actions);
        let Some(action) = chosen(&actions) else {
            break;
        };
        world = world
            .apply(action, &endless, counts)
            .map_err(|violation| Violation {
                detail: format!(
                    "{}, in a recovery\n{}\n    {action:?}",
                    violation.detail,
                    trace.join("\n")
                ),
                ..violation
            })?;
        trace.push(format!("    {action:?}\n      {world}"));
    }
    counts.check(Property::Recovers, false, || {
        trace.truncate(60);
        format!("no end of the recovery\n{}", trace.join("\n"))
    })
}

/// Runs one hour in which every token request ends in the same way, while callers keep requesting
/// tokens. Returns how many token requests were sent.
pub(super) fn endure(setting: &Setting, how: How) -> Result<u32, Violation> {
    let mut endless = setting.clone();
    endless.horizon = u64::MAX;
    let mut world = World::new(&endless);
    let mut counts = Counts::default();
    let mut actions = Vec::new();
    world.requests = Some(0);
    while world.now < 3_600_000 {
        world.budget.lost = u8::MAX;
        world.budget.refusals = u8::MAX;
        world.actions(&endless, &mut counts.known, &mut actions);
        let is_response = |action: &&Action| matches!(action, Action::Step(_, of) if *of == how);
        let response = actions.iter().find(is_response).copied();
        let Some(action) = response.or_else(|| chosen(&actions)) else {
            break;
        };
        world = world.apply(action, &endless, &mut counts)?;
    }
    Ok(world.requests.unwrap_or_default())
}

/// Steps go first, then requests, then the time.
fn chosen(actions: &[Action]) -> Option<Action> {
    let of = |kind: fn(&Action) -> bool| actions.iter().copied().find(kind);
    of(|action| matches!(action, Action::Step(_, How::Succeeds) | Action::Resume(..)))
        .or_else(|| of(|action| matches!(action, Action::Start(..))))
        .or_else(|| of(|action| matches!(action, Action::Tick)))
}
