//! Grants of an unknown identity, and of a former one.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use tower_oauth2_client::{
    Error, ErrorKind,
    cache::TokenSource,
    store::{FileStore, MemoryStore, TokenStore},
    token::{ClientIdentity, Generation, Grant, GrantState, TokenSet},
};

use crate::support::{
    Client, HOUR, ManualClock, Shared, different, encrypted, header, places, tenant,
};

/// Records what the store says about the grant when its refresh token is sent.
#[derive(Clone)]
struct Observed {
    client: Client,
    store: Shared,
    seen: Arc<Mutex<Vec<Option<ClientIdentity>>>>,
}

impl TokenSource for Observed {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let stored = self.store.grant(&tenant("acme")).await;
        assert!(matches!(stored.state, GrantState::Refreshing { .. }));
        self.seen.lock().unwrap().push(stored.identity);
        self.client.fetch(held).await
    }

    fn identity(&self) -> Option<ClientIdentity> {
        self.client.identity()
    }
}

#[tokio::test(start_paused = true)]
async fn p25_a_grant_of_unknown_identity_is_adopted_once() {
    for place in places() {
        let clock = ManualClock::new();
        let [own, other] = different().remove(0);
        let (one, two) = (
            Client::new("one", own.clone(), &clock),
            Client::new("two", other, &clock),
        );
        let [store_of_one, store_of_two] = place.stores.clone();
        let grant = Grant::new(Generation::FIRST, GrantState::Active(one.issue(HOUR)));
        let acme = tenant("acme");
        store_of_one.save(&acme, None, &grant).await.unwrap();

        let source = Observed {
            client: one.clone(),
            store: place.raw.clone(),
            seen: Arc::default(),
        };
        let tokens = tower_oauth2_client::cache::TokenCache::builder(source.clone())
            .origin(crate::support::API)
            .clock(clock.clone())
            .store(store_of_one)
            .tenant("acme");
        let tokens = tokens.build().unwrap();
        assert_eq!(header(&tokens).await, "Bearer one-a1", "{}", place.name);
        assert_eq!(place.raw.grant(&acme).await.identity, None);
        tokens.refresh_now().await.unwrap();
        // The intent was saved with the identity, before the refresh token was sent.
        assert_eq!(*source.seen.lock().unwrap(), std::slice::from_ref(&own));
        assert_eq!(place.raw.grant(&acme).await.identity, own);

        let later = two.cache(store_of_two).tenant("acme").build().unwrap();
        let error = later.token().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ForeignGrant, "{}", place.name);
        assert!(two.sent().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn p25_a_file_of_format_version_1_is_read_and_rewritten() {
    let clock = ManualClock::new();
    let [own, _] = different().remove(0);
    let one = Client::new("one", own, &clock);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("grants");
    let store = FileStore::open(&path).unwrap();
    let grant = Grant::new(Generation::FIRST, GrantState::Active(one.issue(HOUR)));
    let acme = tenant("acme");
    store.save(&acme, None, &grant).await.unwrap();
    let file = fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let file = file
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "json"))
        .unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("identity"));
    fs::write(&file, text.replace("\"version\": 2", "\"version\": 1")).unwrap();

    let tokens = one.cache(store.clone()).tenant("acme").build().unwrap();
    assert_eq!(header(&tokens).await, "Bearer one-a1");
    tokens.refresh_now().await.unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"version\": 2") && text.contains("\"client_id\": \"partner\""));
}

#[tokio::test(start_paused = true)]
async fn p25_a_former_identity_is_accepted_if_the_builder_names_it() {
    for place in places() {
        for (number, identities) in different().into_iter().enumerate() {
            let [Some(former), Some(own)] = identities else {
                continue;
            };
            let clock = ManualClock::new();
            let old = Client::new("one", Some(former.clone()), &clock);
            // The same client under another name: the provider accepts its refresh tokens.
            let new = Client::new("one", Some(own.clone()), &clock);
            let (name, store) = (tenant(&format!("acme-{number}")), &place.stores[0]);
            store.put(&old, &name, HOUR).await;

            let cache = || new.cache(store.clone()).tenant(name.as_str());
            let error = cache().build().unwrap().token().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ForeignGrant);
            let unrelated = ClientIdentity::new("https://three.example.com/token", "partner");
            let error = cache().accept_identity(unrelated.clone()).build().unwrap();
            let error = error.token().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ForeignGrant);

            let accepting = cache().accept_identity(unrelated).accept_identity(former);
            let tokens = accepting.build().unwrap();
            assert_eq!(header(&tokens).await, "Bearer one-a1");
            tokens.refresh_now().await.unwrap();
            assert_eq!(new.sent(), ["one-r1"]);
            assert_eq!(place.raw.grant(&name).await.identity, Some(own));
            // From now on the setting is not needed.
            header(&cache().build().unwrap()).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p25_an_encrypted_row_is_bound_to_its_identity() {
    let clock = ManualClock::new();
    let [own, other] = different().remove(0);
    let (one, memory) = (Client::new("one", own, &clock), MemoryStore::new());
    let (acme, store) = (tenant("acme"), encrypted(&memory, 1));
    store.put(&one, &acme, HOUR).await;
    let row = memory.load(&acme).await.unwrap().unwrap();
    // An attacker gives the row to another client, or removes the identity.
    for identity in [other, None] {
        let forged = row.clone().with_identity(identity.clone());
        memory
            .save(&acme, Some(Generation::FIRST), &forged)
            .await
            .unwrap();
        let victim = Client::new("two", identity, &clock);
        let tokens = victim.cache(store.clone()).tenant("acme").build().unwrap();
        let error = tokens.token().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store, "{error}");
        assert!(victim.sent().is_empty());
    }
}
