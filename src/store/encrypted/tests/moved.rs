//! Rows and tokens that were moved in the inner store.

use proptest::prelude::*;

use super::*;

/// A row with these two tokens.
fn row(generation: u64, access: &str, refresh: &str) -> Grant {
    active(generation, access, refresh)
}

#[tokio::test]
async fn p23_row_of_another_tenant_generation_or_client_is_refused() {
    let (inner, store) = encrypted();
    let acme = tenant("acme");
    let grant = active(1, "seeded-a", "seeded-r");
    store.save(&acme, None, &grant).await.unwrap();
    let stored = inner.load(&acme).await.unwrap().unwrap();

    for name in ["other", "Acme", "acme ", "acme2", "аcme"] {
        let other = tenant(name);
        inner.save(&other, None, &stored).await.unwrap();
        let error = assert_refused(&store, &other).await;
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, format!("tenant {name:?}"));
    }
    for generation in [0, 2, u64::MAX] {
        let moved = tenant(&format!("acme-{generation}"));
        store.save(&moved, None, &grant).await.unwrap();
        let mut stored = inner.load(&moved).await.unwrap().unwrap();
        stored.generation = Generation::from_u64(generation);
        inner.save(&moved, FIRST, &stored).await.unwrap();
        assert_refused(&store, &moved).await;
    }
    let keys = EncryptionKeys::new(key("k1", 1));
    let other_client = EncryptedStore::new(inner, keys, "Client").unwrap();
    assert_refused(&other_client, &acme).await;
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant));
}

#[tokio::test]
async fn p23_swapped_and_mixed_tokens_are_refused() {
    let (inner, store) = encrypted();
    let (one, other) = (tenant("one"), tenant("other"));
    for tenant in [&one, &other] {
        let grant = active(1, "seeded-a", "seeded-r");
        store.save(tenant, None, &grant).await.unwrap();
    }
    let ours = texts(&inner.load(&one).await.unwrap().unwrap());
    let theirs = texts(&inner.load(&other).await.unwrap().unwrap());
    for (access, refresh) in [
        (&ours[1], &ours[0]),
        (&ours[0], &ours[0]),
        (&theirs[0], &ours[1]),
        (&ours[0], &theirs[1]),
        // A plaintext token beside an envelope.
        (&ours[0], &"seeded-r".to_owned()),
        (&"seeded-a".to_owned(), &ours[1]),
    ] {
        inner
            .save(&one, FIRST, &row(1, access, refresh))
            .await
            .unwrap();
        assert_refused(&store, &one).await;
        // `accept_plaintext` does not accept a mixture.
        assert_refused(&store.clone().accept_plaintext(true), &one).await;
    }
    inner
        .save(&one, FIRST, &row(1, &ours[0], &ours[1]))
        .await
        .unwrap();
    assert!(store.load(&one).await.unwrap().is_some());
}

#[tokio::test]
async fn p23_tokens_of_another_generation_are_refused() {
    let (inner, store) = encrypted();
    let acme = tenant("acme");
    let next = Some(Generation::FIRST.next());
    store
        .save(&acme, None, &active(1, "seeded-a1", "seeded-r1"))
        .await
        .unwrap();
    let old = texts(&inner.load(&acme).await.unwrap().unwrap());
    store
        .save(&acme, FIRST, &active(2, "seeded-a2", "seeded-r2"))
        .await
        .unwrap();
    let new = texts(&inner.load(&acme).await.unwrap().unwrap());

    for (access, refresh) in [(&old[0], &new[1]), (&new[0], &old[1]), (&old[0], &old[1])] {
        inner
            .save(&acme, next, &row(2, access, refresh))
            .await
            .unwrap();
        assert_refused(&store, &acme).await;
    }
}

/// Any grant that a cache can save.
fn grants() -> impl Strategy<Value = Grant> {
    let tokens = (
        "[!-~]{1,300}",
        any::<Option<String>>(),
        any::<Option<String>>(),
        0_u64..4_000_000_000,
        0_u64..40_000_000_000,
    )
        .prop_map(|(access, refresh, scope, seconds, lifetime)| {
            let access = AccessToken::new(access).unwrap();
            let lifetime = Duration::from_millis(lifetime);
            let mut tokens = TokenSet::new(access, lifetime, at(seconds));
            if let Some(refresh) = refresh {
                tokens = tokens.with_refresh_token(RefreshToken::new(refresh), at(seconds / 2));
            }
            if let Some(scope) = scope {
                tokens = tokens.with_scope(scope);
            }
            tokens
        });
    (any::<u64>(), tokens, 0..4, any::<bool>()).prop_map(
        |(generation, tokens, state, is_replayed)| {
            let since = tokens.issued_at();
            Grant::new(
                Generation::from_u64(generation),
                match state {
                    0 => GrantState::Active(tokens),
                    1 => GrantState::Refreshing {
                        tokens,
                        since,
                        is_replayed,
                    },
                    2 => GrantState::ReauthorizationRequired {
                        tokens,
                        reason: ReauthorizationReason::InvalidGrant,
                        since,
                    },
                    _ => GrantState::Revoked { since },
                },
            )
        },
    )
}

proptest! {
    #[test]
    fn p23_any_grant_round_trips_for_its_own_tenant_only(grant in grants()) {
        tokio_test::block_on(async {
            let (inner, store) = encrypted();
            let (acme, other) = (tenant("acme"), tenant("other"));
            store.save(&acme, None, &grant).await.unwrap();
            prop_assert_eq!(store.load(&acme).await.unwrap(), Some(grant.clone()));

            let stored = inner.load(&acme).await.unwrap().unwrap();
            inner.save(&other, None, &stored).await.unwrap();
            // A revoked grant contains no tokens.
            let moved = store.load(&other).await;
            prop_assert_eq!(moved.is_ok(), grant.tokens().is_none());
            prop_assert_eq!(store.reencrypt(&acme).await.unwrap(), true);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn p23_kept_value_under_another_name_is_refused() {
    let (inner, store) = encrypted();
    let acme = tenant("acme");
    let tokens = tokens("seeded-a", Some("seeded-r")).with_value("account", "seeded-v");
    let grant = Grant::new(Generation::FIRST, GrantState::Active(tokens));
    store.save(&acme, None, &grant).await.unwrap();
    let stored = inner.load(&acme).await.unwrap().unwrap();
    let stored = stored.tokens().unwrap();
    let envelope = stored.values().get("account").unwrap();
    for (name, value) in [
        ("host", envelope),
        ("account", stored.access_token().expose()),
    ] {
        let mut moved = TokenSet::new(stored.access_token().clone(), None, stored.issued_at());
        moved = moved.with_stored_value(name, value);
        let moved = Grant::new(Generation::from_u64(1), GrantState::Active(moved));
        let inner = MemoryStore::new();
        inner.save(&acme, None, &moved).await.unwrap();
        let store = encrypt(inner, EncryptionKeys::new(key("k1", 1)));
        assert_eq!(
            store.load(&acme).await.unwrap_err().kind(),
            ErrorKind::Store
        );
    }
}
