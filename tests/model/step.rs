//! The steps of a life.

use std::time::Duration;

use proptest::prelude::*;

use crate::support::{DAY, HOUR, MINUTE};

/// Expired on arrival, shorter than a backoff, and so on.
const LIFETIMES: [Duration; 5] = [Duration::ZERO, Duration::from_secs(5), MINUTE, HOUR, DAY];

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Requests a token and waits for it; gives up after a time; or many callers at once.
    Token,
    TokenDropped(Duration),
    Tokens(u8),
    /// A request through the layer, with the same variants.
    Call,
    CallDropped(Duration),
    Calls(u8),
    RefreshNow,
    RefreshDropped(Duration),
    Invalidate,
    Replace(Duration),
    Revoke,
    RevokeDropped,
    Pass(Duration),
    SetWall(i64),
    Suspend(u32),
    /// Scripts the next token request, and sets the duration of all of them.
    Next(Handling),
    Delay(Duration),
    /// The API rejects the newest access token, although its grant is valid.
    Ban,
    Revocations(bool),
    Store(Fault, bool),
    Latency(Duration),
    /// The process ends, and another one starts with the same store.
    Restart,
}

/// The provider's handling of a token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handling {
    Issue(Duration),
    /// It fails before it checks the refresh token.
    Fail,
    /// The response is lost in one of four ways, before or after the refresh token was checked.
    Lost(Loss, bool),
    /// The customer has disconnected the application.
    Disconnect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    Reported,
    /// An error that proves nothing about the refresh token.
    Unproven,
    Hang,
    Panic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    LoadsFail,
    IntentsFail,
    SavesFail,
    /// Saves commit and never return.
    SavesHang,
}

/// A life.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    /// Whether the provider has a reuse grace of one minute.
    pub(crate) has_reuse_grace: bool,
    /// Whether the cache defers a refresh token whose response was lost.
    pub(crate) defers: bool,
    pub(crate) steps: Vec<Step>,
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let steps = prop::collection::vec(step(), 20..200);
    let defers = prop::bool::weighted(0.25);
    (any::<u64>(), any::<bool>(), defers, steps).prop_map(
        |(seed, has_reuse_grace, defers, steps)| Case {
            seed,
            has_reuse_grace,
            defers,
            steps,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let requests = prop_oneof![
        8 => Just(Step::Token),
        3 => moment().prop_map(Step::TokenDropped),
        2 => (2_u8..20).prop_map(Step::Tokens),
        8 => Just(Step::Call),
        3 => moment().prop_map(Step::CallDropped),
        2 => (2_u8..20).prop_map(Step::Calls),
    ];
    let commands = prop_oneof![
        5 => Just(Step::RefreshNow),
        2 => moment().prop_map(Step::RefreshDropped),
        2 => Just(Step::Invalidate),
        3 => lifetime().prop_map(Step::Replace),
        1 => Just(Step::Revoke),
        1 => Just(Step::RevokeDropped),
        2 => Just(Step::Restart),
    ];
    let times = prop_oneof![
        16 => pause().prop_map(Step::Pass),
        1 => (-7_200_i64..=7_200).prop_map(Step::SetWall),
        1 => (1_u32..300_000).prop_map(Step::Suspend),
    ];
    let providers = prop_oneof![
        8 => handling().prop_map(Step::Next),
        1 => moment().prop_map(Step::Delay),
        2 => Just(Step::Ban),
        1 => any::<bool>().prop_map(Step::Revocations),
    ];
    let stores = prop_oneof![
        4 => (fault(), prop::bool::weighted(0.4)).prop_map(|(fault, on)| Step::Store(fault, on)),
        1 => prop::sample::select(&[0, 0, 5, 700, 3_000][..])
            .prop_map(|millis| Step::Latency(Duration::from_millis(millis))),
    ];
    prop_oneof![8 => requests, 3 => commands, 6 => times, 4 => providers, 2 => stores]
}

fn handling() -> impl Strategy<Value = Handling> {
    let loss = prop::sample::select(
        &[
            Loss::Reported,
            Loss::Unproven,
            Loss::Unproven,
            Loss::Hang,
            Loss::Panic,
        ][..],
    );
    prop_oneof![
        8 => lifetime().prop_map(Handling::Issue),
        4 => Just(Handling::Fail),
        6 => (loss, any::<bool>()).prop_map(|(loss, is_judged)| Handling::Lost(loss, is_judged)),
        1 => Just(Handling::Disconnect),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(
        &[
            Fault::LoadsFail,
            Fault::IntentsFail,
            Fault::SavesFail,
            Fault::SavesHang,
        ][..],
    )
}

fn lifetime() -> impl Strategy<Value = Duration> {
    prop::sample::select(&LIFETIMES[..])
}

/// How long an action takes, or a caller waits.
fn moment() -> impl Strategy<Value = Duration> {
    prop::sample::select(&[0, 1, 50, 999, 3_000, 12_000][..]).prop_map(Duration::from_millis)
}

/// From milliseconds to 40 days, at a logarithmic scale with few very long ones.
fn pause() -> impl Strategy<Value = Duration> {
    let power = prop_oneof![30 => 0_u32..26, 1 => 26_u32..32];
    (power, 1_000_u64..2_000)
        .prop_map(|(power, thousandths)| Duration::from_millis((thousandths << power) / 1_000))
        .prop_map(|time| time.min(40 * DAY))
}
