//! Operations of the stores.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::SystemTime,
};

use tower_oauth2_client::{
    store::{
        EncryptedStore, EncryptionKey, EncryptionKeys, FileStore, LeaseOwner, MemoryStore,
        TokenStore,
    },
    token::{
        ClientIdentity, Generation, Grant, GrantState, ReauthorizationReason, TenantId, TokenSet,
    },
};

use crate::support::{HOUR, active, frees_no_secret, long, secret, tenant, token_set};

/// The base64 of 32 bytes with the mark in them.
const KEY: &str = "a1g5cVo3d0xta1g5cVo3d0xta1g5cVo3d0xta1g5cVo";

pub(crate) fn keys() -> EncryptionKeys {
    EncryptionKeys::new(EncryptionKey::from_base64("2026", KEY).unwrap())
}

/// Saves, loads and lists grants in each state, also in vain.
pub(crate) async fn use_store(store: &impl TokenStore, tokens: &TokenSet) {
    let tenant = tenant();
    let at = SystemTime::UNIX_EPOCH + HOUR;
    let generation = Generation::from_u64;
    let first = active(1, tokens.clone())
        .with_identity(ClientIdentity::new("https://id.example.com", "client"));
    let _ = store.save(&tenant, None, &first).await;
    let _ = store.save(&tenant, None, &first).await;
    let _ = store.load(&tenant).await;
    let intent = Grant::new(
        generation(1),
        GrantState::Refreshing {
            tokens: tokens.clone(),
            since: at,
            is_replayed: false,
        },
    );
    let _ = store.save(&tenant, Some(generation(1)), &intent).await;
    let _ = store.load(&tenant).await;
    let second = active(2, tokens.clone());
    let _ = store.save(&tenant, Some(generation(1)), &second).await;
    let _ = store.save(&tenant, Some(generation(1)), &second).await;
    let owner = LeaseOwner::random();
    let _ = store.acquire(&tenant, &owner, HOUR).await;
    let _ = store.release(&tenant, &owner).await;
    let ended = Grant::new(
        generation(3),
        GrantState::ReauthorizationRequired {
            tokens: tokens.clone(),
            reason: ReauthorizationReason::InvalidGrant,
            since: at,
        },
    );
    let _ = store.save(&tenant, Some(generation(2)), &ended).await;
    let _ = store.load(&tenant).await;
    let _ = store.tenants(None, 10).await;
    let revoked = Grant::new(generation(4), GrantState::Revoked { since: at });
    let _ = store.save(&tenant, Some(generation(3)), &revoked).await;
    let _ = store.load(&tenant).await;
    let other = TenantId::new("other").unwrap();
    let _ = store.save(&other, None, &active(1, tokens.clone())).await;
}

/// Token sets whose buffers grow, and whose text JSON escapes.
pub(crate) fn token_sets() -> Vec<TokenSet> {
    vec![
        token_set(secret!("a1"), secret!("r1")),
        token_set(secret!("a\"\\/"), secret!("r\"\\\n\u{1}\u{e9}\u{1f600}")),
        token_set(long("a1"), long("r\"1")),
    ]
}

fn check<S: TokenStore>(open: impl Fn(&Path) -> S) {
    for tokens in token_sets() {
        frees_no_secret(async || {
            let directory = tempfile::tempdir().unwrap();
            let store = open(directory.path());
            use_store(&store, &tokens).await;
            drop(store);
            // Damaged and cut off at each length, without a copy of the text here.
            let store = open(directory.path());
            let grant = active(1, tokens.clone());
            let last = TenantId::new("last").unwrap();
            store.save(&last, None, &grant).await.unwrap();
            for entry in fs::read_dir(directory.path()).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_none_or(|it| it != "json") {
                    continue;
                }
                let file = File::options().write(true).open(&path).unwrap();
                let length = file.metadata().unwrap().len();
                for length in (0..10).map(|tenths| length * tenths / 10).rev() {
                    file.set_len(length).unwrap();
                    let _ = store.load(&last).await;
                    let _ = store.save(&last, Some(grant.generation), &grant).await;
                    let _ = store.tenants(None, 10).await;
                }
            }
        });
    }
}

#[test]
fn p21_memory_store_wipes() {
    check(|_| MemoryStore::new());
}

#[test]
fn p21_file_store_wipes() {
    check(|path| FileStore::open(path).unwrap());
}

#[test]
fn p21_encrypted_memory_store_wipes() {
    check(|_| EncryptedStore::new(MemoryStore::new(), keys(), "client").unwrap());
}

#[test]
fn p21_encrypted_file_store_wipes() {
    check(|path| EncryptedStore::new(FileStore::open(path).unwrap(), keys(), "client").unwrap());
}

#[test]
fn p21_plaintext_grants_are_wiped_when_they_are_encrypted() {
    frees_no_secret(async || {
        let inner = MemoryStore::new();
        for tokens in token_sets() {
            use_store(&inner, &tokens).await;
        }
        let other = TenantId::new("other").unwrap();
        let strict = EncryptedStore::new(inner.clone(), keys(), "client").unwrap();
        let _ = strict.load(&other).await;
        let lenient = strict.clone().accept_plaintext(true);
        assert!(lenient.reencrypt(&other).await.unwrap());
        assert!(strict.load(&other).await.unwrap().is_some());
        let foreign = EncryptedStore::new(inner, keys(), "another").unwrap();
        let _ = foreign.load(&other).await;
    });
}

#[test]
fn p21_encryption_keys_are_wiped() {
    frees_no_secret(async || {
        let key = EncryptionKey::from_base64("2026", KEY).unwrap();
        drop(key.expose_base64());
        let copy = EncryptionKey::new("2027", *b"kX9qZ7wLmkX9qZ7wLmkX9qZ7wLmkX9qZ").unwrap();
        drop(EncryptionKeys::new(key).with_decryption_key(copy).unwrap());
        for wrong in [&KEY[1..], &KEY[..40], "kX9qZ7wLmkX9qZ7wLm!"] {
            EncryptionKey::from_base64("2026", wrong).unwrap_err();
        }
        EncryptionKey::new("", *b"kX9qZ7wLmkX9qZ7wLmkX9qZ7wLmkX9qZ").unwrap_err();
    });
}

#[test]
fn p21_grants_in_bytes_are_wiped() {
    frees_no_secret(async || {
        for tokens in token_sets() {
            let grant = active(1, tokens);
            let bytes = grant.to_bytes(&tenant());
            assert_eq!(Grant::from_bytes(&tenant(), &bytes).unwrap(), grant);
            Grant::from_bytes(&TenantId::new("x").unwrap(), &bytes).unwrap_err();
            for length in 0..bytes.len().min(1_000) {
                Grant::from_bytes(&tenant(), &bytes[..length]).unwrap_err();
            }
        }
    });
}

#[test]
fn p21_file_that_others_can_read_is_not_copied() {
    frees_no_secret(async || {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        use_store(&store, &token_sets()[0]).await;
        for entry in fs::read_dir(directory.path()).unwrap() {
            let path = entry.unwrap().path();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        let _ = store.load(&tenant()).await;
        let _ = store.tenants(None, 10).await;
    });
}
