//! Lives of a grant that nobody has thought of: random steps, a strict provider, and what is promised checked after each.
//!
//! The test knows what is true, the cache only what it is told. So the rules are those of an outsider: they forbid what no
//! program may do that knows as much, and allow what the docs allow. `PROPTEST_CASES` sets how many lives there are.

#![allow(
    clippy::unchecked_time_subtraction,
    reason = "of times that have passed"
)]

#[path = "../support/mod.rs"]
mod support;

mod api;
mod callers;
mod heal;
mod provider;
mod rules;
mod run;
mod shelf;
mod step;
mod times;
mod truth;
mod world;

use proptest::prelude::*;

use crate::{
    run::Run,
    step::{Case, Step, case},
};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn model_the_promises_hold_in_every_life(case in case()) {
        live(&case);
    }
}

/// As many lives as a few seconds have room for, unless somebody asks for more.
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
        heal::heal(&mut run).await;
        run.world.lock().is_over = true;
    });
}

#[test]
fn model_an_api_that_takes_no_token_forces_few_exchanges() {
    let steps = [Step::Ban, Step::Call, Step::Pass(support::MINUTE / 30)];
    live(&Case {
        seed: 7,
        forgives: false,
        holds: false,
        steps: steps.into_iter().cycle().take(60).collect(),
    });
}
