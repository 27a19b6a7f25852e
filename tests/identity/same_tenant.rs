//! Two clients that serve a tenant of the same name over one store.

use tower_oauth2_client::{
    Error, ErrorKind, cache::TokenSource, store::TokenStore, token::GrantState,
};

use crate::{
    shared::Store,
    support::{Client, HOUR, MINUTE, ManualClock, different, header, pass, places, tenant},
};

/// The error names both identities and the remedy, and does not send a customer to consent.
fn is_foreign(error: &Error, own: &Client, other: &Client) {
    assert_eq!(error.kind(), ErrorKind::ForeignGrant, "{error}");
    let message = error.to_string();
    for identity in [own, other].into_iter().filter_map(TokenSource::identity) {
        assert!(message.contains(&identity.to_string()), "{message}");
    }
    assert!(message.contains("accept_identity"), "{message}");
    assert!(!error.is_consent_required() && !error.is_transient());
}

#[tokio::test(start_paused = true)]
async fn p25_no_call_of_one_client_touches_the_grant_of_another() {
    for place in places() {
        for (number, identities) in different().into_iter().enumerate() {
            let what = format!("{}, identities {number}", place.name);
            let clock = ManualClock::new();
            let [one, two] = identities;
            let (one, two) = (
                Client::new("one", one, &clock),
                Client::new("two", two, &clock),
            );
            let name = format!("acme-{number}");
            let [store_of_one, store_of_two] = place.stores.clone();
            let ones = one.cache(store_of_one.clone()).tenant(&*name);
            let ones = ones.build().unwrap();
            ones.set_tokens(one.issue(HOUR)).await.unwrap();
            let stored = place.raw.grant(&tenant(&name)).await;

            let twos = || two.cache(store_of_two.clone()).tenant(&*name);
            let tokens = twos().build().unwrap();
            is_foreign(&tokens.token().await.unwrap_err(), &two, &one);
            is_foreign(&tokens.refresh_now().await.unwrap_err(), &two, &one);
            let installed = tokens.set_tokens(two.issue(HOUR)).await;
            is_foreign(&installed.unwrap_err(), &two, &one);
            pass(10 * MINUTE).await;
            is_foreign(&tokens.token().await.unwrap_err(), &two, &one);
            let revoked = twos().build().unwrap().revoke().await;
            is_foreign(&revoked.unwrap_err(), &two, &one);

            let many = two.tenants(store_of_two.clone()).build().unwrap();
            let name = tenant(&name);
            is_foreign(&many.token(&name).await.unwrap_err(), &two, &one);
            let installed = many.set_tokens(&name, two.issue(HOUR)).await;
            is_foreign(&installed.unwrap_err(), &two, &one);
            is_foreign(&many.revoke(&name).await.unwrap_err(), &two, &one);
            is_foreign(&many.status(&name).await.unwrap_err(), &two, &one);

            assert_eq!(place.raw.grant(&name).await, stored, "{what}");
            assert!(two.sent().is_empty() && two.revoked().is_empty(), "{what}");
            assert_eq!(header(&ones).await, "Bearer one-a1", "{what}");
            ones.refresh_now().await.unwrap();
            let restarted = one.cache(store_of_one).tenant(name.as_str());
            assert_eq!(header(&restarted.build().unwrap()).await, "Bearer one-a2");
            assert_eq!(one.sent(), ["one-r1"], "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p25_a_source_without_an_identity_does_not_use_the_grant_of_a_client() {
    for place in places() {
        let clock = ManualClock::new();
        let identity = different().remove(0)[0].clone();
        let client = Client::new("one", identity, &clock);
        let unknown = Client::new("two", None, &clock);
        place.stores[0].put(&client, &tenant("acme"), HOUR).await;
        let tokens = unknown.cache(place.stores[1].clone()).tenant("acme");
        let error = tokens.build().unwrap().token().await.unwrap_err();
        is_foreign(&error, &unknown, &client);
        assert!(error.to_string().contains("TokenSource::identity"));
    }
}

#[tokio::test(start_paused = true)]
async fn p25_a_cache_keeps_serving_its_own_grant_when_the_store_holds_another() {
    for [own, other] in different() {
        let clock = ManualClock::new();
        let (one, two) = (
            Client::new("one", own, &clock),
            Client::new("two", other, &clock),
        );
        let store = Store::default();
        let tokens = one.cache(store.clone()).tenant("default").build().unwrap();
        tokens.set_tokens(one.issue(HOUR)).await.unwrap();
        // Restored from the backup of another application.
        let own = store.stored().await.unwrap();
        let mut foreign = own.clone().with_identity(two.identity());
        foreign.state = GrantState::Active(two.issue(HOUR));
        if two.identity().is_none() {
            continue;
        }
        store
            .memory
            .save(&tenant("default"), Some(own.generation), &foreign)
            .await
            .unwrap();

        for _ in 0..3 {
            let error = tokens.refresh_now().await.unwrap_err();
            is_foreign(&error, &one, &two);
            assert_eq!(header(&tokens).await, "Bearer one-a1");
            pass(HOUR).await;
        }
        // The own token has expired.
        pass(24 * HOUR).await;
        is_foreign(&tokens.token().await.unwrap_err(), &one, &two);
        assert_eq!(store.stored().await.unwrap(), foreign);
        assert!(one.sent().is_empty() && two.sent().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn p25_a_foreign_grant_that_appears_during_a_refresh_is_not_overwritten() {
    let [own, other] = different().remove(0);
    let clock = ManualClock::new();
    let (one, two) = (
        Client::new("one", own, &clock),
        Client::new("two", other, &clock),
    );
    let store = Store::default();
    let tokens = one.cache(store.clone()).tenant("default").build().unwrap();
    tokens.set_tokens(one.issue(HOUR)).await.unwrap();
    let own = store.stored().await.unwrap();
    let mut foreign = own.clone().with_identity(two.identity());
    foreign.generation = own.generation.next().next();
    foreign.state = GrantState::Active(two.issue(HOUR));
    let (memory, new, expected) = (store.memory.clone(), foreign.clone(), own.generation);
    store.before_next_save(move || async move {
        let saved = memory.save(&tenant("default"), Some(expected), &new).await;
        saved.unwrap();
    });
    // The refresh token was sent already, so its successor serves from memory once it is needed.
    is_foreign(&tokens.refresh_now().await.unwrap_err(), &one, &two);
    assert_eq!(header(&tokens).await, "Bearer one-a1");
    pass(23 * HOUR + 59 * MINUTE).await;
    assert_eq!(header(&tokens).await, "Bearer one-a2");
    assert_eq!(store.stored().await.unwrap(), foreign);
    assert_eq!(one.sent(), ["one-r1"]);
    assert!(two.has_seen_own_tokens_only());
}
