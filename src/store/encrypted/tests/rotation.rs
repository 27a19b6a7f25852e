//! Key rotation, and grants in plain text.

use super::*;

fn under(inner: &MemoryStore, keys: EncryptionKeys) -> EncryptedStore<MemoryStore> {
    encrypt(inner.clone(), keys)
}

async fn key_ids(inner: &MemoryStore, tenant: &TenantId) -> Vec<String> {
    let stored = inner.load(tenant).await.unwrap().unwrap();
    let ids = secrets(&stored).map(|text| key_id(text).unwrap().to_owned());
    ids.collect()
}

#[tokio::test]
async fn keys_are_rotated_while_two_replicas_run() {
    let inner = MemoryStore::new();
    let (old, new) = (|| key("old", 1), || key("new", 2));
    let acme = tenant("acme");
    let generation = |number| Some(Generation::from_u64(number));
    let before = under(&inner, EncryptionKeys::new(old()));
    before
        .save(&acme, None, &active(1, "a1", "r1"))
        .await
        .unwrap();

    // 1. One replica decrypts with the new key, the other does not yet.
    let reading = under(
        &inner,
        EncryptionKeys::new(old())
            .with_decryption_key(new())
            .unwrap(),
    );
    reading
        .save(&acme, generation(1), &active(2, "a2", "r2"))
        .await
        .unwrap();
    assert_eq!(
        before.load(&acme).await.unwrap(),
        Some(active(2, "a2", "r2"))
    );
    assert_eq!(key_ids(&inner, &acme).await, ["old", "old"]);

    // 2. One replica encrypts with the new key, the other decrypts with it.
    let writing = under(
        &inner,
        EncryptionKeys::new(new())
            .with_decryption_key(old())
            .unwrap(),
    );
    assert_eq!(
        writing.load(&acme).await.unwrap(),
        Some(active(2, "a2", "r2"))
    );
    writing
        .save(&acme, generation(2), &active(3, "a3", "r3"))
        .await
        .unwrap();
    assert_eq!(key_ids(&inner, &acme).await, ["new", "new"]);
    let lost = reading
        .save(&acme, generation(2), &active(3, "b3", "s3"))
        .await;
    assert_eq!(
        lost.unwrap(),
        SaveOutcome::Superseded(Some(active(3, "a3", "r3")))
    );
    reading
        .save(&acme, generation(3), &active(4, "a4", "r4"))
        .await
        .unwrap();
    assert_eq!(key_ids(&inner, &acme).await, ["old", "old"]);
    assert!(writing.reencrypt(&acme).await.unwrap());
    assert_eq!(key_ids(&inner, &acme).await, ["new", "new"]);

    // 3. The old key is removed.
    let after = under(&inner, EncryptionKeys::new(new()));
    assert_eq!(
        after.load(&acme).await.unwrap(),
        Some(active(4, "a4", "r4"))
    );
}

#[tokio::test]
async fn p23_missing_key_is_named_and_nothing_is_overwritten() {
    let (_, store) = encrypted();
    let acme = tenant("acme");
    let grant = active(1, "seeded-a", "seeded-r");
    store.save(&acme, None, &grant).await.unwrap();

    let without = under(&store.inner, EncryptionKeys::new(key("k2", 2)));
    let error = assert_refused(&without, &acme).await;
    assert!(error.to_string().contains("the key \"k1\""), "{error}");
    // Another key of the same name.
    let wrong = under(&store.inner, EncryptionKeys::new(key("k1", 2)));
    assert_refused(&wrong, &acme).await;
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant));
}

#[tokio::test]
async fn reencrypt_keeps_the_grant_and_waits_for_refreshes() {
    let (inner, store) = encrypted();
    let acme = tenant("acme");
    let with_intent = intent(&active(1, "a", "r"));
    store.save(&acme, None, &with_intent).await.unwrap();
    let newer = EncryptionKeys::new(key("k2", 2)).with_decryption_key(key("k1", 1));
    let newer = under(&inner, newer.unwrap());

    let owner = LeaseOwner::random();
    let minute = Duration::from_secs(60);
    inner.acquire(&acme, &owner, minute).await.unwrap();
    assert!(!newer.is_under_current_key(&acme).await.unwrap());
    assert!(!newer.reencrypt(&acme).await.unwrap());
    assert_eq!(key_ids(&inner, &acme).await, ["k1", "k1"]);
    inner.release(&acme, &owner).await.unwrap();

    assert!(newer.reencrypt(&acme).await.unwrap());
    assert_eq!(key_ids(&inner, &acme).await, ["k2", "k2"]);
    assert!(newer.is_under_current_key(&acme).await.unwrap());
    assert_eq!(newer.load(&acme).await.unwrap(), Some(with_intent));
    // The lease was released, and is not needed if the key is current.
    inner.acquire(&acme, &owner, minute).await.unwrap();
    let before = inner.load(&acme).await.unwrap();
    assert!(newer.reencrypt(&acme).await.unwrap());
    assert_eq!(inner.load(&acme).await.unwrap(), before);
    assert!(newer.reencrypt(&tenant("absent")).await.unwrap());
}

#[tokio::test]
async fn p23_plaintext_grants_are_refused_unless_accepted() {
    let (inner, store) = encrypted();
    let acme = tenant("acme");
    let plain = active(1, "seeded-a", "seeded-r");
    inner.save(&acme, None, &plain).await.unwrap();
    let error = assert_refused(&store, &acme).await;
    assert!(error.to_string().contains("accept_plaintext"), "{error}");

    let lenient = store.clone().accept_plaintext(true);
    assert_eq!(lenient.load(&acme).await.unwrap(), Some(plain.clone()));
    let lost = lenient.save(&acme, None, &plain).await.unwrap();
    assert_eq!(lost, SaveOutcome::Superseded(Some(plain.clone())));
    assert!(lenient.reencrypt(&acme).await.unwrap());
    assert_eq!(key_ids(&inner, &acme).await, ["k1", "k1"]);
    assert_eq!(store.load(&acme).await.unwrap(), Some(plain));
}

#[tokio::test]
async fn p23_envelope_of_a_later_version_is_not_accepted_as_a_token() {
    let (inner, store) = encrypted();
    let acme = tenant("acme");
    let later = active(1, "tow2.seeded", "tow2.seeded");
    inner.save(&acme, None, &later).await.unwrap();
    assert_refused(&store, &acme).await;
    assert_refused(&store.accept_plaintext(true), &acme).await;
}
