//! Many customers at once (scenarios 21 and 23).

use http::StatusCode;
use tower_oauth2_client::{
    ErrorKind,
    cache::TokenState,
    sandbox::{Endpoint, EventKind, Fault, GrantType},
    store::TokenStore,
    token::GrantState,
};

use crate::{
    fleet::{Fleet, Tenant, all_call},
    support::{HOUR, MINUTE, pass},
};

/// A client secret that was replaced at the provider, and not in the program yet.
fn unknown_client() -> Fault {
    let body = r#"{"error":"invalid_client"}"#;
    Fault::status(StatusCode::UNAUTHORIZED).body(body).always()
}

pub(crate) async fn has_ended(fleet: &Fleet, tenant: &Tenant) -> bool {
    let stored = fleet.store.load(tenant.tokens.tenant()).await.unwrap();
    let state = tenant.tokens.status().state;
    !matches!(stored.unwrap().state, GrantState::Active(_))
        || matches!(
            state,
            TokenState::ReauthorizationRequired { .. } | TokenState::Uncertain { .. }
        )
}

#[tokio::test(start_paused = true)]
async fn s21_invalid_client_ends_no_grant_and_is_recovered_from_without_a_restart() {
    let fleet = Fleet::at(|sandbox| sandbox);
    let tenants = fleet.tenants(20, MINUTE).await;
    assert_eq!(all_call(&tenants).await, 20);
    pass(20 * HOUR).await;
    fleet.sandbox.inject(Endpoint::Token, unknown_client());
    // Through the advisory window, and for six hours after it. The first token expires after 220
    // minutes.
    for minute in 0..(10 * 60) {
        pass(MINUTE).await;
        let served = all_call(&tenants).await;
        assert_eq!(served == 20, minute < 219, "{served} in minute {minute}");
    }
    assert_eq!(all_call(&tenants).await, 0);
    for tenant in &tenants {
        assert_eq!(tenant.call().await, Err(ErrorKind::Refused));
        assert!(!has_ended(&fleet, tenant).await);
    }
    // The first attempt follows after half a minute, later ones after half an hour.
    let requests = fleet.sandbox.counters().faults_triggered;
    assert!(requests <= 10 * 2 + 12, "{requests}");

    fleet.sandbox.clear_faults();
    pass(31 * MINUTE).await;
    assert_eq!(all_call(&tenants).await, 20);
    assert_eq!(fleet.sandbox.counters().refreshes, 20);
}

#[tokio::test(start_paused = true)]
async fn s23_refreshes_of_two_thousand_grants_from_one_minute_are_spread() {
    let fleet =
        Fleet::at(|sandbox| sandbox.behavior(|behavior| behavior.access_token_lifetime = HOUR));
    let tenants = fleet.tenants(2_000, MINUTE / 2_000).await;
    assert_eq!(all_call(&tenants).await, 2_000);
    pass(HOUR).await;
    let began = fleet.sandbox.events()[0].at;
    let mut minutes = vec![0_u32; 2 * 60];
    for event in fleet.sandbox.events() {
        if matches!(
            event.kind,
            EventKind::TokensIssued {
                grant_type: GrantType::RefreshToken,
                ..
            }
        ) {
            let minute = event.at.duration_since(began).unwrap().as_secs() / 60;
            minutes[usize::try_from(minute).unwrap()] += 1;
        }
    }
    assert_eq!(minutes.iter().sum::<u32>(), 2_000);
    // The first half of the window is 4.5 minutes, with 444 refreshes each on average.
    assert!(
        minutes.iter().all(|refreshes| *refreshes < 550),
        "{minutes:?}"
    );
    let used = minutes.iter().filter(|refreshes| **refreshes > 200).count();
    assert!((4..=6).contains(&used), "{minutes:?}");
}
