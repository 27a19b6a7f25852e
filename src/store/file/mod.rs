//! Grants as files in a local directory.
//!
//! Each tenant has a grant file and a lock file beside it. A save takes the lock, reads the stored
//! grant, and compares generations. Only then it writes a temporary file, syncs it, renames it over
//! the grant file and syncs the directory. A crash at any instant leaves the old grant or the new
//! one, whole. A file that cannot be read is never overwritten.
//!
//! Leases are files too: see `lease`. `disk` reads and writes files, and `list` lists tenants.
//! `log` announces saves to other processes, and `watch` receives the announcements.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use self::{
    disk::{
        CHECK_READ, CHECK_WRITE, create_directory, create_file, failed, open_lock, read_grant,
        replace,
    },
    lease::{Lease, Liveness, PROBE},
    name::file_name,
    watch::Watch,
};
use super::{
    announcer::Subscription,
    lease::{LeaseOutcome, LeaseOwner},
    token_store::{SaveOutcome, TokenStore},
};
use crate::{
    clock::{Clock, SystemClock},
    error::{Error, ErrorKind},
    token::{Generation, Grant, TenantId},
};

mod disk;
mod lease;
mod list;
mod log;
mod name;
mod watch;

/// A lock that another process holds is tried again for 5 seconds. Its work takes milliseconds.
const LOCK_ATTEMPTS: u32 = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A store in a local directory, shared by any number of processes on one machine.
///
/// ```
/// use tower_oauth2_client::store::FileStore;
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("grants");
/// let store = FileStore::open(&path)?;
/// assert!(path.is_dir());
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
///
/// # Durability
///
/// A committed save is synced to the disk. After a crash or a power failure at any instant, the
/// file contains the complete old grant or the complete new grant. A grant file is never
/// overwritten if it cannot be read.
///
/// Use a local disk. The store relies on the operating system's file locks, which network file
/// systems may ignore. The operating system releases the locks of a process that dies. A restart
/// after a crash therefore does not wait for the leases of the crashed process.
///
/// # Permissions
///
/// On Unix a missing directory is created with mode 0700, and files with mode 0600. If other users
/// can read or write a grant file, a call fails. The files contain the tokens in plain text, unless
/// an [`EncryptedStore`](super::EncryptedStore) wraps the store.
///
/// # Files
///
/// A file name consists of up to 40 characters of the tenant's name and a hash. `.json` is the
/// grant, `.lock` its lock, `.lease` its lease. To delete a grant, stop the processes that use it,
/// and move its `.json` file out of the directory. [`tenants`](TokenStore::tenants) orders by file
/// name and reads the whole directory for each page.
///
/// # Announcements
///
/// Each save appends a line with the tenant's name and the generation to the file `.saves`. The
/// other processes read new lines four times a second, which costs the same for any number of
/// grants. A save does not fail if the line cannot be written. The file is replaced when it reaches
/// 1 MiB, and may be deleted at any time.
///
/// # Errors
///
/// Errors are of kind [`Store`](ErrorKind::Store). The path is in the error's source, not in its
/// message, since file names contain parts of tenant names. A call waits up to 5 seconds for a lock
/// that another process holds. Blocking work runs on tokio's threads for blocking tasks.
#[derive(Clone, Debug)]
pub struct FileStore {
    directory: Arc<Path>,
    /// Created with the first lease.
    liveness: Arc<Mutex<Option<Liveness>>>,
    watch: Arc<Watch>,
}

impl FileStore {
    /// Opens a directory, which is created if it is missing, and checks that it can be written to.
    ///
    /// This call blocks for a moment. Make it at startup.
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store), with the path as source, if the directory cannot be created or
    /// written to.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, Error> {
        let directory = directory.as_ref();
        let fail = |error| {
            failed(
                "token directory cannot be written",
                directory,
                CHECK_WRITE,
                Some(error),
            )
        };
        create_directory(directory).map_err(fail)?;
        // Each call has its own probe, which no probe of a crashed or concurrent process can
        // obstruct.
        let probe = directory.join(format!("{PROBE}{:016x}", fastrand::u64(..)));
        create_file(&probe)
            .and_then(|_| fs::remove_file(&probe))
            .map_err(fail)?;
        Ok(Self {
            directory: directory.into(),
            liveness: Arc::default(),
            watch: Arc::default(),
        })
    }

    /// Writes the lease. The caller holds the tenant's lock.
    fn write_lease(&self, path: &Path, owner: &LeaseOwner, duration: Duration) -> io::Result<()> {
        let mut liveness = self.liveness.lock().unwrap_or_else(PoisonError::into_inner);
        // An operator may have deleted the file.
        if liveness.as_ref().is_none_or(|liveness| !liveness.exists()) {
            *liveness = Some(Liveness::create(&self.directory)?);
        }
        let Some(liveness) = &*liveness else {
            return Err(io::Error::other("the store has no liveness file"));
        };
        let too_long = || io::Error::other("the lease would end after the year 9999");
        Lease::new(owner, liveness, SystemClock.wall(), duration)
            .ok_or_else(too_long)?
            .write(path)
    }

    fn path(&self, tenant: &TenantId) -> PathBuf {
        self.directory.join(format!("{}.json", file_name(tenant)))
    }
}

impl TokenStore for FileStore {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let (path, tenant) = (self.path(tenant), tenant.clone());
        blocking(move || read_grant(&path, &tenant)).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let path = self.path(tenant);
        let lock = lock(path.with_extension("lock")).await?;
        let (directory, tenant) = (Arc::clone(&self.directory), tenant.clone());
        let (bytes, generation) = (grant.to_bytes(&tenant), grant.generation);
        blocking(move || {
            // Held until the work is done, even if the future is dropped.
            let _lock = lock;
            let stored = read_grant(&path, &tenant)?;
            if stored.as_ref().map(|stored| stored.generation) != expected {
                return Ok(SaveOutcome::Superseded(stored));
            }
            let fail = |error| {
                failed(
                    "token file cannot be written",
                    &path,
                    CHECK_WRITE,
                    Some(error),
                )
            };
            let announce = || log::append(&directory, &tenant, generation);
            replace(&directory, &path, &bytes, announce).map_err(fail)?;
            Ok(SaveOutcome::Committed)
        })
        .await
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        let path = self.path(tenant).with_extension("lease");
        let lock = lock(path.with_extension("lock")).await?;
        let (store, owner) = (self.clone(), owner.clone());
        blocking(move || {
            let _lock = lock;
            let now = SystemClock.wall();
            let is_taken = read_lease(&path)?.is_some_and(|lease| {
                !lease.belongs_to(&owner) && lease.is_valid(&store.directory, now)
            });
            if is_taken {
                return Ok(LeaseOutcome::HeldByAnother);
            }
            store
                .write_lease(&path, &owner, duration)
                .map_err(|error| {
                    failed(
                        "lease file cannot be written",
                        &path,
                        CHECK_WRITE,
                        Some(error),
                    )
                })?;
            Ok(LeaseOutcome::Acquired)
        })
        .await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        let path = self.path(tenant).with_extension("lease");
        let lock = lock(path.with_extension("lock")).await?;
        let owner = owner.clone();
        blocking(move || {
            let _lock = lock;
            if read_lease(&path)?.is_none_or(|lease| !lease.belongs_to(&owner)) {
                return Ok(());
            }
            fs::remove_file(&path).map_err(|error| {
                failed(
                    "lease file cannot be written",
                    &path,
                    CHECK_WRITE,
                    Some(error),
                )
            })
        })
        .await
    }

    fn subscribe(&self) -> Option<Subscription> {
        Some(self.watch.subscribe(&self.directory))
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        let (directory, after) = (Arc::clone(&self.directory), after.cloned());
        blocking(move || list::page(&directory, after.as_ref(), limit)).await
    }
}

fn read_lease(path: &Path) -> Result<Option<Lease>, Error> {
    Lease::read(path)
        .map_err(|error| failed("lease file cannot be read", path, CHECK_READ, Some(error)))
}

async fn lock(path: PathBuf) -> Result<File, Error> {
    let path = Arc::new(path);
    for _ in 0..LOCK_ATTEMPTS {
        let shared = Arc::clone(&path);
        let attempt = blocking(move || {
            let fail = |error| {
                failed(
                    "lock file cannot be locked",
                    &shared,
                    CHECK_WRITE,
                    Some(error),
                )
            };
            let file = open_lock(&shared).map_err(fail)?;
            match file.try_lock() {
                Ok(()) => Ok(Some(file)),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(fail(error)),
            }
        });
        if let Some(file) = attempt.await? {
            return Ok(file);
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    Err(failed(
        "lock file cannot be locked",
        &path,
        "another process has held it for 5 seconds; check whether that process is stopped",
        None,
    ))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(
            ErrorKind::Interrupted,
            "token file access was interrupted: the runtime is shutting down or the task panicked; \
             see the source",
        )
        .with_source(error)
    })?
}

#[cfg(test)]
mod tests;
