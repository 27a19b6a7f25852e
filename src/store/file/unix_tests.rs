//! Tests of what other users, or an operator, can do to the files.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{tests::*, *};
use crate::error::ErrorKind;

const FIRST: Option<Generation> = Some(Generation::FIRST);
const MINUTE: Duration = Duration::from_secs(60);

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Makes something that is not a regular file.
fn make_node(path: &Path, kind: FileType) {
    mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn create_if_missing(path: &Path) {
    if !path.exists() {
        fs::write(path, "").unwrap();
        restrict(path);
    }
}

fn replace_by_node(path: &Path, kind: FileType) {
    let _ = fs::remove_file(path);
    make_node(path, kind);
}

fn set_mode_of(path: &Path, mode: u32) {
    create_if_missing(path);
    set_mode(path, mode);
}

/// Puts something at a path.
type Plant = fn(&Path);

/// The things in place of a file that must not be used, each with a part of the error.
fn plants() -> Vec<(&'static str, Plant)> {
    let mut plants: Vec<(&str, Plant)> = vec![
        ("is a symbolic link", |path| {
            create_if_missing(path);
            fs::rename(path, path.with_extension("elsewhere")).unwrap();
            symlink(path.with_extension("elsewhere"), path).unwrap();
        }),
        ("is a symbolic link", |path| {
            let _ = fs::remove_file(path);
            symlink(path.with_extension("missing"), path).unwrap();
        }),
        ("is not a file", |path| {
            replace_by_node(path, FileType::Fifo);
        }),
        ("is not a file", |path| {
            replace_by_node(path, FileType::Socket);
        }),
        ("is not a file", |path| {
            let _ = fs::remove_file(path);
            fs::create_dir(path).unwrap();
        }),
        ("hard links", |path| {
            create_if_missing(path);
            fs::hard_link(path, path.with_extension("elsewhere")).unwrap();
        }),
        ("chmod 600", |path| set_mode_of(path, 0o640)),
        ("chmod 600", |path| set_mode_of(path, 0o604)),
        ("chmod 600", |path| set_mode_of(path, 0o620)),
        ("chmod 600", |path| set_mode_of(path, 0o666)),
    ];
    // Only a superuser can give a file away.
    if rustix::process::geteuid().is_root() {
        plants.push(("another user", |path| {
            create_if_missing(path);
            chown(path, Some(1_234), None).unwrap();
        }));
    }
    plants
}

fn remove(path: &Path) {
    let _ = fs::remove_file(path);
    let _ = fs::remove_dir(path);
    let _ = fs::remove_file(path.with_extension("elsewhere"));
}

/// The error names the file in its source only, and says what is wrong.
fn assert_rejected<T: std::fmt::Debug>(result: Result<T, Error>, path: &Path, why: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.to_string().contains(why), "{error}, not {why}");
    assert!(!error.to_string().contains("acme"), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, path.display().to_string());
}

#[tokio::test]
async fn p23_grant_that_is_not_a_file_of_the_owner_alone_is_rejected() {
    let directory = tempfile::tempdir().unwrap();
    let acme = tenant("acme");
    let store = FileStore::open(directory.path()).unwrap();
    let path = store.path(&acme);
    for (why, plant) in plants() {
        store.save(&acme, None, &grant(1, "a")).await.unwrap();
        plant(&path);
        assert_rejected(store.load(&acme).await, &path, why);
        let saved = store.save(&acme, FIRST, &grant(2, "b")).await;
        assert_rejected(saved, &path, why);
        assert!(!path.with_extension("missing").exists());
        remove(&path);
    }
}

#[tokio::test]
async fn p23_lock_that_is_not_a_file_of_the_owner_alone_is_rejected() {
    let directory = tempfile::tempdir().unwrap();
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    let store = FileStore::open(directory.path()).unwrap();
    let path = store.path(&acme).with_extension("lock");
    for (why, plant) in plants() {
        plant(&path);
        let saved = store.save(&acme, None, &grant(1, "a")).await;
        assert_rejected(saved, &path, why);
        let acquired = store.acquire(&acme, &owner, MINUTE).await;
        assert_rejected(acquired, &path, why);
        assert!(
            !path.with_extension("missing").exists(),
            "the target of a link is not created"
        );
        remove(&path);
    }
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
}

#[tokio::test]
async fn p23_lease_that_is_not_a_file_of_the_owner_alone_is_rejected() {
    let directory = tempfile::tempdir().unwrap();
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    let store = FileStore::open(directory.path()).unwrap();
    let path = store.path(&acme).with_extension("lease");
    for (why, plant) in plants() {
        plant(&path);
        let acquired = store.acquire(&acme, &owner, MINUTE).await;
        assert_rejected(acquired, &path, why);
        remove(&path);
    }
    store.acquire(&acme, &owner, MINUTE).await.unwrap();
}

/// The temporary file of a save is removed first, whatever it is.
#[tokio::test]
async fn p23_temporary_file_is_neither_followed_nor_used() {
    let directory = tempfile::tempdir().unwrap();
    let acme = tenant("acme");
    let store = FileStore::open(directory.path()).unwrap();
    let path = store.path(&acme);
    let temporary = path.with_extension("tmp");
    let mut expected = None;
    for (generation, (why, plant)) in (1..).zip(plants()) {
        plant(&temporary);
        if !temporary.is_dir() {
            let new = grant(generation, "a");
            store.save(&acme, expected, &new).await.expect(why);
            assert_eq!(mode(&path), 0o600);
            assert!(!temporary.with_extension("missing").exists());
            expected = Some(new.generation);
        }
        remove(&temporary);
    }
}

/// A runtime waits for its blocking tasks when it ends.
#[test]
fn p23_pipe_blocks_neither_other_tenants_nor_the_end_of_the_runtime() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = FileStore::open(directory.path()).unwrap();
        let trapped = [tenant("acme-1"), tenant("acme-2"), tenant("acme-3")];
        for tenant in &trapped {
            for extension in ["json", "lock", "lease", "tmp"] {
                let path = store.path(tenant).with_extension(extension);
                make_node(&path, FileType::Fifo);
            }
        }
        make_node(&directory.path().join(".alive-1"), FileType::Fifo);
        make_node(&directory.path().join(".saves"), FileType::Fifo);
        let owner = LeaseOwner::random();
        for tenant in &trapped {
            store.load(tenant).await.unwrap_err();
            let saved = store.save(tenant, None, &grant(1, "a")).await;
            saved.unwrap_err();
            store.acquire(tenant, &owner, MINUTE).await.unwrap_err();
        }
        let other = tenant("other");
        store.save(&other, None, &grant(1, "a")).await.unwrap();
        store.acquire(&other, &owner, MINUTE).await.unwrap();
        assert_eq!(store.tenants(None, 10).await.unwrap(), [other]);
    });
    drop(runtime);
}

#[tokio::test]
async fn p23_directory_that_others_can_write_to_is_rejected() {
    let parent = tempfile::tempdir().unwrap();
    let base = parent.path().canonicalize().unwrap();
    let path = base.join("grants");
    let store = FileStore::open(&path).unwrap();
    let acme = tenant("acme");
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    let rejects = async |at: &Path, why: &str| {
        assert_rejected(FileStore::open(&path), at, why);
        if at == path {
            assert_rejected(store.load(&acme).await, at, why);
            let saved = store.save(&acme, FIRST, &grant(2, "b")).await;
            assert_rejected(saved, at, why);
            assert_rejected(store.tenants(None, 1).await, at, why);
        }
    };
    for mode in [0o777, 0o702, 0o1777] {
        set_mode(&path, mode);
        rejects(&path, "all users can write").await;
    }
    set_mode(&path, 0o770);
    rejects(&path, "a group can write").await;
    if rustix::process::geteuid().is_root() {
        set_mode(&path, 0o700);
        chown(&path, Some(1_234), None).unwrap();
        rejects(&path, "another user").await;
        chown(&path, Some(0), None).unwrap();
    }
    set_mode(&path, 0o755);
    set_mode(&base, 0o777);
    rejects(&base, "directory on the path").await;
    set_mode(&base, 0o1777);
    FileStore::open(&path).unwrap();
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(1, "a")));
}

#[tokio::test]
async fn p23_path_through_a_link_is_checked_and_stays_the_same() {
    let parent = tempfile::tempdir().unwrap();
    let base = parent.path().canonicalize().unwrap();
    fs::create_dir(base.join("shared")).unwrap();
    let (link, acme) = (base.join("link"), tenant("acme"));
    symlink(base.join("first"), &link).unwrap();
    let store = FileStore::open(&link).unwrap();
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    // As a deployment does with a link to its current version.
    fs::remove_file(&link).unwrap();
    symlink(base.join("second"), &link).unwrap();
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(1, "a")));
    assert!(!base.join("second").exists());
    // The link leads through a directory that all users can write to.
    set_mode(&base.join("shared"), 0o777);
    fs::remove_file(&link).unwrap();
    symlink(base.join("shared/grants"), &link).unwrap();
    let shared = base.join("shared");
    assert_rejected(FileStore::open(&link), &shared, "directory on the path");
    assert!(!shared.join("grants").exists());
}

/// As Kubernetes sets up a volume with an `fsGroup`: at each mount, directories and files of the
/// volume get the group, and the group gets access.
#[tokio::test]
async fn p23_group_has_access_only_if_it_is_allowed() {
    let parent = tempfile::tempdir().unwrap();
    let volume = parent.path().canonicalize().unwrap();
    let path = volume.join("grants");
    let acme = tenant("acme");
    let store = FileStore::open(&path).unwrap();
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    set_mode(&volume, 0o2775);
    set_mode(&path, 0o2770);
    for entry in fs::read_dir(&path).unwrap() {
        set_mode(&entry.unwrap().path(), 0o660);
    }
    FileStore::open(&path).unwrap_err();
    store.load(&acme).await.unwrap_err();

    let builder = FileStore::builder(&path).allow_group_access(true);
    let store = builder.clone().open().unwrap();
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(1, "a")));
    store.save(&acme, FIRST, &grant(2, "b")).await.unwrap();
    let owner = LeaseOwner::random();
    store.acquire(&acme, &owner, MINUTE).await.unwrap();
    for entry in fs::read_dir(&path).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o660, "{}", path.display());
    }
    let grant_path = store.path(&acme);
    if rustix::process::geteuid().is_root() {
        // Another member of the group.
        chown(&grant_path, Some(1_234), None).unwrap();
        assert_eq!(store.load(&acme).await.unwrap(), Some(grant(2, "b")));
        // Another group.
        chown(&grant_path, Some(1_234), Some(1_234)).unwrap();
        assert_rejected(store.load(&acme).await, &grant_path, "another user");
        chown(&grant_path, Some(0), Some(0)).unwrap();
    }
    for mode in [0o664, 0o662, 0o666] {
        set_mode(&grant_path, mode);
        assert_rejected(store.load(&acme).await, &grant_path, "chmod 660");
    }
    set_mode(&path, 0o2772);
    assert_rejected(builder.open(), &path, "all users can write");
}

#[test]
fn p23_new_directory_of_a_group_is_shared_by_its_members() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("a/b");
    let builder = FileStore::builder(&path).allow_group_access(true);
    builder.clone().open().unwrap();
    assert_eq!(mode(&path), 0o2770);
    if rustix::process::geteuid().is_root() {
        // Another member has created the directories.
        for path in [path.parent().unwrap(), &path] {
            chown(path, Some(1_234), None).unwrap();
        }
        builder.open().unwrap();
    }
}

/// A directory that does not pass its group on, and files of before groups were allowed, or of a
/// crash between the creation of a file and its change of mode.
#[tokio::test]
async fn p23_files_of_the_user_are_given_to_the_group() {
    let Some(&group) = rustix::process::getgroups().unwrap().first() else {
        return;
    };
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("grants");
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    let store = FileStore::open(&path).unwrap();
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    chown(&path, None, Some(group.as_raw())).unwrap();
    set_mode(&path, 0o770);
    let builder = FileStore::builder(&path).allow_group_access(true);
    let store = builder.open().unwrap();
    store.save(&acme, FIRST, &grant(2, "b")).await.unwrap();
    store.acquire(&acme, &owner, MINUTE).await.unwrap();
    for entry in fs::read_dir(&path).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o660, "{}", path.display());
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(
            std::os::unix::fs::MetadataExt::gid(&metadata),
            group.as_raw()
        );
    }
}
