//! Grants to save, and what differs in those that are loaded.

use std::{
    fmt::{Debug, Display},
    time::{Duration, SystemTime},
};

#[cfg(feature = "dpop")]
use crate::token::DpopKey;
use crate::{
    later::Later,
    token::{
        AccessToken, ClientIdentity, Generation, Grant, GrantState, ReauthorizationReason,
        RefreshToken, TokenSet,
    },
};

/// More than the longest token that providers are known to issue.
const LONG: usize = 16 * 1024;

/// A grant without anything unusual. Two of them are equal only if generation and word are.
pub(super) fn plain(generation: u64, word: &str) -> Grant {
    let access = format!("access-{word}-{generation}");
    let refresh = format!("refresh-{word}-{generation}");
    let tokens = TokenSet::new(access_token(access), Duration::from_secs(86_400), moment(0))
        .with_refresh_token(RefreshToken::new(refresh), moment(0));
    grant(generation, GrantState::Active(tokens))
}

pub(super) fn revoked(generation: u64) -> Grant {
    let since = moment(0);
    grant(generation, GrantState::Revoked { since })
}

/// Each state with everything that it can contain.
pub(super) fn states() -> Vec<(&'static str, Grant)> {
    let since = moment(987_654_321);
    let exchanging = |is_replayed| GrantState::Refreshing {
        tokens: full(),
        since,
        is_replayed,
    };
    let ended = |reason| GrantState::ReauthorizationRequired {
        tokens: full(),
        reason,
        since,
    };
    let states = [
        ("active", GrantState::Active(full())),
        ("without a refresh token", GrantState::Active(bare())),
        ("without a scope", GrantState::Active(unscoped())),
        ("long tokens", GrantState::Active(long())),
        ("the longest tokens", GrantState::Active(longest())),
        #[cfg(feature = "dpop")]
        ("bound to a key", GrantState::Active(bound())),
        ("unknown lifetime", GrantState::Active(unknown_lifetime())),
        ("every character", GrantState::Active(all_characters())),
        ("issued in 1970", GrantState::Active(first_moment())),
        ("revoked", GrantState::Revoked { since }),
        ("intent", exchanging(false)),
        ("intent of a replay", exchanging(true)),
        (
            "ended by invalid_grant",
            ended(ReauthorizationReason::InvalidGrant),
        ),
        (
            "ended by age",
            ended(ReauthorizationReason::RefreshTokenExpired),
        ),
        (
            "ended by a lost rotation",
            ended(ReauthorizationReason::RotationLost),
        ),
        (
            "ended without a refresh token",
            ended(ReauthorizationReason::NoRefreshToken),
        ),
    ];
    states
        .into_iter()
        .map(|(word, state)| (word, grant(1, state)))
        .collect()
}

/// Identities to save one after another.
pub(super) fn identities() -> Vec<Option<ClientIdentity>> {
    let client_id: String = (' '..='~').collect();
    let path = "a/".repeat(1_024);
    vec![
        None,
        Some(ClientIdentity::new("https://id.example.com/token", "a")),
        Some(ClientIdentity::new("https://id.example.com/token", "b")),
        Some(ClientIdentity::new(
            "https://id.example.com/token?a=b&c=%20",
            "b",
        )),
        Some(ClientIdentity::new(
            format!("http://[::1]:1/{path}"),
            client_id,
        )),
        Some(ClientIdentity::new("", "")),
        Some(ClientIdentity::new("", "").with_client_credentials()),
        Some(ClientIdentity::new("e", "c").with_grant_kind("token_exchange \"a\"\n")),
        None,
    ]
}

fn full() -> TokenSet {
    unscoped()
        .with_scope("company.basic:read deductions:write")
        .with_refresh_token_lifetime(Duration::from_millis(8_640_000_001))
        .with_value("instance_url", "https://acme.example.com/\u{fc}\"\\")
        .with_value("realm_id", "")
}

/// The refresh token is older than the access token, as without rotation.
fn unscoped() -> TokenSet {
    let lifetime = Duration::from_millis(86_399_999);
    let access = access_token("access-of-a-state".into());
    TokenSet::new(access, lifetime, moment(123_456_789))
        .with_refresh_token(RefreshToken::new("refresh-of-a-state"), moment(1))
}

fn bare() -> TokenSet {
    let access = access_token("access-of-a-bare-state".into());
    TokenSet::new(access, Duration::ZERO, moment(999_999_999))
}

#[cfg(feature = "dpop")]
fn bound() -> TokenSet {
    unscoped().with_dpop_key(DpopKey::new("key-of-a-state"))
}

fn unknown_lifetime() -> TokenSet {
    let access = access_token("access-without-an-expiry".into());
    TokenSet::new(access, None, moment(123_456_789))
        .with_refresh_token(RefreshToken::new("refresh-of-a-state"), moment(1))
}

fn long() -> TokenSet {
    let (access, refresh) = (access_token("a".repeat(LONG)), "r".repeat(LONG));
    TokenSet::new(access, Duration::from_secs(60), moment(0))
        .with_refresh_token(RefreshToken::new(refresh), moment(0))
        .with_scope("scope:read ".repeat(LONG / 11))
}

/// The tokens and scopes of two responses of 1 MiB, which is the most that a cache accepts.
fn longest() -> TokenSet {
    let (access, refresh) = ("a".repeat(64 * 1024), "r".repeat(1024 * 1024));
    TokenSet::new(access_token(access), Duration::from_secs(60), moment(0))
        .with_refresh_token(RefreshToken::new(refresh), moment(0))
        .with_scope("s".repeat(1024 * 1024))
}

/// RFC 6749, appendix A: tokens consist of visible characters, and all but access tokens may
/// contain spaces.
fn all_characters() -> TokenSet {
    let visible: String = ('!'..='~').collect();
    let with_spaces = format!(" {visible} ");
    TokenSet::new(access_token(visible), Duration::from_millis(1), moment(0))
        .with_refresh_token(RefreshToken::new(with_spaces.clone()), moment(0))
        .with_scope(with_spaces)
}

fn first_moment() -> TokenSet {
    let (at, lifetime) = (SystemTime::UNIX_EPOCH, Duration::from_secs(366 * 86_400));
    TokenSet::new(access_token("access-of-1970".into()), lifetime, at)
        .with_refresh_token(RefreshToken::new("refresh-of-1970"), at)
}

fn grant(generation: u64, state: GrantState) -> Grant {
    let generation = Generation::from_u64(generation);
    Grant::new(generation, state)
}

fn moment(nanoseconds: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH.later(Duration::new(1_764_000_000, nanoseconds))
}

#[expect(clippy::expect_used, reason = "every token here is visible characters")]
fn access_token(token: String) -> AccessToken {
    AccessToken::new(token).expect("a token of visible characters")
}

pub(super) fn in_words(generation: Option<impl Display>) -> String {
    generation.map_or_else(
        || "no grant".into(),
        |generation| format!("generation {generation}"),
    )
}

/// Describes how the found grant differs from the stored one. Contains no token, only lengths.
pub(super) fn difference(stored: Option<&Grant>, found: Option<&Grant>) -> Option<String> {
    if stored == found {
        return None;
    }
    let (Some(stored), Some(found)) = (stored, found) else {
        let [stored, found] = [stored, found].map(|grant| in_words(grant.map(|g| g.generation)));
        return Some(format!("expected {stored}, found {found}"));
    };
    let differences: Vec<String> = (fields(stored).into_iter().zip(fields(found)))
        .filter(|(stored, found)| stored != found)
        .map(|((name, stored), (_, found))| format!("{name}: expected {stored}, found {found}"))
        .collect();
    if differences.is_empty() {
        return Some("a token or the scope consists of other characters".into());
    }
    Some(differences.join(", "))
}

/// A grant's fields as text, with the lengths of its secrets.
fn fields(grant: &Grant) -> Vec<(&'static str, String)> {
    fn shown(value: impl Debug) -> String {
        format!("{value:?}")
    }
    let (state, details) = match &grant.state {
        GrantState::Active(_) => ("active", String::new()),
        GrantState::Refreshing {
            since, is_replayed, ..
        } => ("with an intent", shown((since, is_replayed))),
        GrantState::ReauthorizationRequired { reason, since, .. } => {
            ("ended", shown((since, reason)))
        }
        GrantState::Revoked { since } => ("revoked", shown(since)),
    };
    let tokens = grant.tokens();
    let refresh = tokens.and_then(TokenSet::refresh_token);
    vec![
        ("generation", grant.generation.to_string()),
        ("identity", shown(&grant.identity)),
        ("state", state.into()),
        ("details", details),
        ("lifetime", shown(tokens.map(TokenSet::lifetime))),
        ("issued_at", shown(tokens.map(TokenSet::issued_at))),
        (
            "refresh_token_issued_at",
            shown(tokens.map(TokenSet::refresh_token_issued_at)),
        ),
        (
            "length of the access token",
            shown(tokens.map(|tokens| tokens.access_token().expose().len())),
        ),
        (
            "length of the refresh token",
            shown(refresh.map(|token| token.expose().len())),
        ),
        (
            "length of the DPoP key",
            shown(
                tokens
                    .and_then(TokenSet::dpop_key)
                    .map(|key| key.expose().len()),
            ),
        ),
        (
            "length of the scope",
            shown(tokens.and_then(TokenSet::scope).map(str::len)),
        ),
    ]
}
