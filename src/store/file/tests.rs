use std::{collections::HashSet, error::Error as _, time::SystemTime};

use super::{disk::LARGEST_FILE, *};
use crate::token::{AccessToken, GrantState, RefreshToken, TokenSet};

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub(super) fn grant(generation: u64, secret: &str) -> Grant {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000);
    let access_token = AccessToken::new(secret).unwrap();
    Grant {
        generation: Generation::from_u64(generation),
        state: GrantState::Active(
            TokenSet::new(access_token, Duration::from_secs(60), at)
                .with_refresh_token(RefreshToken::new(secret), at),
        ),
    }
}

const FIRST: Option<Generation> = Some(Generation::FIRST);

#[tokio::test]
async fn survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let acme = tenant("acme");
    let store = FileStore::open(folder.path()).unwrap();
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    store.save(&acme, FIRST, &grant(2, "b")).await.unwrap();

    let again = FileStore::open(folder.path()).unwrap();
    assert_eq!(again.load(&acme).await.unwrap(), Some(grant(2, "b")));
    assert_eq!(again.load(&tenant("other")).await.unwrap(), None);
}

#[cfg(unix)]
#[tokio::test]
async fn owner_alone_can_read() {
    use std::os::unix::fs::PermissionsExt;

    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("grants");
    let store = FileStore::open(&folder).unwrap();
    store
        .save(&tenant("acme"), None, &grant(1, "a"))
        .await
        .unwrap();

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 2, "a grant and its lock: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn what_a_crash_left_behind_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path()).unwrap();
    let path = store.path(&tenant("acme"));
    fs::write(path.with_extension("tmp"), "half a gr").unwrap();
    assert_eq!(store.load(&tenant("acme")).await.unwrap(), None);
    store
        .save(&tenant("acme"), None, &grant(1, "a"))
        .await
        .unwrap();
    assert_eq!(
        store.load(&tenant("acme")).await.unwrap(),
        Some(grant(1, "a"))
    );
    assert!(!path.with_extension("tmp").exists());
}

#[tokio::test]
async fn corrupt_or_foreign_file_is_named_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path()).unwrap();
    let (acme, other) = (tenant("acme"), tenant("other"));
    let path = store.path(&acme);
    let foreign = grant(1, "seeded").to_bytes(&other).to_vec();
    let large = vec![b' '; usize::try_from(LARGEST_FILE).unwrap() + 1];
    for bytes in [
        b"seeded".to_vec(),
        Vec::new(),
        b"{\"a\":1}".to_vec(),
        foreign,
        large,
    ] {
        fs::write(&path, &bytes).unwrap();
        let load = store.load(&acme).await.unwrap_err();
        let fresh = store.save(&acme, None, &grant(1, "a")).await.unwrap_err();
        let next = store.save(&acme, FIRST, &grant(2, "b")).await.unwrap_err();
        for error in [load, fresh, next] {
            assert_eq!(error.kind(), ErrorKind::Store);
            let cause = error.source().unwrap().to_string();
            assert_eq!(cause, path.display().to_string());
            assert!(!error.to_string().contains("acme"), "{error}");
            assert!(!format!("{error} {cause}").contains("seeded"));
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[tokio::test]
async fn unwritable_folder_is_a_store_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    fs::write(&file, "").unwrap();
    // Not by permissions: those do not bind a superuser.
    for path in [file.clone(), file.join("below")] {
        let error = FileStore::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.source().unwrap().to_string().contains("a-file"));
    }
}

#[test]
fn many_may_open_a_folder_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    FileStore::open(&path).unwrap();
                }
            });
        }
    });
    assert_eq!(
        fs::read_dir(&path).unwrap().count(),
        0,
        "and leave nothing behind"
    );
}

#[tokio::test]
async fn something_else_in_the_place_of_a_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path()).unwrap();
    fs::create_dir(store.path(&tenant("acme"))).unwrap();
    let error = store.load(&tenant("acme")).await.unwrap_err();
    assert!(error.to_string().contains("is not a file"), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_gone_is_an_error_not_an_empty_store() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("grants");
    let store = FileStore::open(&folder).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let error = store
        .save(&tenant("acme"), None, &grant(1, "a"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_never_freed_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path()).unwrap();
    let path = store.path(&tenant("acme")).with_extension("lock");
    let held = open_lock(&path).unwrap();
    held.lock().unwrap();
    let error = store
        .save(&tenant("acme"), None, &grant(1, "a"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is it stopped?"), "{error}");
    drop(held);
    store
        .save(&tenant("acme"), None, &grant(1, "a"))
        .await
        .unwrap();
}

#[test]
fn p23_names_of_look_alike_tenants_differ_on_every_file_system() {
    let long = "x".repeat(255);
    let tenants = [
        "acme",
        "Acme",
        "acme/",
        "acme\\",
        "../acme",
        "аcme",
        "é",
        "e\u{301}",
        ".",
        "con",
        &long,
        &long[1..],
    ];
    let names: HashSet<_> = tenants
        .iter()
        .map(|name| file_name(&tenant(name)).to_lowercase())
        .collect();
    assert_eq!(names.len(), tenants.len());
    for name in names {
        assert!(name.len() <= 128);
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
            "{name}"
        );
    }
}

#[test]
fn a_grant_of_an_earlier_version_is_found_by_its_name() {
    // By `printf Acme | sha256sum`.
    let hash = "37036cd8f9746d335038eca92f8a73ae5f1bca4779a1e55e5812e37743b2f5bf";
    assert_eq!(file_name(&tenant("Acme")), format!("acme-{hash}"));
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let acme = tenant("acme");
    let store = FileStore::open(folder.path()).unwrap();
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    let path = store.path(&acme);
    let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o640, 0o604, 0o620] {
        set(mode);
        let error = store.load(&acme).await.unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        let saved = store.save(&acme, FIRST, &grant(2, "b")).await;
        assert!(saved.is_err(), "{mode:o}");
    }
    set(0o600);
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(1, "a")));
}
