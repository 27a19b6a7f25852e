//! Grants to save, and what is wrong with the ones that come back.

use std::time::{Duration, SystemTime};

use crate::token::{
    AccessToken, Generation, Grant, GrantState, ReauthorizationReason, RefreshToken, TokenSet,
};

/// As long as the longest that providers are known to send, and then some.
const LONG: usize = 16 * 1024;

/// A grant that asks nothing special of a store, so that it does not fail where something else is looked at. Two are the
/// same only if generation and word are.
pub(super) fn plain(generation: u64, word: &str) -> Grant {
    let at = moment(0);
    let tokens = TokenSet::new(
        access_token(format!("access-{word}-{generation}")),
        Duration::from_secs(86_400),
        at,
    )
    .with_refresh_token(
        RefreshToken::new(format!("refresh-{word}-{generation}")),
        at,
    );
    Grant {
        generation: Generation::from_u64(generation),
        state: GrantState::Active(tokens),
    }
}

pub(super) fn tombstone(generation: u64) -> Grant {
    let since = moment(0);
    Grant {
        generation: Generation::from_u64(generation),
        state: GrantState::Revoked { since },
    }
}

/// Each state with everything that can stand in it, and a word for each.
pub(super) fn states() -> Vec<(&'static str, Grant)> {
    let since = moment(987_654_321);
    let mut states = vec![
        ("an active grant", GrantState::Active(full())),
        ("one of bare tokens", GrantState::Active(bare())),
        ("one without a scope", GrantState::Active(unscoped())),
        ("one of long tokens", GrantState::Active(long())),
        (
            "one of every character",
            GrantState::Active(all_characters()),
        ),
        ("one of the year 1970", GrantState::Active(first_moment())),
        ("a tombstone", GrantState::Revoked { since }),
    ];
    for (word, is_replayed) in [
        ("an exchange", false),
        ("an exchange that is replayed", true),
    ] {
        let tokens = full();
        states.push((
            word,
            GrantState::Exchanging {
                tokens,
                since,
                is_replayed,
            },
        ));
    }
    for (word, reason) in [
        (
            "an end by invalid_grant",
            ReauthorizationReason::InvalidGrant,
        ),
        ("an end by age", ReauthorizationReason::RefreshTokenExpired),
        (
            "an end by a lost rotation",
            ReauthorizationReason::RotationLost,
        ),
    ] {
        let tokens = full();
        states.push((
            word,
            GrantState::ReauthorizationRequired {
                tokens,
                reason,
                since,
            },
        ));
    }
    let grant = |(word, state)| {
        let generation = Generation::FIRST;
        (word, Grant { generation, state })
    };
    states.into_iter().map(grant).collect()
}

fn full() -> TokenSet {
    unscoped().with_scope("company.basic:read deductions:write")
}

fn unscoped() -> TokenSet {
    // The refresh token is older, as where a provider does not replace it.
    TokenSet::new(
        access_token("access-of-a-state".into()),
        Duration::from_millis(86_399_999),
        moment(123_456_789),
    )
    .with_refresh_token(RefreshToken::new("refresh-of-a-state"), moment(1))
}

fn bare() -> TokenSet {
    TokenSet::new(
        access_token("access-of-a-bare-state".into()),
        Duration::ZERO,
        moment(999_999_999),
    )
}

fn long() -> TokenSet {
    let at = moment(0);
    TokenSet::new(access_token("a".repeat(LONG)), Duration::from_secs(60), at)
        .with_refresh_token(RefreshToken::new("r".repeat(LONG)), at)
        .with_scope("scope:read ".repeat(LONG / 11))
}

/// RFC 6749, appendix A: tokens may hold all that is visible, and all but the access token's header allows a blank.
fn all_characters() -> TokenSet {
    let visible: String = ('!'..='~').collect();
    let with_blanks = format!(" {visible} ");
    let at = moment(0);
    TokenSet::new(access_token(visible), Duration::from_millis(1), at)
        .with_refresh_token(RefreshToken::new(with_blanks.clone()), at)
        .with_scope(with_blanks)
}

fn first_moment() -> TokenSet {
    let at = SystemTime::UNIX_EPOCH;
    TokenSet::new(
        access_token("access-of-1970".into()),
        Duration::from_secs(366 * 86_400),
        at,
    )
    .with_refresh_token(RefreshToken::new("refresh-of-1970"), at)
}

fn moment(nanoseconds: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_764_000_000, nanoseconds)
}

#[expect(clippy::expect_used, reason = "all that is asked for here is visible")]
fn access_token(token: String) -> AccessToken {
    AccessToken::new(token).expect("a token of visible characters")
}

/// What came back instead of what was stored, if it was something else. Never says a token, only how long it is.
pub(super) fn difference(stored: Option<&Grant>, came: Option<&Grant>) -> Option<String> {
    let (stored, came) = match (stored, came) {
        (None, None) => return None,
        (None, Some(came)) => {
            return Some(format!(
                "{} of generation {} instead of nothing",
                kind(came),
                came.generation
            ));
        }
        (Some(stored), None) => {
            return Some(format!(
                "nothing instead of {} of generation {}",
                kind(stored),
                stored.generation
            ));
        }
        (Some(stored), Some(came)) => (stored, came),
    };
    if stored == came {
        return None;
    }
    let mut seen = Vec::new();
    if stored.generation != came.generation {
        seen.push(format!(
            "generation {} instead of {}",
            came.generation, stored.generation
        ));
    }
    if kind(stored) == kind(came) {
        notes(stored, came, &mut seen);
        if let (Some(stored), Some(came)) = (stored.tokens(), came.tokens()) {
            tokens(stored, came, &mut seen);
        }
    } else {
        seen.push(format!("{} instead of {}", kind(came), kind(stored)));
    }
    Some(seen.join(", "))
}

fn kind(grant: &Grant) -> &'static str {
    match grant.state {
        GrantState::Active(_) => "an active grant",
        GrantState::Exchanging { .. } => "an exchange",
        GrantState::ReauthorizationRequired { .. } => "a grant that has ended",
        GrantState::Revoked { .. } => "a tombstone",
    }
}

/// What a state says beside its tokens.
fn notes(stored: &Grant, came: &Grant, seen: &mut Vec<String>) {
    let notes = |grant: &Grant| match grant.state {
        GrantState::Active(_) => (None, None, None),
        GrantState::Exchanging {
            since, is_replayed, ..
        } => (Some(since), Some(is_replayed), None),
        GrantState::ReauthorizationRequired { reason, since, .. } => {
            (Some(since), None, Some(reason))
        }
        GrantState::Revoked { since } => (Some(since), None, None),
    };
    let (stored, came) = (notes(stored), notes(came));
    time("since", stored.0, came.0, seen);
    if stored.1 != came.1 {
        seen.push("another is_replayed".into());
    }
    if stored.2 != came.2 {
        seen.push("another reason".into());
    }
}

fn tokens(stored: &TokenSet, came: &TokenSet, seen: &mut Vec<String>) {
    let access = (stored.access_token().expose(), came.access_token().expose());
    text("access token", Some(access.0), Some(access.1), seen);
    let refresh = (
        stored.refresh_token().map(RefreshToken::expose),
        came.refresh_token().map(RefreshToken::expose),
    );
    text("refresh token", refresh.0, refresh.1, seen);
    text("scope", stored.scope(), came.scope(), seen);
    if stored.lifetime() != came.lifetime() {
        let (stored, came) = (stored.lifetime(), came.lifetime());
        seen.push(format!("a lifetime of {came:?} instead of {stored:?}"));
    }
    let issued = (Some(stored.issued_at()), Some(came.issued_at()));
    time("issued_at", issued.0, issued.1, seen);
    let issued = (
        stored.refresh_token_issued_at(),
        came.refresh_token_issued_at(),
    );
    time("refresh_token_issued_at", issued.0, issued.1, seen);
}

fn text(what: &str, stored: Option<&str>, came: Option<&str>, seen: &mut Vec<String>) {
    match (stored, came) {
        (stored, came) if stored == came => {}
        (_, None) => seen.push(format!("no {what}")),
        (None, Some(_)) => seen.push(format!("a {what} where there was none")),
        (Some(stored), Some(came)) if stored.len() == came.len() => {
            seen.push(format!("another {what}"));
        }
        (Some(stored), Some(came)) => {
            let (stored, came) = (stored.len(), came.len());
            seen.push(format!("{what}: {came} bytes instead of {stored}"));
        }
    }
}

fn time(what: &str, stored: Option<SystemTime>, came: Option<SystemTime>, seen: &mut Vec<String>) {
    match (stored, came) {
        (stored, came) if stored == came => {}
        (Some(stored), Some(came)) => {
            let off = came
                .duration_since(stored)
                .unwrap_or_else(|error| error.duration());
            seen.push(format!("{what} off by {off:?}"));
        }
        _ => seen.push(format!("no {what}, or one where there was none")),
    }
}
