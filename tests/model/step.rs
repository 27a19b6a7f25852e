//! What may happen to a cache, one thing after the other.

use std::time::Duration;

use proptest::prelude::*;

use crate::support::{DAY, HOUR, MINUTE};

/// Dead on arrival, shorter than a pause, and so on.
const LIFETIMES: [Duration; 5] = [Duration::ZERO, Duration::from_secs(5), MINUTE, HOUR, DAY];

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Asks for a token and waits for it; or gives up after a time; or many do at once.
    Token,
    TokenDropped(Duration),
    Tokens(u8),
    /// The same for requests through the layer.
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
    /// What the provider makes of the next exchange that nothing else was said about, and how long it takes for all of them.
    Next(Turn),
    Delay(Duration),
    /// The API takes the newest access token no more, though its grant is alive.
    Ban,
    Revocations(bool),
    Store(Fault, bool),
    Latency(Duration),
    /// The process ends, and another begins with the same store.
    Restart,
}

/// What a provider makes of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Give(Duration),
    /// It does not come as far as to look at the refresh token.
    Down,
    /// The answer is lost in one of three ways, before or after the refresh token was judged.
    Lost(Loss, bool),
    /// The customer has disconnected the application.
    Disconnect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    Told,
    Hang,
    Panic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    LoadsFail,
    NotesFail,
    SavesFail,
    /// They happen, but nobody hears of it.
    SavesHang,
}

/// A whole life.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    /// Whether the provider forgives a second use of a refresh token for a minute.
    pub(crate) forgives: bool,
    /// Whether the cache holds back a refresh token whose answer was lost.
    pub(crate) holds: bool,
    pub(crate) steps: Vec<Step>,
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let steps = prop::collection::vec(step(), 20..200);
    let holds = prop::bool::weighted(0.25);
    (any::<u64>(), any::<bool>(), holds, steps).prop_map(|(seed, forgives, holds, steps)| Case {
        seed,
        forgives,
        holds,
        steps,
    })
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
        8 => turn().prop_map(Step::Next),
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

fn turn() -> impl Strategy<Value = Turn> {
    let loss = prop::sample::select(&[Loss::Told, Loss::Told, Loss::Hang, Loss::Panic][..]);
    prop_oneof![
        8 => lifetime().prop_map(Turn::Give),
        4 => Just(Turn::Down),
        6 => (loss, any::<bool>()).prop_map(|(loss, is_judged)| Turn::Lost(loss, is_judged)),
        1 => Just(Turn::Disconnect),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(
        &[
            Fault::LoadsFail,
            Fault::NotesFail,
            Fault::SavesFail,
            Fault::SavesHang,
        ][..],
    )
}

fn lifetime() -> impl Strategy<Value = Duration> {
    prop::sample::select(&LIFETIMES[..])
}

/// How long something takes, or a caller is patient.
fn moment() -> impl Strategy<Value = Duration> {
    prop::sample::select(&[0, 1, 50, 999, 3_000, 12_000][..]).prop_map(Duration::from_millis)
}

/// From milliseconds to 40 days, the shorter and the longer ones as likely, but few are very long.
fn pause() -> impl Strategy<Value = Duration> {
    let power = prop_oneof![30 => 0_u32..26, 1 => 26_u32..32];
    (power, 1_000_u64..2_000)
        .prop_map(|(power, thousandths)| Duration::from_millis((thousandths << power) / 1_000))
        .prop_map(|time| time.min(40 * DAY))
}
