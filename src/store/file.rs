//! Grants in a folder of a local disk.
//!
//! Each tenant has a file (the grant) and a lock file beside it. A save takes the lock, reads what is there, compares the
//! generation, and only then writes: a temporary file, synced, renamed over the old one, and the folder synced. So a crash
//! at any instant leaves the old grant or the new one, whole, and a file that cannot be understood is never overwritten.
//! Leases are files of their own, for which `lease` has the rules; `disk` writes them all, and `list`
//! finds whose they are.

use std::{
    fmt::Write as _,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hmac_sha256::Hash as Sha256;

use self::{
    disk::{create_file, create_folder, failed, open_lock, read, replace},
    lease::{Alive, Lease, PROBE},
};
use super::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore};
use crate::{
    clock::{Clock, SystemClock},
    error::{Error, ErrorKind},
    token::{Generation, Grant, TenantId},
};

mod disk;
mod lease;
mod list;

/// How often, and how far apart, a lock that is held is tried again: 5 seconds in all, for work of a few milliseconds.
const LOCK_ATTEMPTS: u32 = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A store in a folder, good enough to survive a restart, a crash and several processes on one machine.
///
/// Files are readable by their owner alone (mode 0600 on Unix), are refused if that is not so any more, and hold the tokens in the clear: the folder is as secret as
/// they are, unless an [`EncryptedStore`](super::EncryptedStore) is around it. Locks are those of the operating system, freed when a process dies; on network file systems they may mean
/// nothing, so keep the folder on a local disk. Blocking work is done on the runtime's threads for that.
///
/// ```
/// use tower_oauth2_client::store::FileStore;
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("grants");
/// let store = FileStore::open(&path)?;
/// assert!(path.is_dir());
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FileStore {
    folder: Arc<Path>,
    /// Begun with the first lease.
    alive: Arc<Mutex<Option<Alive>>>,
}

impl FileStore {
    /// Opens a folder, and creates it (for its owner alone) if it is not there. Blocks for a moment: call it at start.
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store), with the path, if the folder cannot be created or written to: better now than when a
    /// refresh token has been spent.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let fail = |error| failed("token folder", folder, "cannot be written", Some(error));
        create_folder(folder).map_err(fail)?;
        // Its own in each call: one that a crash has left behind, or another process has, is no reason to fail.
        let probe = folder.join(format!("{PROBE}{:016x}", fastrand::u64(..)));
        create_file(&probe)
            .and_then(|_| fs::remove_file(&probe))
            .map_err(fail)?;
        Ok(Self {
            folder: folder.into(),
            alive: Arc::default(),
        })
    }

    /// Only ever called with the tenant's lock held.
    fn take(&self, path: &Path, owner: &LeaseOwner, duration: Duration) -> io::Result<()> {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have tidied up.
        if alive.as_ref().is_none_or(|alive| !alive.is_there()) {
            *alive = Some(Alive::begin(&self.folder)?);
        }
        let Some(alive) = &*alive else {
            return Err(io::Error::other("a store that does not live"));
        };
        let too_long = || io::Error::other("the lease would not end before the year 9999");
        Lease::new(owner, alive, SystemClock.wall(), duration)
            .ok_or_else(too_long)?
            .write(path)
    }

    fn path(&self, tenant: &TenantId) -> PathBuf {
        self.folder.join(format!("{}.json", file_name(tenant)))
    }
}

impl TokenStore for FileStore {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let (path, tenant) = (self.path(tenant), tenant.clone());
        blocking(move || read(&path, &tenant)).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let path = self.path(tenant);
        let lock = lock(path.with_extension("lock")).await?;
        let (folder, tenant) = (Arc::clone(&self.folder), tenant.clone());
        let bytes = grant.to_bytes(&tenant);
        blocking(move || {
            // Held until the work is done, even if nobody waits for it any more.
            let _lock = lock;
            let held = read(&path, &tenant)?;
            if held.as_ref().map(|held| held.generation) != expected {
                return Ok(SaveOutcome::Superseded(held));
            }
            replace(&folder, &path, &bytes)
                .map_err(|error| failed("token file", &path, "cannot be written", Some(error)))?;
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
            let is_taken = read_lease(&path)?
                .is_some_and(|lease| !lease.is_of(&owner) && lease.holds(&store.folder, now));
            if is_taken {
                return Ok(LeaseOutcome::HeldByAnother);
            }
            store
                .take(&path, &owner, duration)
                .map_err(|error| failed("lease file", &path, "cannot be written", Some(error)))?;
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
            if read_lease(&path)?.is_none_or(|lease| !lease.is_of(&owner)) {
                return Ok(());
            }
            fs::remove_file(&path)
                .map_err(|error| failed("lease file", &path, "cannot be removed", Some(error)))
        })
        .await
    }

    /// In the order of the files' names. Each page goes through all names in the folder.
    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        let (folder, after) = (Arc::clone(&self.folder), after.cloned());
        blocking(move || list::page(&folder, after.as_ref(), limit)).await
    }
}

fn read_lease(path: &Path) -> Result<Option<Lease>, Error> {
    Lease::read(path).map_err(|error| failed("lease file", path, "cannot be read", Some(error)))
}

async fn lock(path: PathBuf) -> Result<File, Error> {
    let path = Arc::new(path);
    for _ in 0..LOCK_ATTEMPTS {
        let shared = Arc::clone(&path);
        let attempt = blocking(move || {
            let file = open_lock(&shared)
                .map_err(|error| failed("lock file", &shared, "cannot be opened", Some(error)))?;
            match file.try_lock() {
                Ok(()) => Ok(Some(file)),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(failed(
                    "lock file",
                    &shared,
                    "cannot be locked",
                    Some(error),
                )),
            }
        });
        if let Some(file) = attempt.await? {
            return Ok(file);
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    Err(failed(
        "lock file",
        &path,
        "has been held by another process for 5 seconds: is it stopped?",
        None,
    ))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(
            ErrorKind::Interrupted,
            "the work on a token file was cut short: see the cause",
        )
        .with_source(error)
    })?
}

/// A name that no other tenant has on any file system, whatever it thinks of case, Unicode and separators: the hash tells
/// tenants apart, the words before it tell an operator whose it is.
fn file_name(tenant: &TenantId) -> String {
    let words: String = tenant
        .as_str()
        .chars()
        .take(40)
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let mut name = format!("{words}-");
    for byte in Sha256::hash(tenant.as_str().as_bytes()) {
        // Writing to a string does not fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

#[cfg(test)]
mod tests;
