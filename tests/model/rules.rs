//! What may be done with refresh tokens, and with access tokens.

use std::time::{Duration, Instant};

use tower_oauth2_client::{Error, ErrorKind, cache::BearerToken};

use crate::{
    provider::REFRESH_TOKEN_LIFETIME,
    support::{DAY, MINUTE},
    world::{Fate, Revoked, State, Use, number_in},
};

const FLOOR: Duration = Duration::from_secs(1);

/// How long after it was noted a lost exchange may be made again, with the second that it waits.
const PROMPT: Duration = Duration::from_secs(21);

/// Between two exchanges that 401s force.
const FORCED_FLOOR: Duration = Duration::from_secs(30);

/// How long a store may take to answer.
const STORING: Duration = Duration::from_secs(11);

/// Within this time before an exchange somebody else's steps may still have to do with it.
const BRIEFLY: Duration = Duration::from_secs(60);

/// How long idle grants have, once everything works, in the last third of the refresh token's life.
const ENOUGH: Duration = DAY;

/// A refresh token arrives at the provider.
pub(crate) fn presented(state: &mut State, process: u32, number: usize) -> usize {
    let now = state.times.now();
    let family = state.sets[number].family;
    let of_process = state
        .sets
        .iter()
        .flat_map(|set| set.uses.iter().map(|one| (set.family, one)))
        .filter(|(_, one)| one.process == process);
    let (mut is_double, mut last) = (false, None);
    for (of_family, one) in of_process {
        is_double |= one.fate == Fate::InProgress && of_family == family;
        last = last.max(Some(one.began));
    }
    if is_double {
        state.violated("P3: two exchanges at once");
    }
    if last.is_some_and(|last| now < last + FLOOR) {
        state.violated("P16: two exchanges within a second");
    }
    let set = &state.sets[number];
    if set.notes <= set.uses.len() {
        state.violated("P10: a refresh token is sent before that is noted");
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
            let is_given = matches!(one.fate, Fate::Given(_));
            one.process == process && one.is_forced && is_given && now < one.began + FORCED_FLOOR
        });
    if is_forced && was_forced {
        state.violated("P7: 401s force two exchanges within 30 seconds");
    }
    let uses = &mut state.sets[number].uses;
    uses.push(Use {
        process,
        began: now,
        is_forced,
        fate: Fate::InProgress,
    });
    uses.len() - 1
}

/// Whether there is no other reason for this exchange than a 401.
fn is_forced(state: &State, number: usize, now: Instant) -> bool {
    let set = &state.sets[number];
    let was_asked_for = state.asked_at.is_some_and(|at| now < at + BRIEFLY);
    let is_young = state
        .times
        .is_surely_alive(set.life, set.life.lifetime / 2 + FLOOR);
    is_young && !was_asked_for && !set.is_invalidated && set.uses.is_empty()
}

/// Why this refresh token must not be sent now.
fn forbids(state: &State, process: u32, number: usize, now: Instant) -> Option<String> {
    let set = &state.sets[number];
    let last = set.uses.last()?;
    let is_own = last.process == process;
    match last.fate {
        Fate::InProgress => return Some("P3: another process is at it".into()),
        Fate::Refused { can_look: true, .. } if is_own => {
            return Some("P15: it was refused before".into());
        }
        Fate::Refused {
            can_store: true, ..
        } => return Some("P15: it was refused before, and that was stored".into()),
        Fate::Given(_) if is_own => return Some("P11: its successor is here".into()),
        Fate::Given(next) if state.sets[next].is_committed => {
            return Some("P11: its successor is stored".into());
        }
        _ => {}
    }
    let doubts = set
        .uses
        .iter()
        .filter(|one| matches!(one.fate, Fate::Lost | Fate::Given(_) | Fate::InProgress));
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
    // Five minutes at most, and less for short tokens; or not before the end.
    let margin = if state.terms.holds {
        Duration::ZERO
    } else {
        5 * MINUTE
    };
    let is_last_call = !state
        .times
        .is_surely_alive(set.life, margin + Duration::from_millis(1));
    // By its own clock; the wall clock's steps are looked at by the library in between.
    let is_prompt = !state.terms.holds
        && doubts == 1
        && last.fate == Fate::Lost
        && now <= last.began + 2 * PROMPT
        && now >= last.began + FLOOR;
    if is_asked_for || is_last_call || is_prompt {
        return None;
    }
    Some(format!(
        "P11: its answer was lost {doubts} times, and the access token serves"
    ))
}

/// A refresh token has died of its age.
pub(crate) fn aged(state: &mut State, number: usize) {
    let born = state.sets[number].born;
    let quiet_from = state.trouble.max(born + 22 * DAY);
    if state.shelf.faults.is_empty() && quiet_from + ENOUGH < born + REFRESH_TOKEN_LIFETIME {
        state.violated("P19: an idle grant was let die");
    }
}

/// A caller who began to ask then gets a token.
pub(crate) fn handed_out(state: &mut State, process: u32, began: Instant, token: &BearerToken) {
    let header = token.header_value().to_str().unwrap();
    let number = carried(state, process, began, header);
    if process == state.process {
        state.seen = state.seen.max(Some(number));
    }
}

/// The same, by what a request carries.
pub(crate) fn carried(state: &mut State, process: u32, began: Instant, header: &str) -> usize {
    let number = number_in(header.strip_prefix("Bearer ").unwrap());
    let set = &state.sets[number];
    let is_own = set.received_by == Some(process);
    // Those who wait while it is stored have waited for it.
    let storing = if state.shelf.was_slow {
        STORING
    } else {
        Duration::ZERO
    };
    let is_news = set.answered.is_some_and(|at| at + storing >= began);
    let is_dead = state.times.is_surely_dead(set.life, is_own) && !is_news;
    let older = set.parent.map(|parent| &state.sets[parent]);
    let is_early = !set.is_committed
        && older.is_some_and(|older| {
            older.rejected_at.is_none()
                && !older.is_invalidated
                && state
                    .times
                    .is_surely_alive(older.life, Duration::from_millis(1))
        });
    let (is_unknown, is_old) = (set.answered.is_none(), set.family < state.family);
    let is_given_up = set.given_up_by == Some(process);
    let is_revoked = state.revoked == Revoked::Yes;
    for (is_so, what) in [
        (is_unknown, "a token that no answer has brought"),
        (is_dead, "P18: a dead token"),
        (is_early, "P10: a token before its save"),
        (is_old, "a token of an earlier grant"),
        (is_given_up, "an invalidated token"),
        (is_revoked, "a token of a revoked grant"),
    ] {
        if is_so && process == state.process {
            state.violated(format!("{what} is handed out: a{number}"));
        }
    }
    number
}

/// A caller gets an error.
pub(crate) fn refused(state: &mut State, error: &Error) {
    let is_right = match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Store | ErrorKind::Interrupted => true,
        ErrorKind::ReauthorizationRequired => state.may_have_ended(),
        ErrorKind::Revoked => state.revoked != Revoked::No || state.is_stored_as_revoked(),
        _ => false,
    };
    if !is_right {
        state.violated(format!("P15: not a right error: {error:?}"));
    }
}
