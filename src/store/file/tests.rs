use std::{
    collections::HashSet,
    error::Error as _,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    disk::LARGEST_FILE,
    lease_clock::{BootTime, Moment},
    *,
};
use crate::{
    error::ErrorKind,
    token::{AccessToken, GrantState, RefreshToken, TokenSet},
};

impl FileStore {
    /// The path of a tenant's grant.
    pub(super) fn path(&self, tenant: &TenantId) -> PathBuf {
        self.location.path().join(grant_file(&file_name(tenant)))
    }
}

/// Removes the access of other users, which `fs::write` gives by default.
pub(super) fn restrict(path: &Path) {
    #[cfg(unix)]
    set_mode(path, 0o600);
    #[cfg(not(unix))]
    let _ = path;
}

#[cfg(unix)]
pub(super) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;

    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub(super) fn grant(generation: u64, secret: &str) -> Grant {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000);
    let access_token = AccessToken::new(secret).unwrap();
    Grant::new(
        Generation::from_u64(generation),
        GrantState::Active(
            TokenSet::new(access_token, Duration::from_secs(60), at)
                .with_refresh_token(RefreshToken::new(secret), at),
        ),
    )
}

const FIRST: Option<Generation> = Some(Generation::FIRST);

#[tokio::test]
async fn p13_grant_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let acme = tenant("acme");
    let store = FileStore::open(directory.path()).unwrap();
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    store.save(&acme, FIRST, &grant(2, "b")).await.unwrap();

    let again = FileStore::open(directory.path()).unwrap();
    assert_eq!(again.load(&acme).await.unwrap(), Some(grant(2, "b")));
    assert_eq!(again.load(&tenant("other")).await.unwrap(), None);
}

#[cfg(unix)]
#[tokio::test]
async fn p23_files_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("grants");
    let store = FileStore::open(&directory).unwrap();
    store
        .save(&tenant("acme"), None, &grant(1, "a"))
        .await
        .unwrap();

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let files: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(
        files.len(),
        6,
        "a grant, the log, the marker, and their locks: {files:?}"
    );
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn p13_temporary_file_of_a_crash_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
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
async fn p14_unreadable_file_is_an_error_and_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
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
        restrict(&path);
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
async fn p14_unwritable_directory_is_an_error_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a-file");
    fs::write(&file, "").unwrap();
    // Permissions would not stop a superuser.
    for path in [file.clone(), file.join("below")] {
        let error = FileStore::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.source().unwrap().to_string().contains("a-file"));
    }
}

#[test]
fn concurrent_opens_of_one_directory_succeed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    FileStore::open(&path).unwrap();
                }
            });
        }
    });
    let mut names: Vec<_> = fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, [".store", ".store-lock"], "no probe remains");
}

#[tokio::test]
async fn p14_path_that_is_not_a_file_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    fs::create_dir(store.path(&tenant("acme"))).unwrap();
    let error = store.load(&tenant("acme")).await.unwrap_err();
    assert!(error.to_string().contains("is not a file"), "{error}");
}

#[tokio::test]
async fn p14_grant_that_could_not_be_read_again_is_not_saved() {
    let directory = tempfile::tempdir().unwrap();
    let acme = tenant("acme");
    let store = FileStore::open(directory.path()).unwrap();
    let of_length = |generation, length| {
        let at = SystemTime::UNIX_EPOCH;
        let tokens = TokenSet::new(AccessToken::new("a").unwrap(), None, at)
            .with_refresh_token(RefreshToken::new("r".repeat(length)), at);
        Grant::new(Generation::from_u64(generation), GrantState::Active(tokens))
    };
    let limit = usize::try_from(LARGEST_FILE).unwrap();
    let overhead = of_length(1, 0).to_bytes(&acme).len();
    let largest = of_length(1, limit - overhead);
    assert_eq!(largest.to_bytes(&acme).len(), limit);
    store.save(&acme, None, &largest).await.unwrap();
    assert_eq!(store.load(&acme).await.unwrap().as_ref(), Some(&largest));
    for length in [limit - overhead + 1, limit, 2 * limit] {
        let error = store.save(&acme, FIRST, &of_length(2, length)).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Store);
        let error = store
            .save(&tenant("same"), None, &of_length(1, length))
            .await;
        error.unwrap_err();
    }
    assert_eq!(store.load(&acme).await.unwrap(), Some(largest));
    assert_eq!(store.load(&tenant("same")).await.unwrap(), None);
}

/// The clocks of one machine.
#[derive(Debug)]
struct SetClock(Mutex<Moment>);

impl SetClock {
    fn new(boot: Option<&str>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Moment {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000),
            boot: boot.map(|id| BootTime {
                id: id.into(),
                since: Duration::from_secs(1_000),
            }),
        })))
    }

    /// Sets the wall clock.
    fn step(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap();
        let by = Duration::from_secs(seconds.unsigned_abs());
        now.wall = if seconds < 0 {
            now.wall - by
        } else {
            now.wall + by
        };
    }

    fn pass(&self, seconds: u64) {
        let mut now = self.0.lock().unwrap();
        let by = Duration::from_secs(seconds);
        now.wall += by;
        if let Some(boot) = &mut now.boot {
            boot.since += by;
        }
    }
}

impl LeaseClock for SetClock {
    fn now(&self) -> Moment {
        self.0.lock().unwrap().clone()
    }
}

/// Two processes that share a directory, each with a clock.
struct Rivals {
    first: FileStore,
    second: FileStore,
    owners: [LeaseOwner; 2],
    _directory: tempfile::TempDir,
}

impl Rivals {
    fn new(first: &Arc<SetClock>, second: &Arc<SetClock>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let open = |clock: &Arc<SetClock>| FileStore {
            clock: Arc::<SetClock>::clone(clock),
            ..FileStore::open(directory.path()).unwrap()
        };
        Self {
            first: open(first),
            second: open(second),
            owners: [LeaseOwner::random(), LeaseOwner::random()],
            _directory: directory,
        }
    }

    async fn first_acquires(&self) {
        let lease = Duration::from_secs(15);
        let (acme, [owner, _]) = (tenant("acme"), &self.owners);
        let outcome = self.first.acquire(&acme, owner, lease).await;
        assert_eq!(outcome.unwrap(), LeaseOutcome::Acquired);
    }

    async fn second_acquires(&self) -> bool {
        let lease = Duration::from_secs(15);
        let (acme, [_, owner]) = (tenant("acme"), &self.owners);
        let outcome = self.second.acquire(&acme, owner, lease).await;
        outcome.unwrap() == LeaseOutcome::Acquired
    }
}

#[tokio::test]
async fn p10_lease_outlasts_steps_of_the_wall_clock() {
    for step in [15, 16, 3_600, 40_000_000, -15, -100, -3_600, -40_000_000] {
        let clock = SetClock::new(Some("boot"));
        let rivals = Rivals::new(&clock, &clock);
        rivals.first_acquires().await;
        clock.step(step);
        assert!(!rivals.second_acquires().await, "{step}");
        clock.pass(14);
        assert!(!rivals.second_acquires().await, "{step}");
        clock.step(-step);
        assert!(!rivals.second_acquires().await, "{step}");
        clock.step(step);
        clock.pass(1);
        assert!(rivals.second_acquires().await, "{step}");
    }
}

/// Another machine, a restarted one, or a system without such a clock.
#[tokio::test]
async fn p10_lease_of_another_machine_ends_by_the_wall_clock() {
    for boots in [
        [Some("a"), Some("b")],
        [Some("a"), None],
        [None, Some("a")],
        [None, None],
    ] {
        let clocks = boots.map(SetClock::new);
        // Machines start at different times.
        if let Some(boot) = &mut clocks[1].0.lock().unwrap().boot {
            boot.since = Duration::from_secs(1_000_000);
        }
        let rivals = Rivals::new(&clocks[0], &clocks[1]);
        rivals.first_acquires().await;
        assert!(!rivals.second_acquires().await, "{boots:?}");
        clocks[1].pass(14);
        assert!(!rivals.second_acquires().await, "{boots:?}");
        clocks[1].pass(1);
        assert!(rivals.second_acquires().await, "{boots:?}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn p10_lease_contains_the_time_since_the_start_of_the_machine() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    let minute = Duration::from_secs(60);
    store.acquire(&acme, &owner, minute).await.unwrap();
    let lease = fs::read_to_string(store.path(&acme).with_extension("lease")).unwrap();
    let boot = store.clock.now().boot.unwrap();
    assert!(lease.contains(&boot.id), "{lease}");
    assert!(!boot.since.is_zero());
}

fn file_count(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[tokio::test]
async fn p10_leases_of_callbacks_leave_a_bounded_number_of_files() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let (owner, other) = (LeaseOwner::random(), LeaseOwner::random());
    let minute = Duration::from_secs(60);
    let before = file_count(directory.path());
    for number in 0..200 {
        let name = TenantId::reserved(&format!("callback/{number}"));
        let acquire = async |owner| store.acquire(&name, owner, minute).await.unwrap();
        assert_eq!(acquire(&owner).await, LeaseOutcome::Acquired);
        assert_eq!(acquire(&other).await, LeaseOutcome::HeldByAnother);
        store.release(&name, &owner).await.unwrap();
    }
    let after = file_count(directory.path());
    // The locks, and the file that shows that the store is in use.
    assert!(after <= before + 16 + 1, "{after}");
    assert_eq!(store.tenants(None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn p10_expired_leases_of_callbacks_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let clock = SetClock::new(Some("boot"));
    let open = || FileStore {
        clock: Arc::<SetClock>::clone(&clock),
        ..FileStore::open(directory.path()).unwrap()
    };
    let acquire = async |store: &FileStore, name: &str, seconds| {
        let (name, owner) = (TenantId::reserved(name), LeaseOwner::random());
        let lease = Duration::from_secs(seconds);
        store.acquire(&name, &owner, lease).await.unwrap()
    };
    let leases = || {
        let names = fs::read_dir(directory.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name());
        let of_lease = |name: &std::ffi::OsString| name.to_string_lossy().ends_with("lease");
        names.filter(of_lease).count()
    };
    let live = open();
    acquire(&live, "sweep/1", 600).await;
    acquire(&live, "callback/short", 15).await;
    // A process that ended without a release.
    let crashed = open();
    for number in 0..100 {
        acquire(&crashed, &format!("callback/{number}"), 600).await;
    }
    assert_eq!(leases(), 102);
    drop(crashed);
    clock.pass(20);
    acquire(&open(), "callback/new", 600).await;
    // All but those whose lock the call has itself.
    let left = leases();
    assert!(left <= 2 + 100 / 8, "{left}");
    let held = acquire(&open(), "sweep/1", 15).await;
    assert_eq!(held, LeaseOutcome::HeldByAnother, "it is still valid");
}

/// Every call fails with an error that names the directory.
async fn fails_at(store: &FileStore, directory: &Path) {
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    let minute = Duration::from_secs(60);
    let errors = [
        store.load(&acme).await.unwrap_err(),
        store.load(&tenant("other")).await.unwrap_err(),
        store.save(&acme, None, &grant(1, "a")).await.unwrap_err(),
        store.save(&acme, FIRST, &grant(2, "b")).await.unwrap_err(),
        store.acquire(&acme, &owner, minute).await.unwrap_err(),
        store.release(&acme, &owner).await.unwrap_err(),
        store.tenants(None, 10).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Store);
        let source = error.source().unwrap().to_string();
        assert_eq!(source, directory.display().to_string());
    }
}

#[tokio::test]
async fn p14_vanished_directory_is_an_error_and_never_an_empty_store() {
    let parent = tempfile::tempdir().unwrap();
    let parent = parent.path().canonicalize().unwrap();
    let (directory, away) = (parent.join("grants"), parent.join("away"));
    let acme = tenant("acme");
    let store = FileStore::open(&directory).unwrap();
    store.save(&acme, None, &grant(1, "a")).await.unwrap();

    fs::rename(&directory, &away).unwrap();
    fails_at(&store, &directory).await;

    // The mount point of a disk that is not mounted.
    fs::create_dir(&directory).unwrap();
    fails_at(&store, &directory).await;
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);

    let other = FileStore::open(&directory).unwrap();
    other.save(&acme, None, &grant(1, "other")).await.unwrap();
    fails_at(&store, &directory).await;
    assert_eq!(other.load(&acme).await.unwrap(), Some(grant(1, "other")));

    fs::remove_dir_all(&directory).unwrap();
    fs::write(&directory, "").unwrap();
    fails_at(&store, &directory).await;

    fs::remove_file(&directory).unwrap();
    fs::rename(&away, &directory).unwrap();
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(1, "a")));
    store.save(&acme, FIRST, &grant(2, "b")).await.unwrap();
}

#[tokio::test]
async fn p14_lost_or_damaged_marker_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    let acme = tenant("acme");
    let store = FileStore::open(&path).unwrap();
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    let marker = path.join(".store");
    let whole = fs::read(&marker).unwrap();
    for damaged in [
        b"".as_slice(),
        b"other",
        &whole[..whole.len() - 10],
        &[0xff; 80],
        &[&whole[..whole.len() - 2], b"\xff\n"].concat(),
        &[&whole[..whole.len() - 2], b"?\n"].concat(),
    ] {
        fs::write(&marker, damaged).unwrap();
        fails_at(&store, &path).await;
        let error = FileStore::open(&path).unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
    }
    fs::write(&marker, &whole).unwrap();
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(1, "a")));
    fs::remove_file(&marker).unwrap();
    fails_at(&store, &path).await;
    // Opening it again accepts it, like the directory of a version without markers.
    let builder = FileStore::builder(&path).must_exist(true);
    let again = builder.open().unwrap();
    assert_eq!(again.load(&acme).await.unwrap(), Some(grant(1, "a")));
    fails_at(&store, &path).await;
}

#[tokio::test]
async fn p14_store_that_must_exist_is_not_created() {
    let parent = tempfile::tempdir().unwrap();
    let parent = parent.path().canonicalize().unwrap();
    let directory = parent.join("a/grants");
    let builder = FileStore::builder(&directory).must_exist(true);
    let fails = |at: &Path| {
        let error = builder.clone().open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.to_string().contains("mounted"), "{error}");
        let source = error.source().unwrap().to_string();
        assert_eq!(source, at.display().to_string());
    };
    fails(&parent.join("a"));
    assert!(!parent.join("a").exists());
    fs::create_dir_all(&directory).unwrap();
    fails(&directory);
    // A new file system is not quite empty.
    fs::create_dir(directory.join("lost+found")).unwrap();
    fs::write(directory.join("notes.json"), "").unwrap();
    fails(&directory);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);

    FileStore::open(&directory).unwrap();
    builder.clone().open().unwrap();
}

#[tokio::test(start_paused = true)]
async fn lock_held_for_too_long_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let path = store.path(&tenant("acme")).with_extension("lock");
    fs::write(&path, "").unwrap();
    restrict(&path);
    let lock = fs::File::open(&path).unwrap();
    lock.lock().unwrap();
    let error = store
        .save(&tenant("acme"), None, &grant(1, "a"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is stopped"), "{error}");
    drop(lock);
    store
        .save(&tenant("acme"), None, &grant(1, "a"))
        .await
        .unwrap();
}

#[test]
fn p23_file_names_of_similar_tenants_differ_on_every_file_system() {
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
fn file_names_are_stable_across_versions() {
    // By `printf Acme | sha256sum`.
    let hash = "37036cd8f9746d335038eca92f8a73ae5f1bca4779a1e55e5812e37743b2f5bf";
    assert_eq!(file_name(&tenant("Acme")), format!("acme-{hash}"));
}
