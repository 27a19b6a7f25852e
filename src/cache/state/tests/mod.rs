//! Decision tables: the inputs of each decision, and the result that the guarantees and the page of
//! the cache promise.
//!
//! A table is text, so that it can be compared with the docs without the code. Its first line names
//! the columns. In a [`grid`], a cell is the result for its row and column. In [`cases`], the first
//! cells of a line are inputs, and the others are results.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

use http::StatusCode;

use super::{
    Admission, CacheState, Event, Job, LostResponse, Moment, Policy, Reason, RefreshWindow,
    forced::Forced,
};
use crate::{
    cache::delivery::USUAL,
    clock::{Clock, SystemClock},
    error::{Error, ErrorKind, OAuthErrorCode, ResponseDetails},
    token::{
        AccessToken, Generation, Grant, GrantState, ReauthorizationReason, RefreshToken, TokenSet,
    },
};

mod attempt;
mod consent;
mod eviction;
mod explore;
mod finish;
mod grant_command;
mod lifetimes;
mod offer;
mod plan;
mod rejection;
mod request;
mod status;
mod stuck;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// The lifetime of the access tokens. With a jitter of 0, their advisory window begins after 3060
/// seconds, their last resort after 3330, and their mandatory window after 3540.
const LIFETIME: Duration = Duration::from_secs(3_600);

pub(super) const POLICY: Policy = Policy {
    lost_response: LostResponse::RetryOnce,
    min_refresh_interval: SECOND,
    lease: Duration::from_secs(15),
    fetch_timeout: Duration::from_secs(75),
    refresh_token_lifetime: Some(Duration::from_secs(30 * 86_400)),
    refresh_window: RefreshWindow {
        earliest: None,
        latest: None,
    },
    reuse_grace: None,
    propagation: Duration::from_secs(5),
};

const DEFER: Policy = Policy {
    lost_response: LostResponse::Defer,
    ..POLICY
};

/// When the token sets were issued, by both clocks.
static START: LazyLock<(Instant, SystemTime)> = LazyLock::new(|| {
    (
        SystemClock.monotonic() + DAY,
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000),
    )
});

/// The moment `seconds` after the token sets were issued.
fn at(seconds: u64) -> Moment<'static> {
    after(Duration::from_secs(seconds))
}

fn after(passed: Duration) -> Moment<'static> {
    let (now, wall) = *START;
    Moment {
        now: now + passed,
        wall: wall + passed,
        jitter: 0.0,
        secret_epoch: 0,
        is_staying: true,
        recoveries: 0,
        policy: &POLICY,
        delivery: &USUAL,
    }
}

/// The instant that lies so far before the moment.
fn earlier(m: Moment<'_>, by: Duration) -> Instant {
    m.now.checked_sub(by).unwrap()
}

fn with_policy<'a>(policy: &'a Policy, m: Moment<'a>) -> Moment<'a> {
    Moment { policy, ..m }
}

/// The moment at which a token has this age.
fn age(of_token: &str) -> Moment<'static> {
    at(match of_token {
        "fresh" => 600,
        "advisory" => 3_100,
        "last resort" => 3_400,
        "mandatory" => 3_550,
        "expired" => 3_700,
        other => panic!("{other}: no such age"),
    })
}

/// A token set that was issued at the start.
fn tokens(number: u64) -> TokenSet {
    issued(number, at(0))
}

fn issued(number: u64, m: Moment<'_>) -> TokenSet {
    let access_token = AccessToken::new(format!("a{number}")).unwrap();
    TokenSet::new(access_token, LIFETIME, m.wall)
        .with_refresh_token(RefreshToken::new(format!("r{number}")), m.wall)
}

fn generation(number: u64) -> Generation {
    Generation::from_u64(number)
}

fn grant(number: u64, state: GrantState) -> Grant {
    Grant::new(generation(number), state)
}

/// An active grant, whose token set has the number of its generation.
fn active(number: u64) -> Grant {
    grant(number, GrantState::Active(tokens(number)))
}

/// The intent to refresh `active(number)`.
fn refreshing(number: u64, since: SystemTime, is_replayed: bool) -> Grant {
    let tokens = tokens(number);
    grant(
        number,
        GrantState::Refreshing {
            tokens,
            since,
            is_replayed,
        },
    )
}

/// The end of `active(number)` at the provider.
fn ended(number: u64) -> Grant {
    grant(
        number + 1,
        GrantState::ReauthorizationRequired {
            tokens: tokens(number),
            reason: ReauthorizationReason::InvalidGrant,
            since: at(0).wall,
        },
    )
}

/// The end of `active(number)` by the program.
fn revoked(number: u64) -> Grant {
    grant(number + 1, GrantState::Revoked { since: at(0).wall })
}

/// A state that has loaded this grant at the start, and reported that.
fn holding(stored: &Grant) -> CacheState {
    let mut state = CacheState::default();
    // An intent is known from when it was saved.
    let known = match stored.state {
        GrantState::Refreshing { since, .. } => since.duration_since(START.1).unwrap(),
        _ => Duration::ZERO,
    };
    state.adopt(Some(stored), after(known));
    state.take_events();
    state
}

/// The record of a refresh after a 401, which was started at this time.
fn forced(at: Instant) -> Forced {
    Forced {
        at,
        generation: generation(1),
        times: 0,
    }
}

/// Requests a refresh that is started.
fn start(state: &mut CacheState, reason: Reason, m: Moment<'_>) -> Job {
    match state.request(reason, m) {
        Admission::Start(job, _) => {
            state.start(&job);
            job
        }
        other => panic!("{reason:?}: {other:?}"),
    }
}

/// The token endpoint is down.
fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "down")
}

/// The token endpoint is down, and says for how long.
fn down_for(pause: Duration) -> Error {
    down().with_response(ResponseDetails {
        status: Some(StatusCode::SERVICE_UNAVAILABLE),
        retry_after: Some(pause),
        ..ResponseDetails::default()
    })
}

fn lost() -> Error {
    Error::response_lost("timeout")
}

fn invalid_client() -> Error {
    Error::new(ErrorKind::Refused, "invalid_client").with_response(ResponseDetails {
        code: Some(OAuthErrorCode::InvalidClient),
        ..ResponseDetails::default()
    })
}

fn store_down() -> Error {
    Error::store("disk full")
}

/// The error, as tables name it.
fn name(error: &Error) -> &'static str {
    let message = error.to_string();
    match error.kind() {
        _ if message.contains("sent again after a pause") => "paused",
        _ if error.is_response_lost() => "lost",
        _ if error.is_invalid_grant() => "invalid grant",
        _ if error.is_invalid_client() => "invalid client",
        ErrorKind::NoGrant => "no grant",
        ErrorKind::ReauthorizationRequired => "ended",
        ErrorKind::Revoked => "revoked",
        ErrorKind::Store if message.starts_with("the newest token set") => "unsaved",
        ErrorKind::Interrupted if message.contains("stood still") => "stalled",
        ErrorKind::Store if message.starts_with("a new token set") => "abandoned",
        ErrorKind::Store if message.starts_with("saving the grant") => "contended",
        ErrorKind::Store => "store down",
        ErrorKind::Interrupted => "shut down",
        ErrorKind::Unavailable if message == "down" => "down",
        ErrorKind::Unavailable if message.contains("only seconds old") => "propagating",
        ErrorKind::Unavailable if message.starts_with("the provider refuses") => "too early",
        ErrorKind::Unavailable if message.starts_with("the API rejected") => "rejected again",
        ErrorKind::Unavailable if message.starts_with("the lease expired") => "lease expired",
        ErrorKind::Unavailable if message.starts_with("another process") => "leased elsewhere",
        ErrorKind::Unavailable if message.ends_with("already expired") => "adopted expired",
        ErrorKind::Unavailable if message.starts_with("the new access token") => "saved late",
        ErrorKind::Unavailable if message.starts_with("the newest token set") => "due again",
        ErrorKind::Refused => "refused",
        ErrorKind::InvalidResponse => "invalid response",
        kind => panic!("{kind:?}: {message}"),
    }
}

/// The events that were not taken yet, oldest first, or `-` without any.
fn events(state: &mut CacheState) -> String {
    let names: Vec<String> = state.take_events().iter().map(event_name).collect();
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(", ")
    }
}

fn event_name(event: &Event) -> String {
    match event {
        Event::Adopted(generation) => format!("adopted {generation}"),
        Event::ConsentRejected(by) => format!("consent rejected by {by}"),
        Event::ExpiryCorrected(by) => format!("corrected by {} s", by.as_secs()),
        Event::Installed(generation) => format!("installed {generation}"),
        Event::Invalidated(generation) => format!("invalidated {generation}"),
        Event::EndSaved(_) => "end saved".to_owned(),
        Event::ReauthorizationRequired { reason, .. } => reason.as_str().to_owned(),
        Event::Recovered { lasted } => format!("recovered after {} s", lasted.as_secs()),
        Event::RefreshCompleted { result, .. } => format!("completed: {result}"),
        Event::RefreshFailed { error, .. } => format!("failed: {}", name(error)),
        Event::RefreshTokenMissing(decision) => {
            format!("no refresh token: {}", decision.as_str())
        }
        Event::RefreshTokenExpiring { days_left } => format!("{days_left} days"),
        Event::Refreshed { generation, .. } => format!("refreshed {generation}"),
        Event::RejectedAgain { times, pause } => {
            format!("rejected again {times}, {} s", pause.as_secs())
        }
        Event::Remaining { access_token, .. } => access_token.map_or_else(
            || "unknown left".to_owned(),
            |access_token| format!("{} s left", access_token.as_secs()),
        ),
        Event::ResponseLost { is_replayed, .. } if *is_replayed => "lost, replayed".to_owned(),
        Event::ResponseLost { .. } => "lost".to_owned(),
        Event::Revoked => "revoked".to_owned(),
        Event::SaveFailed { unsaved, .. } => format!("unsaved for {} s", unsaved.as_secs()),
        Event::Stuck {
            error,
            attempts,
            lasts,
        } => format!(
            "stuck by {} after {attempts} in {} s",
            name(error),
            lasts.as_secs()
        ),
    }
}

/// The grant that requests use, such as `2`, `2 intent`, `3 ended` or `none`.
fn held(state: &CacheState) -> String {
    state.held.grant().map_or("none".to_owned(), grant_name)
}

fn grant_name(grant: &Grant) -> String {
    let generation = grant.generation;
    match &grant.state {
        GrantState::Active(_) => generation.to_string(),
        GrantState::Refreshing {
            is_replayed: false, ..
        } => format!("{generation} intent"),
        GrantState::Refreshing { .. } => format!("{generation} replay"),
        GrantState::ReauthorizationRequired { .. } => format!("{generation} ended"),
        GrantState::Revoked { .. } => format!("{generation} revoked"),
    }
}

/// A time as tables write it, such as `999 ms`, `30 s` or `20 d`. `None` for `never`.
fn duration(text: &str) -> Option<Duration> {
    if text == "never" {
        return None;
    }
    let (number, unit) = text.split_once(' ').unwrap();
    let number: u32 = number.parse().unwrap();
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => SECOND,
        "d" => DAY,
        other => panic!("{other}: no such unit"),
    };
    Some(unit * number)
}

/// Compares each cell of a table with the result for its row and column.
fn grid(table: &str, decide: impl Fn(&str, &str) -> String) {
    let lines = lines(table);
    let (columns, rows) = lines.split_first().unwrap();
    let mut wrong = Vec::new();
    for row in rows {
        assert_eq!(row.len(), columns.len(), "{row:?}");
        for (column, expected) in columns.iter().zip(row).skip(1) {
            let actual = decide(row[0], column);
            if actual != *expected {
                wrong.push(format!(
                    "{} | {column}: expected {expected}, got {actual}",
                    row[0]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// Compares the last cells of each line with the results for the first ones.
fn cases<const INPUTS: usize, const RESULTS: usize>(
    table: &str,
    decide: impl Fn([&str; INPUTS]) -> [String; RESULTS],
) {
    let mut wrong = Vec::new();
    for line in &lines(table)[1..] {
        assert_eq!(line.len(), INPUTS + RESULTS, "{line:?}");
        let (inputs, expected) = line.split_at(INPUTS);
        let actual = decide(inputs.try_into().unwrap());
        if actual != expected {
            wrong.push(format!(
                "{}: expected {}, got {}",
                inputs.join(" | "),
                expected.join(" | "),
                actual.join(" | ")
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn lines(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.split('|').map(str::trim).collect())
        .collect()
}

/// Reads a cell that is `yes` or `no`.
fn is(cell: &str) -> bool {
    match cell {
        "yes" => true,
        "no" => false,
        other => panic!("{other}: neither yes nor no"),
    }
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}
