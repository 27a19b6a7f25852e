//! The rules for the use of refresh tokens and access tokens.

use std::time::{Duration, Instant};

use tower_oauth2_client::{Error, ErrorKind, cache::BearerToken};

use crate::{
    provider::REFRESH_TOKEN_LIFETIME,
    support::{DAY, HOUR, MINUTE},
    world::{Outcome, Revoked, State, Use, number_in},
};

const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// How long after its intent a lost refresh may be replayed, including the minimum interval.
const PROMPT: Duration = Duration::from_secs(21);

/// The shortest time between two refreshes that 401 responses cause.
const FORCED_REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// How long a store may take to respond.
const STORING: Duration = Duration::from_secs(11);

/// How long before a refresh another process's steps may still influence it.
const BRIEFLY: Duration = Duration::from_secs(60);

/// How long an idle grant has, once everything works, in the last third of the refresh token's
/// lifetime.
const ENOUGH: Duration = DAY;

/// A refresh token arrives at the provider.
pub(crate) fn refresh_token_sent(state: &mut State, process: u32, number: usize) -> usize {
    let now = state.times.now();
    let family = state.sets[number].family;
    let of_process = state
        .sets
        .iter()
        .flat_map(|set| set.uses.iter().map(|one| (set.family, one)))
        .filter(|(_, one)| one.process == process);
    let (mut is_double, mut last) = (false, None);
    for (of_family, one) in of_process {
        is_double |= one.outcome == Outcome::InProgress && of_family == family;
        last = last.max(Some(one.began));
    }
    if is_double {
        state.violated("P3: two refreshes at once");
    }
    if last.is_some_and(|last| now < last + MIN_REFRESH_INTERVAL) {
        state.violated("P16: two refreshes within a second");
    }
    let set = &state.sets[number];
    if set.intents <= set.uses.len() {
        state.violated("P10: a refresh token is sent before its intent is saved");
    }
    if let Some(why) = forbids(state, process, number, now) {
        state.violated(format!("r{number} is sent again: {why}"));
    }
    let is_forced = is_forced(state, number, now);
    let was_forced = state
        .sets
        .iter()
        .filter(|set| set.family == family)
        .flat_map(|set| &set.uses)
        .any(|one| {
            let is_given = matches!(one.outcome, Outcome::Tokens(_));
            one.process == process
                && one.is_forced
                && is_given
                && now < one.began + FORCED_REFRESH_INTERVAL
        });
    if is_forced && was_forced {
        state.violated("P7: 401s cause two refreshes within 30 seconds");
    }
    let uses = &mut state.sets[number].uses;
    uses.push(Use {
        process,
        began: now,
        is_forced,
        outcome: Outcome::InProgress,
    });
    uses.len() - 1
}

/// Whether a 401 is the only reason for this refresh.
fn is_forced(state: &State, number: usize, now: Instant) -> bool {
    let set = &state.sets[number];
    let was_asked_for = state.asked_at.is_some_and(|at| now < at + BRIEFLY);
    let is_young = state.times.is_certainly_valid(
        set.validity,
        set.validity.lifetime / 2 + MIN_REFRESH_INTERVAL,
    );
    // The age of the refresh token is then unknown, so the grant is kept alive at once, once.
    let may_be_kept_alive = state.times.was_set_back_since(set.validity, HOUR);
    is_young && !was_asked_for && !may_be_kept_alive && !set.is_invalidated && set.uses.is_empty()
}

/// Why this refresh token must not be sent now.
fn forbids(state: &State, process: u32, number: usize, now: Instant) -> Option<String> {
    let set = &state.sets[number];
    let last = set.uses.last()?;
    let is_own = last.process == process;
    match last.outcome {
        Outcome::InProgress => return Some("P3: another process is refreshing".into()),
        Outcome::Rejected { can_look: true, .. } if is_own => {
            return Some("P15: it was rejected before".into());
        }
        Outcome::Rejected {
            can_store: true, ..
        } => return Some("P15: it was rejected before, and that was saved".into()),
        Outcome::Tokens(_) if is_own => return Some("P11: its successor was received".into()),
        Outcome::Tokens(next) if state.sets[next].is_committed => {
            return Some("P11: its successor is stored".into());
        }
        _ => {}
    }
    let doubts = set.uses.iter().filter(|one| {
        matches!(
            one.outcome,
            Outcome::Lost | Outcome::Tokens(_) | Outcome::InProgress
        )
    });
    let doubts = doubts.count();
    if doubts == 0 {
        return None;
    }
    let since = if is_own {
        last.began
    } else {
        last.began.checked_sub(BRIEFLY)?
    };
    let is_asked_for = state.asked_at.is_some_and(|at| at >= since)
        || set.rejected_at.is_some_and(|at| at >= since)
        || set.is_invalidated;
    // At most 5 minutes, and less for short lifetimes; or not before the expiry.
    let margin = if state.terms.defers {
        Duration::ZERO
    } else {
        5 * MINUTE
    };
    let is_last_call = !state
        .times
        .is_certainly_valid(set.validity, margin + Duration::from_millis(1));
    // By the process's own clock. The cache checks the steps of the wall clock in between.
    let is_prompt = !state.terms.defers
        && doubts == 1
        && last.outcome == Outcome::Lost
        && now <= last.began + 2 * PROMPT
        && now >= last.began + MIN_REFRESH_INTERVAL;
    if is_asked_for || is_last_call || is_prompt {
        return None;
    }
    Some(format!(
        "P11: its response was lost {doubts} times, and the access token is valid"
    ))
}

/// A refresh token has expired.
pub(crate) fn aged(state: &mut State, number: usize) {
    let born = state.sets[number].born;
    let quiet_from = state.trouble.max(born + 22 * DAY);
    if state.store.faults.is_empty() && quiet_from + ENOUGH < born + REFRESH_TOKEN_LIFETIME {
        state.violated("P19: an idle grant expired");
    }
}

/// A caller that began at this time gets a token.
pub(crate) fn token_returned(state: &mut State, process: u32, began: Instant, token: &BearerToken) {
    let header = token.header_value().to_str().unwrap();
    let number = request_sent(state, process, began, header);
    if process == state.process {
        state.seen = state.seen.max(Some(number));
    }
}

/// A caller that began at this time sends a request with this header.
pub(crate) fn request_sent(state: &mut State, process: u32, began: Instant, header: &str) -> usize {
    let number = number_in(header.strip_prefix("Bearer ").unwrap());
    let set = &state.sets[number];
    let is_own = set.received_by == Some(process);
    // Callers that waited during the save may get the token late.
    let storing = if state.store.was_slow {
        STORING
    } else {
        Duration::ZERO
    };
    let is_news = set.received_at.is_some_and(|at| at + storing >= began);
    let is_expired = state.times.is_certainly_expired(set.validity, is_own) && !is_news;
    let older = set.parent.map(|parent| &state.sets[parent]);
    let is_early = !set.is_committed
        && older.is_some_and(|older| {
            older.rejected_at.is_none()
                && !older.is_invalidated
                && state
                    .times
                    .is_certainly_valid(older.validity, Duration::from_millis(1))
        });
    let (is_unknown, is_old) = (set.received_at.is_none(), set.family < state.family);
    let is_given_up = set.given_up_by == Some(process);
    let is_revoked = state.revoked == Revoked::Yes;
    for (is_so, what) in [
        (is_unknown, "a token that was never issued"),
        (is_expired, "P18: an expired token"),
        (is_early, "P10: a token before its save"),
        (is_old, "a token of an earlier grant"),
        (is_given_up, "an invalidated token"),
        (is_revoked, "a token of a revoked grant"),
    ] {
        if is_so && process == state.process {
            state.violated(format!("{what} is returned: a{number}"));
        }
    }
    number
}

/// A caller gets an error.
pub(crate) fn call_failed(state: &mut State, error: &Error) {
    let is_right = match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Store | ErrorKind::Interrupted => true,
        ErrorKind::ReauthorizationRequired => state.may_have_ended(),
        ErrorKind::Revoked => state.revoked != Revoked::No || state.is_stored_as_revoked(),
        _ => false,
    };
    if !is_right {
        state.violated(format!("P15: a wrong error: {error:?}"));
    }
}
