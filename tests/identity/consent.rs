//! Code exchanges: no code is spent whose tokens could not be saved.

use tower_oauth2_client::{
    ErrorKind,
    cache::{ClientCredentials, TokenCache},
    store::TokenStore,
    tenants::Tenants,
};

use crate::{
    code_exchange::CodeExchange,
    support::{API, Client, HOUR, ManualClock, different, places, tenant},
};

#[tokio::test(start_paused = true)]
async fn p25_no_code_is_spent_for_a_tenant_with_a_foreign_grant() {
    for place in places() {
        let clock = ManualClock::new();
        let exchange = CodeExchange::new(clock.clone());
        let other = Client::new("one", different().remove(0)[0].clone(), &clock);
        let acme = tenant("acme");
        place.stores[0].put(&other, &acme, HOUR).await;
        let stored = place.raw.grant(&acme).await;
        let store = || place.stores[1].clone();

        let tokens = TokenCache::builder(exchange.oauth.clone())
            .store(store())
            .clock(clock.clone())
            .tenant("acme")
            .build()
            .unwrap();
        let (pending, callback) = exchange.consent("code=c1");
        let completed = tokens.complete_authorization(&exchange.oauth, &pending, &callback);
        let error = completed.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ForeignGrant, "{}", place.name);

        let tenants = Tenants::builder(exchange.oauth.clone()).store(store());
        let tenants = tenants.clock(clock.clone()).build().unwrap();
        let (pending, callback) = exchange.consent("code=c1");
        let completed = tenants.complete_authorization(&acme, &exchange.oauth, &pending, &callback);
        let error = completed.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ForeignGrant, "{}", place.name);

        assert_eq!(exchange.requests(), 0);
        assert_eq!(place.raw.grant(&acme).await, stored);
        // The code still serves once the operator has mended the settings.
        let (pending, callback) = exchange.consent("code=c1");
        let tokens = TokenCache::builder(exchange.oauth.clone())
            .clock(clock.clone())
            .build()
            .unwrap();
        let completed = tokens.complete_authorization(&exchange.oauth, &pending, &callback);
        completed.await.unwrap();
        assert_eq!(exchange.requests(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn p25_no_code_is_spent_by_a_client_that_is_not_the_source() {
    let clock = ManualClock::new();
    let exchange = CodeExchange::new(clock.clone());
    for [identity, _] in different() {
        let source = Client::new("one", identity, &clock);
        let tokens = source.cache(places().remove(0).stores[0].clone());
        let tokens = tokens.tenant("acme").build().unwrap();
        let (pending, callback) = exchange.consent("code=c1");
        let completed = tokens.complete_authorization(&exchange.oauth, &pending, &callback);
        let error = completed.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let message = error.to_string();
        assert!(message.contains("the-client"), "{message}");
        assert_eq!(exchange.requests(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn p25_a_consent_is_saved_with_the_identity_of_its_client() {
    for place in places() {
        let clock = ManualClock::new();
        let exchange = CodeExchange::new(clock.clone());
        let tenants = Tenants::builder(exchange.oauth.clone())
            .store(place.stores[0].clone())
            .clock(clock.clone())
            .origin(API)
            .build()
            .unwrap();
        let (pending, callback) = exchange.consent("code=c1");
        let acme = tenant("acme");
        tenants
            .complete_authorization(&acme, &exchange.oauth, &pending, &callback)
            .await
            .unwrap();
        let stored = place.raw.load(&acme).await.unwrap().unwrap();
        assert_eq!(stored.identity, Some(exchange.oauth.identity()));
    }
}

#[tokio::test(start_paused = true)]
async fn p25_tokens_of_the_client_itself_do_not_replace_a_consent() {
    for place in places() {
        let clock = ManualClock::new();
        let exchange = CodeExchange::new(clock.clone());
        let customers = TokenCache::builder(exchange.oauth.clone()).store(place.stores[0].clone());
        let customers = customers.clock(clock.clone()).build().unwrap();
        let (pending, callback) = exchange.consent("code=c1");
        let completed = customers.complete_authorization(&exchange.oauth, &pending, &callback);
        completed.await.unwrap();
        let default = tenant("default");
        let stored = place.raw.grant(&default).await;

        // Of the same client, and by mistake also of the same tenant.
        let source = ClientCredentials::new(exchange.oauth.clone());
        let own = TokenCache::builder(source).store(place.stores[0].clone());
        let own = own.clock(clock.clone()).build().unwrap();
        let errors = [own.token().await, own.refresh_now().await].map(Result::unwrap_err);
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::ForeignGrant);
            assert!(
                error.to_string().contains("(client credentials)"),
                "{error}"
            );
        }
        assert_eq!(exchange.requests(), 1);
        assert_eq!(place.raw.grant(&default).await, stored);
    }
}
