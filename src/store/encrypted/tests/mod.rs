use std::time::SystemTime;

use super::*;
use crate::{
    error::ErrorKind,
    store::{file::FileStore, memory::MemoryStore},
    token::{
        AccessToken, GrantState, History, HistoryEntry, HistoryEvent, ReauthorizationReason,
        RefreshToken, TokenSet,
    },
};

mod moved;
mod rotation;

const FIRST: Option<Generation> = Some(Generation::FIRST);

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn key(id: &str, byte: u8) -> EncryptionKey {
    EncryptionKey::new(id, [byte; 32]).unwrap()
}

fn encrypt<S>(inner: S, keys: EncryptionKeys) -> EncryptedStore<S> {
    EncryptedStore::new(inner, keys, "client").unwrap()
}

fn encrypted() -> (MemoryStore, EncryptedStore<MemoryStore>) {
    let inner = MemoryStore::new();
    let store = encrypt(inner.clone(), EncryptionKeys::new(key("k1", 1)));
    (inner, store)
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn tokens(access: &str, refresh: Option<&str>) -> TokenSet {
    let access = AccessToken::new(access).unwrap();
    let tokens = TokenSet::new(access, Duration::from_secs(86_400), at(1_764_000_000));
    match refresh {
        Some(refresh) => tokens
            .with_refresh_token(RefreshToken::new(refresh), at(1_763_000_000))
            .with_scope("company.basic:read"),
        None => tokens,
    }
}

fn active(generation: u64, access: &str, refresh: &str) -> Grant {
    Grant::new(
        Generation::from_u64(generation),
        GrantState::Active(tokens(access, Some(refresh))),
    )
}

/// The grant with the intent of a refresh.
fn intent(grant: &Grant) -> Grant {
    Grant::new(
        grant.generation,
        GrantState::Refreshing {
            tokens: grant.tokens().unwrap().clone(),
            since: at(1_764_080_000),
            is_replayed: false,
        },
    )
}

/// The envelopes of a stored grant.
fn texts(stored: &Grant) -> Vec<String> {
    secrets(stored).map(str::to_owned).collect()
}

/// The grant cannot be decrypted: each call is an error that quotes no secret, and the grant is not
/// overwritten.
async fn assert_refused(store: &EncryptedStore<MemoryStore>, tenant: &TenantId) -> Error {
    let before = store.inner.load(tenant).await.unwrap();
    let stored = before.as_ref().unwrap();
    let expected = [None, FIRST, Some(stored.generation)];
    let error = store.load(tenant).await.unwrap_err();
    let mut errors = vec![error.clone(), store.reencrypt(tenant).await.unwrap_err()];
    for expected in expected {
        for new in [active(9, "seeded-a9", "seeded-r9"), intent(stored)] {
            errors.push(store.save(tenant, expected, &new).await.unwrap_err());
        }
    }
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Store);
        let shown = format!("{error} {error:?} {error:#?}");
        assert!(!shown.contains("seeded"), "{shown}");
        for text in texts(stored) {
            assert!(!shown.contains(&text), "{shown}");
        }
    }
    assert_eq!(store.inner.load(tenant).await.unwrap(), before);
    error
}

#[tokio::test]
async fn p23_every_state_round_trips_and_the_inner_store_sees_no_token() {
    let (inner, store) = encrypted();
    let (bare, tokens) = (
        tokens("seeded-a", None),
        tokens("seeded-a", Some("seeded-r")),
    );
    let since = at(1_764_000_001);
    let with_values = tokens
        .clone()
        .with_value("realm_id", "seeded-v")
        .with_value("instance_url", "seeded-u");
    let states = [
        GrantState::Active(with_values),
        GrantState::Active(tokens.clone()),
        GrantState::Active(bare),
        GrantState::Refreshing {
            tokens: tokens.clone(),
            since,
            is_replayed: true,
        },
        GrantState::ReauthorizationRequired {
            tokens,
            reason: ReauthorizationReason::RotationLost,
            since,
        },
        GrantState::Revoked { since },
    ];
    for (number, state) in states.into_iter().enumerate() {
        let acme = tenant(&format!("acme-{number}"));
        let grant = Grant::new(Generation::FIRST, state);
        let saved = store.save(&acme, None, &grant).await.unwrap();
        assert_eq!(saved, SaveOutcome::Committed);
        assert_eq!(store.load(&acme).await.unwrap(), Some(grant.clone()));

        let row = inner.load(&acme).await.unwrap().unwrap();
        assert!(texts(&row).iter().all(|text| text.starts_with("tow1.k1.")));
        let bytes = row.to_bytes(&acme);
        assert!(!String::from_utf8_lossy(&bytes).contains("seeded"));
        // All other fields are unchanged.
        let open = with_secrets(&row, |_, _| Ok(Zeroizing::new("x".into()))).unwrap();
        let same = with_secrets(&grant, |_, _| Ok(Zeroizing::new("x".into()))).unwrap();
        assert_eq!(open, same);
    }
}

#[tokio::test]
async fn p23_files_contain_no_token() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let inner = FileStore::open(directory.path()).unwrap();
        encrypt(inner, EncryptionKeys::new(key("k1", 1)))
    };
    let (acme, grant) = (tenant("acme"), active(1, "seeded-a", "seeded-r"));
    open().save(&acme, None, &grant).await.unwrap();
    open().save(&acme, FIRST, &intent(&grant)).await.unwrap();
    assert_eq!(open().load(&acme).await.unwrap(), Some(intent(&grant)));

    let mut files = 0;
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("seeded"));
        files += 1;
    }
    assert_eq!(
        files, 6,
        "a grant, the log of saves, the marker, and their locks"
    );
}

#[tokio::test]
async fn p12_loser_of_a_race_gets_the_winners_grant() {
    let (inner, store) = encrypted();
    let (acme, first) = (tenant("acme"), active(1, "a1", "r1"));
    store.save(&acme, None, &first).await.unwrap();

    // An intent has the generation and the tokens of the grant before it.
    let with_intent = intent(&first);
    let saved = store.save(&acme, FIRST, &with_intent).await.unwrap();
    assert_eq!(saved, SaveOutcome::Committed);
    assert_eq!(store.load(&acme).await.unwrap(), Some(with_intent.clone()));

    // Equal tokens under another generation.
    let renumbered = active(2, "a1", "r1");
    let before = texts(&inner.load(&acme).await.unwrap().unwrap());
    let saved = store.save(&acme, FIRST, &renumbered).await.unwrap();
    assert_eq!(saved, SaveOutcome::Committed);
    assert_ne!(texts(&inner.load(&acme).await.unwrap().unwrap()), before);

    for expected in [None, FIRST, Some(Generation::from_u64(3))] {
        let lost = store.save(&acme, expected, &active(3, "a3", "r3")).await;
        let superseded = SaveOutcome::Superseded(Some(renumbered.clone()));
        assert_eq!(lost.unwrap(), superseded);
    }
    let absent = tenant("absent");
    let lost = store.save(&absent, FIRST, &with_intent).await.unwrap();
    assert_eq!(lost, SaveOutcome::Superseded(None));
    assert_eq!(store.load(&absent).await.unwrap(), None);
}

#[tokio::test]
async fn large_empty_and_deceptive_tokens_round_trip() {
    let large = "x".repeat(16 * 1024);
    let (inner, store) = encrypted();
    let sealed = {
        let acme = tenant("acme");
        store.save(&acme, None, &active(1, "a", "r")).await.unwrap();
        texts(&inner.load(&acme).await.unwrap().unwrap())
    };
    // A token that looks like an envelope is a token, even with the right binding.
    let cases = [
        (&*large, &*large),
        ("a", ""),
        ("tow1.k1.AAAA", "tow2."),
        (&sealed[0], &sealed[1]),
        ("a", "日本\u{0}\n"),
    ];
    for (number, (access, refresh)) in cases.into_iter().enumerate() {
        let other = tenant(&format!("other-{number}"));
        let grant = active(1, access, refresh);
        store.save(&other, None, &grant).await.unwrap();
        assert_eq!(store.load(&other).await.unwrap(), Some(grant));
    }
    let directory = tempfile::tempdir().unwrap();
    let files = FileStore::open(directory.path()).unwrap();
    let twice = encrypt(
        encrypt(files, EncryptionKeys::new(key("k1", 1))),
        EncryptionKeys::new(key("k2", 2)),
    );
    let (acme, grant) = (tenant("acme"), active(1, &large, &large));
    twice.save(&acme, None, &grant).await.unwrap();
    assert_eq!(twice.load(&acme).await.unwrap(), Some(grant));
}

#[tokio::test]
async fn leases_and_changes_pass_to_the_inner_store() {
    let (inner, store) = encrypted();
    let acme = tenant("acme");
    let (one, other) = (LeaseOwner::random(), LeaseOwner::random());
    let minute = Duration::from_secs(60);
    store.acquire(&acme, &one, minute).await.unwrap();
    let taken = inner.acquire(&acme, &other, minute).await.unwrap();
    assert_eq!(taken, LeaseOutcome::HeldByAnother);
    // Polled in this order, so that the change follows the first poll.
    let (changed, released) =
        tokio::join!(biased; store.changed(&acme), store.release(&acme, &one));
    released.unwrap();
    let () = changed;
    let taken = inner.acquire(&acme, &other, minute).await.unwrap();
    assert_eq!(taken, LeaseOutcome::Acquired);
}

#[test]
fn p21_debug_shows_neither_keys_nor_the_inner_store() {
    let seeded = vec!["seeded"];
    let store = encrypt(seeded, EncryptionKeys::new(key("k1", 7)));
    let shown = format!("{store:?} {store:#?}");
    assert!(shown.contains("k1") && shown.contains("client"));
    assert!(!shown.contains("seeded") && !shown.contains('7'));
}

#[test]
fn empty_client_is_refused() {
    let keys = EncryptionKeys::new(key("k1", 1));
    let error = EncryptedStore::new(MemoryStore::new(), keys, "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[tokio::test]
async fn the_history_is_kept_and_readable_without_the_key() {
    let (inner, store) = encrypted();
    let acme = tenant("acme");
    let entry = HistoryEntry::new(at(0), &"pod-1".into(), HistoryEvent::Connected);
    let history: History = [entry].into_iter().collect();
    let grant = active(1, "a1", "r1").with_history(history.clone());
    store.save(&acme, None, &grant).await.unwrap();
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant));
    let row = inner.load(&acme).await.unwrap().unwrap();
    assert_eq!(row.history, history);
}
