use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::*;
use crate::{
    error::ErrorKind,
    token::{Failure, History, HistoryEntry, HistoryEvent},
};

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn tokens() -> TokenSet {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_000_000_123);
    TokenSet::new(
        AccessToken::new("seeded-access").unwrap(),
        Duration::from_secs(86_400),
        at,
    )
    .with_refresh_token(
        RefreshToken::new("seeded-refresh"),
        at - Duration::from_secs(60),
    )
    .with_scope("company.basic:read deductions:write")
}

fn grants() -> Vec<Grant> {
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000);
    [
        GrantState::Active(tokens()),
        GrantState::Active(TokenSet::new(
            AccessToken::new("only").unwrap(),
            Duration::ZERO,
            since,
        )),
        GrantState::Active(TokenSet::new(
            AccessToken::new("only").unwrap(),
            None,
            since,
        )),
        GrantState::Active(
            tokens()
                .with_refresh_token_lifetime(Duration::from_millis(8_640_000_001))
                .with_value("realm_id", "42")
                .with_value("instance_url", "https://\u{fc}.example.com/\"\\\n"),
        ),
        #[cfg(feature = "dpop")]
        GrantState::Active(tokens().with_dpop_key(DpopKey::new("seeded-key"))),
        GrantState::ReauthorizationRequired {
            tokens: tokens(),
            reason: ReauthorizationReason::InvalidGrant,
            since,
        },
        GrantState::Revoked { since },
    ]
    .into_iter()
    .map(|state| Grant::new(Generation::from_u64(7), state))
    .flat_map(|grant| {
        let identity = ClientIdentity::new("https://id.example.com/token", "seeded-client");
        let own = identity.clone().with_client_credentials();
        let kind = identity
            .clone()
            .with_grant_kind("token_exchange audience=\"a\"");
        [identity, own, kind]
            .map(|identity| grant.clone().with_identity(identity))
            .into_iter()
            .chain([grant])
    })
    .collect()
}

#[test]
fn encoded_grants_are_decoded() {
    for grant in grants() {
        let bytes = grant.to_bytes(&tenant("acme"));
        assert_eq!(Grant::from_bytes(&tenant("acme"), &bytes).unwrap(), grant);
    }
}

#[test]
fn p25_grant_of_a_kind_is_read_by_no_version_that_does_not_know_kinds() {
    let identity = ClientIdentity::new("e", "c");
    let version = |identity: ClientIdentity| {
        let grant = Grant::new(Generation::FIRST, GrantState::Active(tokens()));
        let bytes = grant.with_identity(identity).to_bytes(&tenant("acme"));
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        (
            value["version"].as_u64(),
            value["identity"]["grant_kind"].clone(),
        )
    };
    let null = serde_json::Value::Null;
    assert_eq!(version(identity.clone()), (Some(2), null.clone()));
    let own = identity.clone().with_client_credentials();
    assert_eq!(version(own), (Some(2), null));
    let kind = identity.with_grant_kind("jwt_bearer");
    assert_eq!(version(kind), (Some(4), "jwt_bearer".into()));
}

/// Written by a version of this crate without identities.
const VERSION_1: &str = r#"{
  "format": "tower-oauth2-client/grant",
  "version": 1,
  "tenant": "acme",
  "generation": 7,
  "state": {
    "active": {
      "tokens": {
        "access_token": "seeded-access",
        "lifetime_ms": 86400000,
        "issued_at": "2025-11-24T16:00:00.123Z",
        "refresh_token": "seeded-refresh",
        "refresh_token_issued_at": "2025-11-24T15:59:00.123Z",
        "scope": "company.basic:read deductions:write"
      }
    }
  }
}"#;

#[test]
fn p25_grants_of_version_1_are_read_as_of_unknown_identity_and_written_as_version_2() {
    let acme = tenant("acme");
    let state = GrantState::Active(tokens());
    let expected = Grant::new(Generation::from_u64(7), state);
    // A member that version 1 does not have is no identity.
    let forged = VERSION_1.replace(
        "\"generation\"",
        r#""identity": {"token_endpoint": "e", "client_id": "c"}, "generation""#,
    );
    for text in [VERSION_1, &forged] {
        let grant = Grant::from_bytes(&acme, text.as_bytes()).unwrap();
        assert_eq!(grant, expected);
    }
    for identity in [None, Some(ClientIdentity::new("e", "c"))] {
        let grant = expected.clone().with_identity(identity.clone());
        let bytes = grant.to_bytes(&acme);
        assert!(String::from_utf8_lossy(&bytes).contains("\"version\": 2"));
        let read = Grant::from_bytes(&acme, &bytes).unwrap();
        assert_eq!(read.identity, identity);
    }
}

#[test]
fn p23_grants_of_other_tenants_are_rejected() {
    for grant in grants() {
        let bytes = grant.to_bytes(&tenant("acme"));
        for other in ["Acme", "acme ", "acme2", "аcme"] {
            let error = Grant::from_bytes(&tenant(other), &bytes).unwrap_err();
            assert_eq!(error.to_string(), "grant of another tenant");
        }
    }
}

#[test]
fn grant_with_values_is_read_by_no_version_that_would_lose_them() {
    let text = |tokens| {
        let grant = Grant::new(Generation::FIRST, GrantState::Active(tokens));
        String::from_utf8(grant.to_bytes(&tenant("acme")).to_vec()).unwrap()
    };
    assert!(text(tokens().with_value("realm_id", "42")).contains("\"version\": 3"));
    let lifetime = Duration::from_secs(8_640_000);
    assert!(text(tokens().with_refresh_token_lifetime(lifetime)).contains("\"version\": 2"));
}

#[test]
fn grant_with_a_key_is_read_by_no_version_that_would_lose_it() {
    let tokens = tokens()
        .with_value("realm_id", "42")
        .with_dpop_key(DpopKey::new("seeded-key"));
    let grant = Grant::new(Generation::FIRST, GrantState::Active(tokens));
    let bytes = grant.to_bytes(&tenant("acme"));
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains("\"version\": 5"));
    let read = Grant::from_bytes(&tenant("acme"), &bytes);
    if cfg!(feature = "dpop") {
        assert_eq!(read.unwrap(), grant);
    } else {
        let error = read.unwrap_err().to_string();
        assert!(error.contains("feature `dpop`"), "{error}");
    }
}

#[test]
fn end_is_read_by_no_version_that_does_not_know_its_reason() {
    for (reason, version) in [
        (ReauthorizationReason::InvalidGrant, 2),
        (ReauthorizationReason::RefreshTokenExpired, 2),
        (ReauthorizationReason::RotationLost, 2),
        (ReauthorizationReason::NoRefreshToken, 3),
    ] {
        let state = GrantState::ReauthorizationRequired {
            tokens: tokens(),
            reason,
            since: SystemTime::UNIX_EPOCH,
        };
        let grant = Grant::new(Generation::FIRST, state);
        let bytes = grant.to_bytes(&tenant("acme"));
        let head = format!("\"version\": {version}");
        assert!(
            String::from_utf8_lossy(&bytes).contains(&head),
            "{reason:?}"
        );
        assert_eq!(Grant::from_bytes(&tenant("acme"), &bytes).unwrap(), grant);
    }
}

#[test]
fn p21_damaged_bytes_are_rejected_without_quoting_them() {
    let whole = grants()[0].to_bytes(&tenant("acme"));
    let mut damaged: Vec<Vec<u8>> = (0..whole.len()).map(|cut| whole[..cut].to_vec()).collect();
    let text = String::from_utf8(whole.to_vec()).unwrap();
    damaged.extend(
        [
            text.replace("\"seeded-access\"", "[\"seeded-access\"]"),
            text.replace("seeded-access", "seeded access"),
            text.replace("86400000", "\"seeded\""),
            text.replace("\"version\": 2", "\"version\": 99"),
            text.replace("tower-oauth2-client/grant", "seeded"),
            text.replace("\"active\"", "\"seeded\""),
            text.replace("2025-11-24T16:00:00.123Z", "seeded"),
            format!("{text} seeded"),
            "\"seeded-access\"".into(),
            "{}".into(),
        ]
        .map(String::into_bytes),
    );
    for bytes in damaged {
        let error = Grant::from_bytes(&tenant("acme"), &bytes).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("seeded"), "{error}");
    }
}

fn history() -> History {
    let replica = "pod-1".into();
    let failure = |code: Option<&str>| Failure {
        kind: ErrorKind::Refused,
        status: Some(StatusCode::BAD_REQUEST),
        code: code.map(Into::into),
    };
    let events = [
        HistoryEvent::Connected,
        HistoryEvent::Refreshed,
        HistoryEvent::Rejected,
        HistoryEvent::Sent,
        HistoryEvent::StoreFailed(failure(None)),
        HistoryEvent::SentAgain,
        HistoryEvent::Failed(failure(Some("slow_down"))),
        HistoryEvent::Failed(failure(Some("slow_down"))),
        HistoryEvent::ResponseLost(failure(None)),
        HistoryEvent::Ended {
            reason: ReauthorizationReason::RotationLost,
            refusal: failure(Some("invalid_grant")),
        },
        HistoryEvent::Revoked,
    ];
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000);
    let entries = events.into_iter().zip(0..).map(|(event, second)| {
        HistoryEntry::new(at + Duration::from_secs(second), &replica, event)
    });
    entries.collect()
}

#[test]
fn the_history_is_stored_with_the_grant() {
    let acme = tenant("acme");
    for grant in grants() {
        let without = grant.to_bytes(&acme);
        let grant = grant.with_history(history());
        let bytes = grant.to_bytes(&acme);
        assert_eq!(Grant::from_bytes(&acme, &bytes).unwrap(), grant);
        assert!(!str::from_utf8(&without).unwrap().contains("history"));
    }
}

/// It decides nothing, so a damaged one does not make the grant unreadable.
#[test]
fn a_history_that_cannot_be_read_is_left_out() {
    let acme = tenant("acme");
    let grant = grants().remove(0).with_history(history());
    let stored: serde_json::Value = serde_json::from_slice(&grant.to_bytes(&acme)).unwrap();
    let long = "x".repeat(300);
    let entry = |changes: serde_json::Value| {
        let mut entry = stored["history"][0].clone();
        for (name, value) in changes.as_object().unwrap() {
            entry[name] = value.clone();
        }
        entry
    };
    let connected = entry(serde_json::json!({}));
    for (history, left) in [
        (serde_json::json!(null), 0),
        (serde_json::json!("text"), 0),
        (serde_json::json!({"a": 1}), 0),
        (serde_json::json!([1, "x", null, {}, connected]), 1),
        (
            serde_json::json!([entry(serde_json::json!({"event": "of a later version"}))]),
            0,
        ),
        (
            serde_json::json!([entry(serde_json::json!({"replica": long}))]),
            0,
        ),
        (
            serde_json::json!([entry(serde_json::json!({"replica": "pod\nERROR"}))]),
            0,
        ),
        (
            serde_json::json!([entry(serde_json::json!({"event": "failed"}))]),
            0,
        ),
        (
            serde_json::json!([entry(serde_json::json!({"event": "failed", "kind": "new"}))]),
            0,
        ),
        (
            serde_json::json!([entry(serde_json::json!({"at": "yesterday"}))]),
            0,
        ),
        (
            serde_json::json!(vec![connected; 1_000]),
            History::MAX_ENTRIES,
        ),
    ] {
        let mut stored = stored.clone();
        stored["history"] = history.clone();
        let bytes = serde_json::to_vec(&stored).unwrap();
        let read = Grant::from_bytes(&acme, &bytes).unwrap();
        assert_eq!(read.history.entries().len(), left, "{history}");
        assert_eq!(read.state, grant.state);
    }
}

/// JSON that no value can hold.
#[test]
fn a_history_that_is_too_deep_or_too_large_is_left_out() {
    let acme = tenant("acme");
    let grant = grants().remove(0).with_history(history());
    let bytes = grant.to_bytes(&acme);
    let text = str::from_utf8(&bytes).unwrap();
    let (before, _) = text.split_once("\"history\":").unwrap();
    let deep = "[".repeat(1_000) + &"]".repeat(1_000);
    for history in ["1e999", "[1e999]", "{\"a\":1e999}", &deep, "\"\\ud800\""] {
        let read = Grant::from_bytes(&acme, format!("{before}\"history\":{history}}}").as_bytes());
        let read = read.unwrap_or_else(|error| panic!("{error}: {history:.20}"));
        assert!(read.history.is_empty());
        assert_eq!(read.state, grant.state);
    }
}
