//! Random lives of customers at each provider, in virtual time: calls, idle hours, rejected tokens,
//! failures of the token endpoint, false deaths, restarts and replicas.
//!
//! No life ends but by the provider's will: the listener is called for no end, no family is
//! revoked, and the customer's calls succeed again once the failures are over. Then the customer
//! withdraws the consent, and the listener is called once.
//!
//! Each provider has 4 lives in a normal run. This runs 10,000:
//!
//! ```text
//! PERSONA_LIVES=10000 cargo test --release --features sandbox --test personas lives -- --nocapture
//! ```
//!
//! `PERSONA_SEED` sets the first seed; a failure names the seed of its life.

use std::env;

use http::StatusCode;
use tower_oauth2_client::{
    provider::catalog::{self, Entry},
    sandbox::{Endpoint, Fault, Rotation, SandboxService},
};

use crate::{
    partner::{Partner, sandbox_of},
    shared::{MINUTE, ManualClock, SECOND, pass},
};

const LIVES: u64 = 4;
const STEPS: u32 = 16;

#[tokio::test(start_paused = true)]
async fn p15_no_random_life_ends_without_the_provider() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let lives = number("PERSONA_LIVES").unwrap_or(LIVES);
    let first = number("PERSONA_SEED").unwrap_or(1);
    for entry in catalog::all() {
        let mut total = Total::default();
        for seed in first..first + lives {
            let lived = live(entry, seed).await;
            let lived =
                lived.unwrap_or_else(|problem| panic!("{}, seed {seed}: {problem}", entry.name()));
            total.add(&lived);
        }
        println!(
            "{:18} {lives} lives, {} refreshes, {} failures, {} 401, {} false deaths",
            entry.name(),
            total.refreshes,
            total.faults,
            total.unauthorized,
            total.false_deaths,
        );
    }
}

#[derive(Default)]
struct Total {
    refreshes: u64,
    faults: u64,
    unauthorized: u64,
    false_deaths: u64,
}

impl Total {
    fn add(&mut self, other: &Self) {
        self.refreshes += other.refreshes;
        self.faults += other.faults;
        self.unauthorized += other.unauthorized;
        self.false_deaths += other.false_deaths;
    }
}

/// One life. The error says what went wrong in it.
async fn live(entry: Entry, seed: u64) -> Result<Total, String> {
    let salt = entry.name().bytes().fold(0_u64, |salt, byte| {
        salt.wrapping_mul(31).wrapping_add(byte.into())
    });
    let mut random = fastrand::Rng::with_seed(seed ^ salt);
    let clock = ManualClock::new();
    let sandbox = sandbox_of(entry, &clock, seed).build();
    let http = sandbox.service();
    let mut partner = Partner::new(entry, sandbox, clock, http, seed);
    partner.connect().await?;
    let mut total = Total::default();
    for step in 0..STEPS {
        let number = seed.wrapping_mul(u64::from(STEPS)) + u64::from(step);
        act(&mut partner, &mut random, number, &mut total).await;
        let ends = partner.ends.take();
        if !ends.is_empty() {
            return Err(format!("step {step}: the grant ended: {ends:?}"));
        }
    }
    recover(&partner).await?;
    let counters = partner.sandbox.counters();
    if counters.grants_revoked + counters.misdirected > 0 {
        return Err(format!("{counters:?}"));
    }
    total.refreshes = counters.refreshes;
    total.unauthorized = counters.unauthorized;
    if partner.persona.has_refresh_tokens() {
        die(&partner).await?;
    }
    Ok(total)
}

/// One random step.
async fn act(
    partner: &mut Partner<SandboxService>,
    random: &mut fastrand::Rng,
    number: u64,
    total: &mut Total,
) {
    match random.u8(0..100) {
        0..25 => {
            let _ = partner.call().await;
        }
        25..45 => idle(partner, random.u64(1..43_200)).await,
        // Without a refresh token, this would end the grant.
        45..60 if !partner.persona.has_refresh_tokens() => {}
        45..55 => partner.sandbox.revoke_access_tokens(),
        55..60 => partner.sandbox.expire_access_tokens(),
        60..75 => {
            total.faults += 1;
            let fault = fault(partner, random);
            partner.sandbox.inject(Endpoint::Token, fault);
            let _ = partner.tokens.refresh_now().await;
            // The endpoint is back within every grace.
            partner.sandbox.clear_faults();
            pass(MINUTE).await;
        }
        75..80 => {
            if let Some(false_death) = partner.persona.false_death() {
                total.false_deaths += 1;
                partner.sandbox.inject(Endpoint::Token, false_death);
                let _ = partner.tokens.refresh_now().await;
            }
        }
        80..90 => {
            // Two processes on one store, both with several requests.
            let other = partner.replica(number);
            let _ = tokio::join!(
                partner.call(),
                partner.call(),
                other.call(),
                other.call(),
                other.tokens.refresh_now(),
                partner.tokens.refresh_now(),
            );
        }
        _ => partner.restart(number),
    }
    partner.sandbox.clear_faults();
}

/// A failure of the token endpoint. A response is lost after the provider processed the request
/// only where the provider accepts the refresh token again, and once: elsewhere the new refresh
/// token is lost with it.
fn fault(partner: &Partner<SandboxService>, random: &mut fastrand::Rng) -> Fault {
    let fault = match random.u8(0..6) {
        0 => Fault::drop_connection(),
        1 => Fault::reset(),
        2 => Fault::status(StatusCode::SERVICE_UNAVAILABLE).retry_after("3"),
        3 => Fault::status(StatusCode::INTERNAL_SERVER_ERROR),
        4 => Fault::status(StatusCode::TOO_MANY_REQUESTS),
        _ => return Fault::delay(SECOND * random.u32(1..20)),
    };
    let accepts_again = match partner.sandbox.behavior().rotation {
        Rotation::None | Rotation::Deferred => true,
        Rotation::Grace { window, .. } => window >= MINUTE * 5,
        _ => false,
    };
    if accepts_again && random.bool() {
        fault.after_processing()
    } else {
        fault.times(random.u64(1..3))
    }
}

/// The failures are over: after some time the customer's call succeeds.
async fn recover(partner: &Partner<SandboxService>) -> Result<(), String> {
    if !partner.persona.has_refresh_tokens() {
        // A rejected token cannot be replaced.
        return Ok(());
    }
    let mut last = Ok(StatusCode::OK);
    for _ in 0..5 {
        idle(partner, 3_600).await;
        last = partner.call().await;
        if last == Ok(StatusCode::OK) {
            return Ok(());
        }
    }
    Err(format!("did not recover: {last:?}"))
}

/// Seconds pass: most at once, as in a suspended machine, because a sleep of hours wakes each task
/// of the cache thousands of times.
async fn idle(partner: &Partner<SandboxService>, seconds: u64) {
    partner.advance(seconds);
    pass(SECOND * 20).await;
}

async fn die(partner: &Partner<SandboxService>) -> Result<(), String> {
    partner.ends.take();
    partner.sandbox.revoke_grants();
    // Exact Online refuses an earlier refresh. A refresh in the background may be the first.
    idle(partner, 24 * 3_600).await;
    let outcome = partner.tokens.refresh_now().await;
    let ends = partner.ends.take();
    if outcome.is_ok() || ends.len() != 1 {
        return Err(format!(
            "the listener was called for {ends:?} after a death"
        ));
    }
    Ok(())
}
