//! A process killed at every step of an exchange, in every rotation mode: what the next start makes of it.
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

use process::UNHURRIED;
use scene::Scene;
use shared_store::Backend;
use worker::Replica;

/// Where a process can die. The last two are places on the wire.
const STEPS: [&str; 10] = [
    "before lease",
    "after lease",
    "before note",
    "after note",
    "before save",
    "after save",
    "before release",
    "after release",
    "request on the wire",
    "answer on the wire",
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

/// Kills a process at this step, and tells what the next one found and made of it.
async fn crash(backend: &Backend, rotation: Rotation, step: &str) -> (&'static str, String) {
    let scene = Scene::new(backend, rotation).await;
    let on_the_wire = match step {
        "request on the wire" => Some(Fault::hang()),
        "answer on the wire" => Some(Fault::hang().after_processing()),
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
        if step == "answer on the wire" {
            while !scene.is_behind().await && rotation != Rotation::None {
                sleep(Duration::from_millis(2)).await;
            }
        }
        victim.kill();
    } else {
        victim.wait_for("at").expect("it comes to this step");
        victim.kill();
    }
    scene.sandbox.clear_faults();
    scene.inherit().await
}

async fn killed_at_every_step_in_every_mode(backend: Backend) {
    let mut table = String::new();
    for (mode, rotation) in MODES {
        for step in STEPS {
            let (found, ended) = crash(&backend, rotation, step).await;
            writeln!(table, "{mode:18} {step:20} found {found:10} ended {ended}").unwrap();
            let had_noted = ["after note", "before save"].contains(&step) || step.ends_with("wire");
            let expected_find = if had_noted { "uncertain" } else { "active" };
            // A provider that forgives a second use gives the tokens once more; with one that does not they are lost.
            let was_answered = ["before save", "answer on the wire"].contains(&step);
            let is_strict = matches!(rotation, Rotation::SingleUse | Rotation::FamilyRevocation);
            let expected_end = if was_answered && is_strict {
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
            victim.wait_for("begun").expect("it starts");
            sleep(Duration::from_micros(random.u64(0..60_000))).await;
            victim.kill();
            // What was on the wire still arrives.
            sleep(Duration::from_millis(20)).await;
            while scene.sandbox.counters().in_flight > 0 {
                sleep(Duration::from_millis(5)).await;
            }
            let was_behind = scene.is_behind().await;
            let (_, ended) = scene.inherit().await;
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

/// With the lease as it is by default, and nobody who asks for it, the lost answer is asked for before it is too late.
async fn killed_in_production(backend: Backend) {
    let rotation = Rotation::Grace {
        window: Duration::from_secs(60),
        replay: Replay::SamePair,
    };
    let scene = Scene::new(&backend, rotation).await;
    let lost = Fault::hang().after_processing();
    scene.sandbox.inject(Endpoint::Token, lost);
    let victim = scene.spawn("process::victim", UNHURRIED);
    while scene.sandbox.counters().faults_triggered == 0 || !scene.is_behind().await {
        sleep(Duration::from_millis(5)).await;
    }
    victim.kill();
    scene.sandbox.clear_faults();
    let mut server = scene.spawn("process::server", UNHURRIED);
    let seconds = server.wait_for("renewed after").expect("in time");
    println!("renewed {seconds} seconds after the start");
    assert!(server.end());
    assert!(matches!(scene.stored().await.state, GrantState::Active(_)));
}

/// Unix alone can stop a process in its tracks.
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
    victim.wait_for("begun").expect("it starts");
    while scene.sandbox.counters().faults_triggered == 0 {
        sleep(Duration::from_millis(2)).await;
    }
    signal("STOP", &victim);
    // Its lease runs out, though the process is there.
    let before = scene.stored().await.generation;
    let (_, ended) = scene.inherit().await;
    assert_eq!(ended, "active");
    let newest = scene.stored().await.generation;
    assert!(newest > before, "another has taken over");
    signal("CONT", &victim);
    // Its own answer comes in now, and gives way to what is stored.
    victim.wait_for("renewed").expect("it goes on");
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

/// The same for each store.
macro_rules! over {
    ($name:ident, $backend:expr) => {
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn p13_killed_at_every_step_in_every_mode_the_next_start_is_exact() {
                killed_at_every_step_in_every_mode($backend).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn p13_killed_at_any_time_nothing_is_lost_but_what_was_on_the_wire() {
                killed_at_any_time($backend).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn p13_killed_in_production_a_lost_answer_is_asked_for_in_time() {
                killed_in_production($backend).await;
            }

            #[cfg(unix)]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn p12_a_process_that_is_stopped_beyond_its_lease_sets_nothing_back() {
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
