//! The effect of a consent on the stored grant.

use super::{
    super::{
        About, CacheState, Consent, Decided, NotInstalled, Reason, conflict::Conflict,
        missing_refresh_token, snapshot::Snapshot,
    },
    active, at, cases, ended, generation, grant, grid, holding, refreshing, revoked, start, tokens,
};
use crate::{
    store::LeaseOutcome,
    token::{AccessToken, ConsentDecision, Grant, GrantState, RefreshToken, TokenSet},
};

/// The token set of a consent without a refresh token.
fn bare() -> TokenSet {
    TokenSet::new(AccessToken::new("a9").unwrap(), None, at(600).wall)
}

fn decided(decision: &str) -> Option<Decided> {
    let stored = |number| About::Stored(Some(generation(number)));
    let (decision, about) = match decision {
        "undecided" => return None,
        "accept" => (ConsentDecision::Accept, About::AnyGrant),
        "reject" => (ConsentDecision::Reject, About::AnyGrant),
        "revoke" => (ConsentDecision::RejectAndRevoke, About::AnyGrant),
        "keep" => (ConsentDecision::KeepRefreshToken, About::AnyGrant),
        "replace" => (ConsentDecision::Replace, About::AnyGrant),
        "keep 2" => (ConsentDecision::KeepRefreshToken, stored(2)),
        "keep 1" => (ConsentDecision::KeepRefreshToken, stored(1)),
        "keep new" => (ConsentDecision::KeepRefreshToken, About::Stored(None)),
        "reject 1" => (ConsentDecision::Reject, stored(1)),
        other => panic!("{other}: no such decision"),
    };
    Some(Decided { decision, about })
}

/// The stored grant of generation 2, and what this process holds.
fn scene(stored: &str) -> (CacheState, Option<Grant>) {
    let at_20 = at(20).wall;
    match stored {
        "none" => (CacheState::default(), None),
        "active" => (holding(&active(2)), Some(active(2))),
        "active, not loaded" => (CacheState::default(), Some(active(2))),
        "active, bare" => {
            let bare = grant(2, GrantState::Active(bare()));
            (holding(&bare), Some(bare))
        }
        "intent" => (holding(&active(2)), Some(refreshing(2, at_20, false))),
        "replay" => (holding(&active(2)), Some(refreshing(2, at_20, true))),
        "ended" => (holding(&ended(2)), Some(ended(2))),
        "revoked" => (holding(&revoked(2)), Some(revoked(2))),
        // The end could not be saved.
        "active, ended here" => (holding(&ended(2)), Some(active(2))),
        "active, revoked here" => {
            let mut state = holding(&active(2));
            state.revoke(at(10));
            (state, Some(active(2)))
        }
        "active, older here" => (holding(&active(1)), Some(active(2))),
        // The held grant could not be saved, or the store has gone back to an older one.
        "active, newer here" => (holding(&active(3)), Some(active(2))),
        "none, newer here" => (holding(&active(3)), None),
        "bare, newer here" => {
            let bare = grant(2, GrantState::Active(bare()));
            (holding(&active(3)), Some(bare))
        }
        // Another process has stored a consent since, and this one could not save the end.
        "later than revoked" => {
            let mut state = holding(&active(2));
            state.revoke(at(10));
            (state, Some(active(3)))
        }
        other => panic!("{other}: no such grant"),
    }
}

fn acquire_lease(state: &mut CacheState) -> u32 {
    let begun = state.begin_lease_use();
    state.lease_acquired(LeaseOutcome::Acquired, at(600));
    begun
}

/// The saved state, as the access token, the refresh token and the state.
fn outcome(tokens: &TokenSet, stored: &str, decision: &str) -> String {
    let (mut state, stored) = scene(stored);
    let lease_use = Some(acquire_lease(&mut state));
    let consent = Consent {
        sequence: state.next_sequence(),
        tokens,
        decided: decided(decision),
        lease_use,
        provider: None,
    };
    let saved = match state.consented(&consent, stored.as_ref(), at(600)) {
        Err(NotInstalled::Rejected { revoke: false }) => return "rejected".to_owned(),
        Err(NotInstalled::Rejected { revoke: true }) => return "revoke".to_owned(),
        Err(NotInstalled::RefreshTokenMissing) => return "missing".to_owned(),
        Err(NotInstalled::Undecided(None)) => return "ask".to_owned(),
        Err(NotInstalled::Undecided(Some(about))) => return format!("ask {about}"),
        Err(other) => return format!("{other:?}"),
        Ok(saved) => Grant::new(generation(3), saved),
    };
    let name = match saved.state {
        GrantState::Active(_) => "",
        GrantState::Refreshing {
            since, is_replayed, ..
        } => {
            assert_eq!(since, at(20).wall);
            if is_replayed { " replay" } else { " intent" }
        }
        _ => panic!("a consent ends no grant"),
    };
    let saved = saved.tokens().unwrap();
    assert_eq!(saved.access_token(), tokens.access_token());
    let refresh_token = saved.refresh_token().map_or("alone", RefreshToken::expose);
    format!("{refresh_token}{name}")
}

/// A refresh token that can be used is neither dropped nor combined with another access token
/// unless the program decides so, about this very grant.
#[test]
fn p24_consent_without_a_refresh_token_drops_and_mixes_nothing_undecided() {
    grid(
        "
        stored               | undecided | accept  | reject   | revoke | keep      | replace | keep 2    | keep 1 | keep new
        none                 | ask       | alone   | rejected | revoke | alone     | alone   | alone     | alone  | alone
        active               | ask 2     | missing | rejected | revoke | r2        | alone   | r2        | ask 2  | ask 2
        active, not loaded   | ask 2     | missing | rejected | revoke | r2        | alone   | r2        | ask 2  | ask 2
        active, bare         | ask 2     | alone   | rejected | revoke | alone     | alone   | alone     | alone  | alone
        intent               | ask 2     | missing | rejected | revoke | r2 intent | alone   | r2 intent | ask 2  | ask 2
        replay               | ask 2     | missing | rejected | revoke | r2 replay | alone   | r2 replay | ask 2  | ask 2
        ended                | ask 3     | alone   | rejected | revoke | alone     | alone   | alone     | alone  | alone
        revoked              | ask 3     | alone   | rejected | revoke | alone     | alone   | alone     | alone  | alone
        active, ended here   | ask 2     | alone   | rejected | revoke | alone     | alone   | alone     | alone  | alone
        active, revoked here | ask 2     | alone   | rejected | revoke | alone     | alone   | alone     | alone  | alone
        active, older here   | ask 2     | missing | rejected | revoke | r2        | alone   | r2        | ask 2  | ask 2
        active, newer here   | ask 3     | missing | rejected | revoke | r3        | alone   | ask 3     | ask 3  | ask 3
        none, newer here     | ask 3     | missing | rejected | revoke | r3        | alone   | ask 3     | ask 3  | ask 3
        bare, newer here     | ask 3     | missing | rejected | revoke | r3        | alone   | ask 3     | ask 3  | ask 3
        later than revoked   | ask 3     | missing | rejected | revoke | r3        | alone   | ask 3     | ask 3  | ask 3
        ",
        |stored, decision| outcome(&bare(), stored, decision),
    );
}

#[test]
fn p15_consent_with_a_refresh_token_replaces_every_grant_unless_rejected() {
    grid(
        "
        stored               | undecided | accept | reject   | reject 1 | keep | replace | keep 1
        none                 | ask       | r9     | rejected | rejected | r9   | r9      | r9
        active               | ask 2     | r9     | rejected | rejected | r9   | r9      | r9
        intent               | ask 2     | r9     | rejected | rejected | r9   | r9      | r9
        ended                | ask 3     | r9     | rejected | rejected | r9   | r9      | r9
        revoked              | ask 3     | r9     | rejected | rejected | r9   | r9      | r9
        ",
        |stored, decision| outcome(&tokens(9), stored, decision),
    );
}

/// A save that keeps the stored refresh token needs the lease, and waits for a refresh of this
/// process that has sent it.
#[test]
fn p11_kept_refresh_token_is_not_in_use() {
    cases(
        "
        tokens | decision  | idle     | starting | sent
        bare   | keep      | lease    | lease    | Refreshing
        bare   | keep 2    | lease    | lease    | Refreshing
        bare   | replace   | no lease | no lease | no lease
        bare   | undecided | no lease | no lease | no lease
        whole  | keep      | no lease | no lease | no lease
        ",
        |[set, decision]| {
            let set = if set == "bare" { bare() } else { tokens(9) };
            ["idle", "starting", "sent"].map(|progress| {
                let mut state = holding(&active(2));
                if progress != "idle" {
                    start(&mut state, Reason::Manual(None), at(600));
                    let refresh = state.refresh.as_mut().unwrap();
                    refresh.has_sent = progress == "sent";
                }
                let consent = Consent {
                    sequence: state.next_sequence(),
                    tokens: &set,
                    decided: decided(decision),
                    lease_use: None,
                    provider: None,
                };
                match state.begin_consent(&consent) {
                    Ok(true) => "lease".to_owned(),
                    Ok(false) => "no lease".to_owned(),
                    Err(reason) => format!("{reason:?}"),
                }
            })
        },
    );
}

/// A process may lose the lease while the store is slow, and another one may then send the refresh
/// token.
#[test]
fn p11_refresh_token_is_not_kept_without_the_lease() {
    let keep = |lease_use: fn(&mut CacheState) -> Option<u32>, m| {
        let mut state = holding(&active(2));
        let lease_use = lease_use(&mut state);
        let consent = Consent {
            sequence: state.next_sequence(),
            tokens: &bare(),
            decided: decided("keep"),
            lease_use,
            provider: None,
        };
        state.consented(&consent, Some(&active(2)), m).map(|_| ())
    };
    let refreshing = Err(NotInstalled::Refreshing);
    assert_eq!(keep(|_| None, at(600)), refreshing);
    assert_eq!(keep(|state| Some(acquire_lease(state)), at(614)), Ok(()));
    assert_eq!(
        keep(|state| Some(acquire_lease(state)), at(615)),
        refreshing
    );
    let lost = |state: &mut CacheState| {
        let begun = acquire_lease(state);
        state.lease_extended(LeaseOutcome::HeldByAnother, at(605));
        Some(begun)
    };
    assert_eq!(keep(lost, at(606)), refreshing);
    let stalled = |state: &mut CacheState| {
        let begun = acquire_lease(state);
        start(state, Reason::Manual(None), at(600));
        state.refresh_stalled();
        acquire_lease(state);
        Some(begun)
    };
    assert_eq!(keep(stalled, at(606)), refreshing);
}

/// The runtime of a command may stand still before each of its saves, while a later command runs.
#[test]
fn p12_consent_that_a_later_command_has_outrun_saves_nothing() {
    for (decision, set) in [
        ("keep", bare()),
        ("replace", bare()),
        ("undecided", tokens(9)),
    ] {
        for (later, expected) in [
            ("revoke", NotInstalled::Revoked),
            ("set", NotInstalled::Replaced),
        ] {
            let mut state = holding(&active(2));
            let sequence = state.next_sequence();
            if later == "revoke" {
                state.revoke(at(10));
            } else {
                let later = state.next_sequence();
                state.install(&active(3), later, at(10));
            }
            let consent = Consent {
                sequence,
                tokens: &set,
                decided: decided(decision),
                lease_use: None,
                provider: None,
            };
            let begun = state.begin_consent(&consent);
            assert_eq!(begun, Err(expected), "{decision}");
            let saved = state.consented(&consent, Some(&active(3)), at(600));
            assert_eq!(saved.map(|_| ()), Err(expected), "{decision}");
        }
    }
}

#[test]
fn p15_missing_refresh_token_is_reported_with_what_was_saved() {
    for (tokens, saved, expected) in [
        (tokens(9), tokens(9), None),
        (bare(), bare(), Some(ConsentDecision::Replace)),
        (
            bare(),
            bare().with_refresh_token_of(&tokens(2)),
            Some(ConsentDecision::KeepRefreshToken),
        ),
    ] {
        let saved = grant(3, GrantState::Active(saved));
        assert_eq!(missing_refresh_token(&tokens, &saved), expected);
    }
}

/// A refresh that lost its lease comes back after a consent has kept the refresh token that it
/// used. The provider has replaced that token, so the new one is saved.
#[test]
fn p24_rotated_refresh_token_is_saved_over_a_consent_that_kept_the_old_one() {
    cases(
        "
        used | issued | stored  | decision
        r2   | r3     | kept r2 | overwrite
        r2   | r3     | intent  | overwrite
        r2   | r3     | r9      | adopt
        r2   | r3     | bare    | adopt
        r2   | r3     | ended   | overwrite
        r2   | r2     | kept r2 | adopt
        bare | r3     | bare    | adopt
        ",
        |[used, issued, stored]| {
            let set = |name: &str| match name {
                "bare" => bare(),
                name => bare().with_refresh_token(RefreshToken::new(name), at(0).wall),
            };
            let snapshot = |number, name| {
                let grant = grant(number, GrantState::Active(set(name)));
                Snapshot::of_stored(grant, at(600))
            };
            let stored = match stored {
                "kept r2" => grant(3, GrantState::Active(set("r2"))),
                "intent" => grant(
                    3,
                    GrantState::Refreshing {
                        tokens: set("r2"),
                        since: at(20).wall,
                        is_replayed: false,
                    },
                ),
                "ended" => ended(2),
                name => grant(3, GrantState::Active(set(name))),
            };
            let decision =
                Conflict::between(&snapshot(2, used), &snapshot(3, issued), Some(&stored));
            [match decision {
                Conflict::Overwrite => "overwrite",
                Conflict::Adopt => "adopt",
                Conflict::Discard => "discard",
            }
            .to_owned()]
        },
    );
}
