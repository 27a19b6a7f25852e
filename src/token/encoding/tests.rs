use std::time::Duration;

use super::*;

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
        GrantState::ReauthorizationRequired {
            tokens: tokens(),
            reason: ReauthorizationReason::InvalidGrant,
            since,
        },
        GrantState::Revoked { since },
    ]
    .into_iter()
    .map(|state| Grant {
        generation: Generation::from_u64(7),
        state,
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
fn p21_damaged_bytes_are_rejected_without_quoting_them() {
    let whole = grants()[0].to_bytes(&tenant("acme"));
    let mut damaged: Vec<Vec<u8>> = (0..whole.len()).map(|cut| whole[..cut].to_vec()).collect();
    let text = String::from_utf8(whole.to_vec()).unwrap();
    damaged.extend(
        [
            text.replace("\"seeded-access\"", "[\"seeded-access\"]"),
            text.replace("seeded-access", "seeded access"),
            text.replace("86400000", "\"seeded\""),
            text.replace("\"version\": 1", "\"version\": 2"),
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
