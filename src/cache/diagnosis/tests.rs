//! Each cause says something, and the evidence points to one of them.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use super::*;
use crate::{
    error::{ErrorKind, OAuthErrorCode, ResponseDetails},
    oauth::CircuitState,
    token::{AccessToken, Failure, GrantState, ReauthorizationReason, TokenSet},
};

const ALL: [Cause; 23] = [
    Cause::None,
    Cause::NeverConnected,
    Cause::Disconnected,
    Cause::RevokedAtProvider,
    Cause::RefreshTokenExpired,
    Cause::ReplicaCrashed,
    Cause::ResponseLost,
    Cause::NoRefreshToken,
    Cause::ClientRejected,
    Cause::Refused,
    Cause::RateLimited,
    Cause::EndpointFailing,
    Cause::EndpointUnreachable,
    Cause::ResponseUnusable,
    Cause::TokensRejected,
    Cause::StoreUnreachable,
    Cause::StoreUnreadable,
    Cause::StoreNotWritable,
    Cause::StoreWentBack,
    Cause::OtherClient,
    Cause::ValueMissing,
    Cause::Misconfigured,
    Cause::Interrupted,
];

#[test]
fn each_cause_has_a_name_and_texts_of_its_own() {
    let names: HashSet<_> = ALL.iter().map(|cause| cause.as_str()).collect();
    let texts: HashSet<_> = ALL.iter().map(|cause| cause.description()).collect();
    assert_eq!((names.len(), texts.len()), (ALL.len(), ALL.len()));
    for cause in ALL {
        for text in [cause.description(), cause.advice()] {
            assert!(text.starts_with(char::is_uppercase), "{text}");
            assert!(!text.ends_with('.'), "{text}");
        }
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn grant() -> Grant {
    let tokens = TokenSet::new(AccessToken::new("a1").unwrap(), None, at(0));
    Grant::new(Generation::FIRST, GrantState::Active(tokens))
}

fn ended() -> Grant {
    let state = GrantState::ReauthorizationRequired {
        tokens: grant().tokens().unwrap().clone(),
        reason: ReauthorizationReason::InvalidGrant,
        since: at(1),
    };
    Grant::new(Generation::FIRST, state)
}

fn failed(kind: ErrorKind) -> HistoryEvent {
    HistoryEvent::Failed(Failure::of(&Error::new(kind, "a failure")))
}

fn found(
    loaded: Result<Option<Grant>, Error>,
    events: &[HistoryEvent],
    endpoint: Option<EndpointStatus>,
) -> Cause {
    let replica = "a".into();
    let entries = events.iter().zip(1..);
    let unsaved = entries
        .map(|(event, second)| HistoryEntry::new(at(second), &replica, event.clone()))
        .collect();
    Diagnosis::new(loaded, Status::absent(), None, &unsaved, endpoint).cause
}

#[test]
fn the_last_failure_counts_until_a_success() {
    use HistoryEvent::{Connected, Refreshed};
    for (events, cause) in [
        (vec![], Cause::None),
        (vec![failed(ErrorKind::KeptValue)], Cause::ValueMissing),
        (vec![failed(ErrorKind::Configuration)], Cause::Misconfigured),
        (vec![failed(ErrorKind::Interrupted)], Cause::Interrupted),
        (vec![failed(ErrorKind::NoGrant)], Cause::NeverConnected),
        (vec![failed(ErrorKind::Refused), Refreshed], Cause::None),
        (vec![failed(ErrorKind::Refused), Connected], Cause::None),
        (
            vec![
                Refreshed,
                failed(ErrorKind::Refused),
                failed(ErrorKind::Unavailable),
            ],
            Cause::EndpointUnreachable,
        ),
        (
            vec![Refreshed, HistoryEvent::Rejected],
            Cause::TokensRejected,
        ),
        (vec![HistoryEvent::Rejected, Refreshed], Cause::None),
    ] {
        assert_eq!(found(Ok(Some(grant())), &events, None), cause, "{events:?}");
    }
}

#[test]
fn what_prevents_everything_else_comes_first() {
    let rejected = Error::new(ErrorKind::Refused, "no").with_response(ResponseDetails {
        code: Some(OAuthErrorCode::InvalidClient),
        ..ResponseDetails::default()
    });
    let endpoint = || {
        Some(EndpointStatus {
            circuit: CircuitState::Open,
            retry_after: None,
            last_error: Some(rejected.clone()),
        })
    };
    let events = [failed(ErrorKind::Unavailable)];
    let down = Error::new(ErrorKind::Store, "down");
    assert_eq!(
        found(Err(down), &events, endpoint()),
        Cause::StoreUnreachable
    );
    assert_eq!(
        found(Ok(Some(ended())), &events, endpoint()),
        Cause::RevokedAtProvider
    );
    assert_eq!(
        found(Ok(Some(grant())), &events, endpoint()),
        Cause::ClientRejected
    );
    assert_eq!(
        found(Ok(Some(grant())), &events, None),
        Cause::EndpointUnreachable
    );
    // A source without a consent has no grant before its first request.
    assert_eq!(found(Ok(None), &[], endpoint()), Cause::NeverConnected);
    assert_eq!(found(Ok(None), &events, None), Cause::EndpointUnreachable);
}
