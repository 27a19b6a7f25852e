//! Exploration of every interleaving of several replicas that share one store and one provider.
//!
//! The replicas run the shipped [`CacheState`](crate::cache::state::CacheState) and the steps of
//! [`Next`](crate::cache::state::Next): there is no second model of the rules. The tests replace
//! the drivers (`refresh.rs`, `lease.rs` and `request.rs` of the cache), and own the time, the
//! store, the lease and the provider. From each reachable state they try each possible action:
//!
//! * an idle replica starts a job, for each reason for which the state permits one,
//! * a replica performs its pending step, which succeeds or fails in each way that its budget
//!   permits: with or without effect, and for a token request in each class of responses,
//! * a process crashes, before or after its pending step took effect, and starts with an empty
//!   state under another name,
//! * a process stops, before or after its pending step took effect, and continues later,
//! * a replica follows an announcement of a save, if its store announces them,
//! * the customer ends the grant at the provider,
//! * time passes until a timer, a deadline, the end of a lease or a window of a token.
//!
//! [`Property`](properties::Property) lists the checks, with their guarantees. From each state
//! without work, a recovery without further faults has to lead to a refreshed or an ended grant.
//!
//! # Assumptions
//!
//! * Steps take no time. Time passes while every process waits, has no request, or is stopped.
//! * Requests to a replica do not stop once they have begun, until it crashes. They may begin at
//!   any time.
//! * A token request is sent at the moment of the decision, so no time passes between the lease
//!   check and its arrival. It does not arrive after its deadline.
//! * A replica has one job at a time. All clocks agree, and jitter is constant.
//! * A running process extends its lease in time. A process that was stopped extends it first, or
//!   handles what has arrived first.
//! * No two intents begin in the same nanosecond: their start times identify them.
//! * The classes of responses are those of [`Error`](crate::error::Error). The OAuth client decides
//!   which status is in which class; a 500 that hides a processed request is a fault of that
//!   decision.
//!
//! # Reductions
//!
//! * States that differ only in the order of the replicas are one state.
//! * Steps that change one replica only are performed at once, because they commute with every
//!   step of other replicas.
//! * A poll of a held lease is left out if the store has not changed since the last one, and so is
//!   a store check that would find the held grant: both change no decision.
//! * Times in the past that no decision depends on are removed.
//!
//! # Commands
//!
//! `cargo test --lib explore` runs the short form. The whole exploration takes about 20 minutes:
//! `cargo test --release --lib explore -- --ignored --nocapture`.

mod properties;
mod provider;
mod recovery;
mod replica;
mod search;
mod setting;
mod world;

use std::time::Duration;

use self::{
    properties::{Counts, Event},
    provider::{ROTATIONS, Rotation},
    recovery::endure,
    search::{Order, explore},
    setting::{Budget, Setting, Start},
    world::How,
};
use crate::cache::state::LostResponse;

const STARTS: [Start; 8] = [
    Start::Expired,
    Start::Mandatory,
    Start::Advisory,
    Start::Rejected,
    Start::Intent {
        age: 20,
        is_processed: true,
        is_expired: true,
    },
    Start::Intent {
        age: 20,
        is_processed: true,
        is_expired: false,
    },
    Start::Intent {
        age: 20,
        is_processed: false,
        is_expired: false,
    },
    Start::Intent {
        age: 60,
        is_processed: true,
        is_expired: false,
    },
];

/// A limit that no exploration reaches.
const STATES: usize = 400_000_000;

/// The states of the search for a short trace.
const STATES_OF_SHORT_TRACE: usize = 2_000_000;

fn setting(rotation: Rotation, start: Start, seconds: u64, budget: Budget) -> Setting {
    let mut setting = Setting::new(rotation, start);
    setting.horizon = seconds * 1_000;
    setting.budget = budget;
    setting
}

/// Explores one setting, and fails with a short trace if a property does not hold.
fn run(setting: &Setting, total: &mut Counts) {
    let outcome = explore(setting, Order::DepthFirst, STATES);
    println!(
        "{:?}, {:?}, {} replicas, {:?}, {:?}, {} s: {} states, {} transitions, {} states of \
         recoveries, depth {}, {:.1} s",
        setting.rotation,
        setting.start,
        setting.replicas,
        setting.budget,
        setting.policy.lost_response,
        setting.horizon / 1_000,
        outcome.states,
        outcome.transitions,
        outcome.recoveries,
        outcome.depth,
        outcome.seconds,
    );
    if let Some(found) = &outcome.violation {
        let shortest = explore(setting, Order::BreadthFirst, STATES_OF_SHORT_TRACE);
        let (violation, trace) = shortest.violation.as_ref().unwrap_or(found);
        panic!("{violation}\n{trace}");
    }
    assert!(!outcome.is_cut, "the limit was reached");
    total.add(&outcome.counts);
}

/// Prints how often each property was checked, and fails if none of the events was reached.
fn finish(total: &Counts, events: &[Event]) {
    println!("{:#?}\n{:#?}", total.evaluations, total.events);
    for event in events {
        assert!(total.events.contains_key(event), "{event:?} is not reached");
    }
}

#[test]
fn p11_two_replicas_with_a_crash_a_lost_response_and_a_store_failure() {
    let mut total = Counts::default();
    for rotation in ROTATIONS {
        let budget = Budget {
            crashes: 1,
            lost: 1,
            store: 1,
            ..Budget::default()
        };
        run(&setting(rotation, Start::Expired, 1, budget), &mut total);
    }
    finish(
        &total,
        &[
            Event::Adopted,
            Event::EndedRotationLost,
            Event::FamilyEndedByReuse,
            Event::Refreshed,
            Event::Replayed,
            Event::ReuseGraceUsed,
            Event::StoreCheckAdopted,
            Event::UsedUnsaved,
        ],
    );
}

#[test]
fn p11_every_start_with_a_lost_response_and_a_refusal() {
    let mut total = Counts::default();
    for (rotation, start) in [Rotation::Strict, Rotation::Grace]
        .into_iter()
        .flat_map(|rotation| STARTS.map(|start| (rotation, start)))
    {
        let budget = Budget {
            lost: 1,
            refusals: 1,
            ..Budget::default()
        };
        run(&setting(rotation, start, 31, budget), &mut total);
    }
    finish(
        &total,
        &[
            Event::Adopted,
            Event::Deferred,
            Event::LastResort,
            Event::Restored,
        ],
    );
}

#[test]
fn p11_deferred_lost_response_waits_for_the_expiry() {
    let mut total = Counts::default();
    for start in [Start::Expired, Start::Mandatory, Start::Rejected] {
        let budget = Budget {
            crashes: 1,
            lost: 1,
            ..Budget::default()
        };
        let mut setting = setting(Rotation::Strict, start, 6, budget);
        setting.policy.lost_response = LostResponse::Defer;
        run(&setting, &mut total);
    }
    finish(&total, &[Event::LastResort]);
}

#[test]
fn p10_replica_that_stops_sends_nothing_after_its_lease() {
    let mut total = Counts::default();
    for rotation in ROTATIONS {
        let budget = Budget {
            lost: 1,
            stalls: 1,
            ..Budget::default()
        };
        run(&setting(rotation, Start::Expired, 31, budget), &mut total);
    }
    finish(
        &total,
        &[
            Event::ConflictAdopted,
            Event::ConflictOverwritten,
            Event::LeaseTakenOver,
            Event::StalledReplicaStopped,
        ],
    );
}

#[test]
fn p11_response_that_outlasts_the_time_for_a_replay_is_replayed_by_no_replica() {
    let mut total = Counts::default();
    for rotation in [Rotation::Strict, Rotation::Grace] {
        for start in [Start::Expired, Start::Advisory, Start::Rejected] {
            let budget = Budget {
                lost: 1,
                ..Budget::default()
            };
            let mut setting = setting(rotation, start, 80, budget);
            setting.policy.fetch_timeout = Duration::from_secs(60);
            run(&setting, &mut total);
        }
    }
    finish(&total, &[Event::LastResort, Event::LeaseWaitTimedOut]);
}

#[test]
fn p13_processes_that_may_be_about_to_end_send_what_callers_wait_for() {
    let mut total = Counts::default();
    for (rotation, start) in [Rotation::Strict, Rotation::Grace]
        .into_iter()
        .flat_map(|rotation| STARTS.map(|start| (rotation, start)))
    {
        let budget = Budget {
            lost: 1,
            ..Budget::default()
        };
        let mut setting = setting(rotation, start, 31, budget);
        setting.is_staying = false;
        run(&setting, &mut total);
    }
    finish(&total, &[Event::Refreshed, Event::Replayed]);
}

#[test]
fn p11_lost_response_is_replayed_until_the_reuse_grace_ends() {
    let mut total = Counts::default();
    for (rotation, start) in [
        (Rotation::Grace, Start::Expired),
        (Rotation::Overlap, Start::Advisory),
        (Rotation::Grace, STARTS[5]),
    ] {
        let budget = Budget {
            lost: 3,
            ..Budget::default()
        };
        let mut setting = setting(rotation, start, 31, budget);
        setting.policy.reuse_grace = Some(Duration::from_secs(30));
        run(&setting, &mut total);
    }
    let budget = Budget {
        crashes: 1,
        lost: 1,
        store: 1,
        ..Budget::default()
    };
    let mut setting = setting(Rotation::Grace, Start::Expired, 1, budget);
    setting.policy.reuse_grace = Some(Duration::from_secs(30));
    run(&setting, &mut total);
    finish(
        &total,
        &[
            Event::LastResort,
            Event::Replayed,
            Event::ReplayedAgain,
            Event::ReuseGraceUsed,
        ],
    );
}

#[test]
fn p12_replicas_adopt_announced_saves_at_any_time() {
    let mut total = Counts::default();
    for (rotation, start) in [
        (Rotation::Strict, Start::Expired),
        (Rotation::Strict, Start::Rejected),
        (Rotation::Grace, Start::Advisory),
    ] {
        let budget = Budget {
            lost: 1,
            store: 1,
            ends: 1,
            ..Budget::default()
        };
        let mut setting = setting(rotation, start, 6, budget);
        setting.announces = true;
        run(&setting, &mut total);
    }
    finish(
        &total,
        &[Event::AnnouncementAdopted, Event::EndedInvalidGrant],
    );
}

#[test]
fn p15_end_at_the_provider_is_stored_with_its_reason() {
    let mut total = Counts::default();
    for start in [Start::Expired, Start::Advisory] {
        let budget = Budget {
            store: 1,
            ends: 1,
            manual: 1,
            ..Budget::default()
        };
        run(&setting(Rotation::Strict, start, 2, budget), &mut total);
    }
    finish(&total, &[Event::EndedInvalidGrant]);
}

#[test]
fn p16_refused_grant_is_retried_with_a_bounded_rate() {
    for how in [How::NotSent, How::Unavailable, How::LostBefore] {
        let setting = setting(Rotation::Strict, Start::Expired, 0, Budget::default());
        let requests = endure(&setting, how).unwrap_or_else(|violation| panic!("{violation}"));
        println!("{how:?}: {requests} token requests in an hour");
        // Two replicas, each with a backoff of 15 seconds after five failures.
        assert!((100..=520).contains(&requests), "{how:?}: {requests}");
    }
    // A long reuse grace permits replays, but no more requests.
    let mut setting = setting(Rotation::Grace, Start::Expired, 0, Budget::default());
    setting.policy.reuse_grace = Some(Duration::from_secs(30 * 86_400));
    let requests =
        endure(&setting, How::LostBefore).unwrap_or_else(|violation| panic!("{violation}"));
    println!("{requests} token requests in an hour of a long reuse grace");
    assert!((100..=520).contains(&requests), "{requests}");
}

#[test]
#[ignore = "takes 20 minutes: run it with --release"]
fn three_replicas_with_two_crashes() {
    let mut total = Counts::default();
    for rotation in ROTATIONS {
        let budget = Budget {
            crashes: 2,
            lost: 1,
            store: 1,
            ..Budget::default()
        };
        let mut setting = setting(rotation, Start::Expired, 16, budget);
        setting.replicas = 3;
        run(&setting, &mut total);
    }
    finish(&total, &[Event::LeaseTakenOver, Event::EndedRotationLost]);
}

#[test]
#[ignore = "takes minutes: run it with --release"]
fn two_replicas_from_every_start() {
    let mut total = Counts::default();
    for (rotation, start) in ROTATIONS
        .into_iter()
        .flat_map(|rotation| STARTS.map(|start| (rotation, start)))
    {
        let budget = Budget {
            crashes: 1,
            lost: 1,
            store: 1,
            ..Budget::default()
        };
        run(&setting(rotation, start, 31, budget), &mut total);
    }
    finish(&total, &[Event::Deferred, Event::LastResort]);
}
