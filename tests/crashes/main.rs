//! A process that is killed at each step of a refresh, in each rotation mode, and the next start.
//!
//! `CRASHES=300 cargo test --all-features --test crashes -- --nocapture` kills more often.

use std::{collections::BTreeMap, env, fmt::Write, process::Command, time::Duration};

use tokio::time::sleep;
use tower_oauth2_client::{
    sandbox::{Endpoint, Fault, Replay, Rotation},
    token::GrantState,
};

#[cfg(feature = "__server-tests")]
#[path = "../support/postgres.rs"]
mod postgres;
#[cfg(feature = "__server-tests")]
#[path = "../support/redis.rs"]
mod redis_server;
#[path = "../support/shared_store.rs"]
mod shared_store;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/worker.rs"]
mod worker;

mod process;
mod scene;

use process::PRODUCTION;
use scene::Scene;
use shared_store::Backend;
use worker::Replica;

/// The steps at which a process is killed. The last two are on the wire.
const STEPS: [&str; 10] = [
    "before lease",
    "after lease",
    "before intent",
    "after intent",
    "before save",
    "after save",
    "before release",
    "after release",
    "request on the wire",
    "response on the wire",
];

const MODES: [(&str, Rotation); 6] = [
    ("none", Rotation::None),
    ("single use", Rotation::SingleUse),
    ("family revocation", Rotation::FamilyRevocation),
    (
        "grace, same pair",
        Rotation::Grace {
            window: Duration::from_secs(60),
            replay: Replay::SamePair,
        },
    ),
    (
        "grace, sibling",
        Rotation::Grace {
            window: Duration::from_secs(60),
            replay: Replay::Sibling,
        },
    ),
    ("deferred", Rotation::Deferred),
];

/// Kills a process at this step. Returns what the next one found, and how it ended.
async fn crash(backend: &Backend, rotation: Rotation, step: &str) -> (&'static str, String) {
    let scene = Scene::new(backend, rotation).await;
    let on_the_wire = match step {
        "request on the wire" => Some(Fault::hang()),
        "response on the wire" => Some(Fault::hang().after_processing()),
        _ => None,
    };
    let is_on_the_wire = on_the_wire.is_some();
    if let Some(fault) = on_the_wire {
        scene.sandbox.inject(Endpoint::Token, fault);
    }
    let mut victim = scene.spawn("process::victim", step);
    if is_on_the_wire {
        while scene.sandbox.counters().faults_triggered == 0 {
            sleep(Duration::from_millis(2)).await;
        }
        if step == "response on the wire" {
            while !scene.is_behind().await && rotation != Rotation::None {
                sleep(Duration::from_millis(2)).await;
            }
        }
        victim.kill();
    } else {
        victim
            .wait_for("at")
            .expect("the process reaches this step");
        victim.kill();
    }
    scene.sandbox.clear_faults();
    scene.restart().await
}

async fn killed_at_every_step_in_every_mode(backend: Backend) {
    let mut table = String::new();
    for (mode, rotation) in MODES {
        for step in STEPS {
            let (found, ended) = crash(&backend, rotation, step).await;
            writeln!(table, "{mode:18} {step:20} found {found:10} ended {ended}").unwrap();
            let had_intent =
                ["after intent", "before save"].contains(&step) || step.ends_with("wire");
            let expected_find = if had_intent { "uncertain" } else { "active" };
            // A provider with a reuse grace returns the tokens again. With any other provider they
            // are lost.
            let had_response = ["before save", "response on the wire"].contains(&step);
            let is_strict = matches!(rotation, Rotation::SingleUse | Rotation::FamilyRevocation);
            let expected_end = if had_response && is_strict {
                "lost"
            } else {
                "active"
            };
            assert_eq!(
                (found, &*ended),
                (expected_find, expected_end),
                "{mode}, {step}"
            );
        }
    }
    println!("{table}");
}

async fn killed_at_any_time(backend: Backend) {
    let crashes = env::var("CRASHES")
        .ok()
        .and_then(|times| times.parse().ok());
    let crashes: u32 = crashes.unwrap_or(12);
    let mut random = fastrand::Rng::with_seed(7);
    let mut table = BTreeMap::<(&str, &str), u32>::new();
    for (mode, rotation) in MODES {
        let scene = Scene::new(&backend, rotation).await;
        for _ in 0..=crashes / 6 {
            let mut victim = scene.spawn("process::victim", "none");
            victim.wait_for("started").expect("the process starts");
            sleep(Duration::from_micros(random.u64(0..60_000))).await;
            victim.kill();
            // Let data on the wire arrive.
            sleep(Duration::from_millis(20)).await;
            while scene.sandbox.counters().in_flight > 0 {
                sleep(Duration::from_millis(5)).await;
            }
            let was_behind = scene.is_behind().await;
            let (_, ended) = scene.restart().await;
            let is_strict = matches!(rotation, Rotation::SingleUse | Rotation::FamilyRevocation);
            let expected = if was_behind && is_strict {
                "lost"
            } else {
                "active"
            };
            assert_eq!(ended, expected, "{mode}, behind: {was_behind}");
            let outcome = if ended == "lost" { "lost" } else { "continued" };
            *table.entry((mode, outcome)).or_default() += 1;
            if ended == "lost" {
                scene.connect().await;
            }
        }
    }
    for ((mode, outcome), times) in table {
        println!("{mode:18} {outcome:10} {times}");
    }
}

/// With the default lease and without callers, the lost response is replayed before it is too late.
async fn killed_in_production(backend: Backend) {
    let rotation = Rotation::Grace {
        window: Duration::from_secs(60),
        replay: Replay::SamePair,
    };
    let scene = Scene::new(&backend, rotation).await;
    let lost = Fault::hang().after_processing();
    scene.sandbox.inject(Endpoint::Token, lost);
    let victim = scene.spawn("process::victim", PRODUCTION);
    while scene.sandbox.counters().faults_triggered == 0 || !scene.is_behind().await {
        sleep(Duration::from_millis(5)).await;
    }
    victim.kill();
    scene.sandbox.clear_faults();
    let mut server = scene.spawn("process::server", PRODUCTION);
    let seconds = server.wait_for("refreshed after").expect("in time");
    println!("refreshed {seconds} seconds after the start");
    assert!(server.end());
    assert!(matches!(scene.stored().await.state, GrantState::Active(_)));
}

/// Only Unix can stop a process.
#[cfg(unix)]
async fn stopped_beyond_its_lease(backend: Backend) {
    let rotation = Rotation::Grace {
        window: Duration::from_secs(3_600),
        replay: Replay::Sibling,
    };
    let scene = Scene::new(&backend, rotation).await;
    let wait = Fault::delay(Duration::from_secs(2)).after_processing();
    scene.sandbox.inject(Endpoint::Token, wait);
    let mut victim = scene.spawn("process::victim", "none");
    victim.wait_for("started").expect("the process starts");
    while scene.sandbox.counters().faults_triggered == 0 {
        sleep(Duration::from_millis(2)).await;
    }
    signal("STOP", &victim);
    // Its lease expires although the process exists.
    let before = scene.stored().await.generation;
    let (_, ended) = scene.restart().await;
    assert_eq!(ended, "active");
    let newest = scene.stored().await.generation;
    assert!(newest > before, "another process has refreshed the grant");
    signal("CONT", &victim);
    // Its own response arrives now, and must not overwrite the stored grant.
    victim.wait_for("refreshed").expect("the process continues");
    assert!(scene.stored().await.generation >= newest);
    victim.kill();
}

#[cfg(unix)]
fn signal(name: &str, replica: &Replica) {
    let status = Command::new("kill")
        .args([format!("-{name}"), replica.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Runs the tests for each store.
macro_rules! over {
    ($name:ident, $backend:expr) => {
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn p13_next_start_is_exact_after_a_kill_at_every_step_in_every_mode() {
                killed_at_every_step_in_every_mode($backend).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn p13_kill_at_any_time_loses_only_a_response_on_the_wire() {
                killed_at_any_time($backend).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn p13_kill_with_production_settings_is_followed_by_a_replay_in_time() {
                killed_in_production($backend).await;
            }

            #[cfg(unix)]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn p12_process_stopped_beyond_its_lease_overwrites_nothing() {
                stopped_beyond_its_lease($backend).await;
            }
        }
    };
}

over!(files, Backend::File);
#[cfg(feature = "__server-tests")]
over!(in_postgres, Backend::Postgres(postgres::Server::new()));
#[cfg(feature = "__server-tests")]
over!(
    in_redis,
    Backend::Redis(redis_server::Server::launch().await)
);
