//! Random lives of a grant: random steps with a strict provider, and a check of the guarantees
//! after each step.
//!
//! The test knows the truth, and the cache only what it receives. The rules are therefore those of
//! an observer: they forbid what a program with that knowledge must not do, and permit what the
//! docs permit. `PROPTEST_CASES` sets the number of lives.

#![allow(clippy::unchecked_time_subtraction, reason = "of times in the past")]

#[path = "../support/mod.rs"]
mod support;

mod api;
mod callers;
mod provider;
mod recovery;
mod rules;
mod run;
mod step;
mod store;
mod times;
mod truth;
mod world;

use std::time::Duration;

use proptest::prelude::*;

use crate::{
    run::Run,
    step::{Case, Step, case},
};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn model_guarantees_hold_in_every_case(case in case()) {
        live(&case);
    }
}

/// As many lives as fit into a minute, unless `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => usual.cases,
        None => 64,
    };
    ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..usual
    }
}

fn live(case: &Case) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut run = Run::begin(case).await;
        for step in &case.steps {
            run.step(step).await;
        }
        recovery::recover(&mut run).await;
        run.world.lock().is_over = true;
    });
}

#[test]
fn model_api_that_rejects_all_tokens_causes_few_refreshes() {
    let steps = [Step::Ban, Step::Call, Step::Pass(support::MINUTE / 30)];
    live(&Case {
        seed: 7,
        has_reuse_grace: false,
        defers: false,
        steps: steps.into_iter().cycle().take(60).collect(),
    });
}

/// An expired token is held while a refresh waits for the lease. Another process then saves a valid
/// one, which serves while the next one is being saved.
#[test]
fn p10_new_token_is_saved_first_if_another_process_has_replaced_the_expired_one() {
    let mut steps = vec![
        Step::Latency(Duration::from_secs(3)),
        Step::RefreshDropped(Duration::from_secs(12)),
        Step::Replace(Duration::ZERO),
        Step::Restart,
        Step::RefreshNow,
    ];
    steps.extend([Step::Token, Step::Token]);
    live(&Case {
        seed: 0,
        has_reuse_grace: false,
        defers: false,
        steps,
    });
}
