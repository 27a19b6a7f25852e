//! The consents of tenants: one code exchange at a time, and always room for the tokens.

use std::time::Duration;

use tower_oauth2_client::ErrorKind;

use crate::{
    code_exchange::CodeExchange,
    support::{ManualClock, Source, Store, named, pass, tenants_over},
};

const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn p16_a_second_authorization_of_a_tenant_fails_at_once_without_sending_its_code() {
    let clock = ManualClock::new();
    let provider = CodeExchange::new(clock.clone());
    let tenants = tenants_over(&Source::new(&clock), Store::default())
        .build()
        .unwrap();
    let complete = |name: &'static str, tenants: &tower_oauth2_client::tenants::Tenants| {
        let (tenants, oauth) = (tenants.clone(), provider.oauth.clone());
        let (pending, callback) = provider.consent("code=c1");
        tokio::spawn(async move {
            let tenant = named(name);
            let completed = tenants.complete_authorization(&tenant, &oauth, &pending, &callback);
            completed.await
        })
    };
    provider.hold_responses();
    let first = complete("acme", &tenants);
    pass(MILLISECOND).await;
    let error = complete("acme", &tenants).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.is_response_lost());
    let other = complete("initech", &tenants);
    pass(MILLISECOND).await;
    provider.release_responses();
    other.await.unwrap().unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(provider.requests(), 2);
    complete("acme", &tenants).await.unwrap().unwrap();
}
