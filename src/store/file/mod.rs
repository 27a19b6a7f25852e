//! Grants as files in a local directory.
//!
//! Each tenant has a grant file and a lock file beside it. A save takes the lock, reads the stored
//! grant, and compares generations. Only then it writes a temporary file, syncs it, renames it over
//! the grant file and syncs the directory. A crash at any instant leaves the old grant or the new
//! one, whole. A file that cannot be read is never overwritten.
//!
//! Leases are files too: see `lease`. `directory` opens files, `disk` reads and writes grants,
//! `lock` locks among processes, and `list` lists tenants. `log` announces saves to other
//! processes, and `watch` receives the announcements.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use self::{
    blocking::blocking,
    directory::{Directory, Problem},
    disk::{CHECK_READ, CHECK_WRITE, check_size, grant_file, read_grant, replace_grant},
    lease::{Lease, Liveness, remove_expired},
    lease_clock::LeaseClock,
    location::Location,
    locked::lock,
    name::{LeaseFiles, file_name},
    watch::Watch,
};
use super::{
    announcer::Subscription,
    lease::{LeaseOutcome, LeaseOwner},
    token_store::{SaveOutcome, TokenStore},
};
use crate::{
    error::Error,
    token::{Generation, Grant, TenantId},
};

mod blocking;
mod builder;
mod directory;
mod disk;
mod lease;
mod lease_clock;
mod list;
mod location;
mod lock;
mod locked;
mod log;
mod marker;
mod name;
mod watch;

pub use self::builder::FileStoreBuilder;

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
/// On Linux, leases do not depend on the wall clock: setting it forward or back does not end one
/// early. On other systems, and between machines that share a network file system against this
/// advice, a step of more than a lease's remaining time does.
///
/// # A directory that has vanished
///
/// The file `.store` contains a random id of the store. Each call fails if the directory is
/// missing, or is not the one that was opened: unmounted, moved, or replaced by an empty directory
/// or that of another store. Nothing is read from another directory or written to it, and no grant
/// is reported as absent. When the directory is back, calls succeed again. Copy or restore a store
/// as a whole, with this file. If it is lost, calls fail until the store is opened again.
///
/// A process that starts while the disk is not mounted finds an empty directory. By default
/// [`open`](Self::open) creates a store there, because the first start on a new disk looks the
/// same. Once a store exists, open it with [`must_exist`](FileStoreBuilder::must_exist). Then such
/// a start fails.
///
/// # Permissions
///
/// The files contain the tokens in plain text, unless an [`EncryptedStore`](super::EncryptedStore)
/// wraps the store. On Unix, only the user of the process may therefore have access to them:
///
/// * A missing directory is created with mode 0700, and files with mode 0600.
/// * [`open`](Self::open) fails if another user can replace the directory: each directory and link
///   on the path must be owned by root or the user of the process. No group and no other users can
///   write to it, unless it is sticky, as `/tmp` is. A group with the number of the user is
///   accepted.
/// * Each call fails if the directory is owned by another user than these, or if a group or other
///   users can write to it.
/// * A call fails if a file that it uses is a link, has several hard links, is not a regular file,
///   is owned by another user, or can be read or written by others. That holds for the superuser
///   too. A pipe or device in place of a file does not block the call.
///
/// If the platform gives a group access to the files, as Kubernetes does by `fsGroup`, set
/// [`allow_group_access`](FileStoreBuilder::allow_group_access).
///
/// # Files
///
/// A file name consists of up to 40 characters of the tenant's name and a hash. `.json` is the
/// grant, `.lock` its lock, `.lease` its lease. Leases that belong to no grant, such as that of a
/// callback, share 16 lock files; their own files end with them, or with the next start after a
/// crash. To delete a grant, stop the processes that use it,
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
/// Errors are of kind [`Store`](crate::ErrorKind::Store). The path is in the error's source, not in
/// its message, since file names contain parts of tenant names. A call waits up to 5 seconds for a
/// lock that another process holds. Blocking work runs on tokio's threads for blocking tasks.
#[derive(Clone, Debug)]
pub struct FileStore {
    location: Arc<Location>,
    /// Created with the first lease.
    liveness: Arc<Mutex<Option<Liveness>>>,
    watch: Arc<Watch>,
    clock: Arc<dyn LeaseClock>,
}

impl FileStore {
    /// Writes the lease. The caller holds the tenant's lock.
    fn write_lease(
        &self,
        directory: &Directory,
        files: &LeaseFiles,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<(), Problem> {
        let mut liveness = self.liveness.lock().unwrap_or_else(PoisonError::into_inner);
        // An operator may have deleted the file.
        let exists = |liveness: &Liveness| liveness.exists(directory);
        if !liveness.as_ref().is_some_and(exists) {
            *liveness = Some(Liveness::create(&self.location, directory)?);
            remove_expired(directory, &self.clock.now());
        }
        let Some(liveness) = &*liveness else {
            return Err(io::Error::other("the store has no liveness file").into());
        };
        let too_long = || io::Error::other("the lease would end after the year 9999");
        Lease::new(owner, liveness, self.clock.now(), duration)
            .ok_or_else(too_long)?
            .write(directory, files)
    }
}

impl TokenStore for FileStore {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let (location, tenant) = (Arc::clone(&self.location), tenant.clone());
        blocking(move || read_grant(&location.enter()?, &file_name(&tenant), &tenant)).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let (bytes, generation) = (grant.to_bytes(tenant), grant.generation);
        check_size(&bytes)?;
        let (name, tenant) = (file_name(tenant), tenant.clone());
        let locked = lock(&self.location, &format!("{name}.lock")).await?;
        blocking(move || {
            // Locked until the work is done, even if the future is dropped.
            let directory = locked.directory();
            let stored = read_grant(directory, &name, &tenant)?;
            if stored.as_ref().map(|stored| stored.generation) != expected {
                return Ok(SaveOutcome::Superseded(stored));
            }
            let announce = || log::append(directory, &tenant, generation);
            replace_grant(directory, &name, &bytes, announce).map_err(|problem| {
                let path = directory.path().join(grant_file(&name));
                problem.at(&path, "token file cannot be written", CHECK_WRITE)
            })?;
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
        let files = LeaseFiles::new(tenant);
        let locked = lock(&self.location, &files.lock).await?;
        let (store, owner) = (self.clone(), owner.clone());
        blocking(move || {
            let directory = locked.directory();
            let now = store.clock.now();
            let is_taken = read_lease(directory, &files.lease)?
                .is_some_and(|lease| !lease.belongs_to(&owner) && lease.is_valid(directory, &now));
            if is_taken {
                return Ok(LeaseOutcome::HeldByAnother);
            }
            store
                .write_lease(directory, &files, &owner, duration)
                .map_err(|problem| unwritable_lease(problem, directory, &files.lease))?;
            Ok(LeaseOutcome::Acquired)
        })
        .await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        let files = LeaseFiles::new(tenant);
        let locked = lock(&self.location, &files.lock).await?;
        let owner = owner.clone();
        blocking(move || {
            let (directory, file) = (locked.directory(), files.lease);
            if read_lease(directory, &file)?.is_none_or(|lease| !lease.belongs_to(&owner)) {
                return Ok(());
            }
            directory
                .remove(&file)
                .map_err(|error| unwritable_lease(error.into(), directory, &file))
        })
        .await
    }

    fn subscribe(&self) -> Option<Subscription> {
        Some(self.watch.subscribe(&self.location))
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        let (location, after) = (Arc::clone(&self.location), after.cloned());
        blocking(move || list::page(&location.enter()?, after.as_ref(), limit)).await
    }
}

fn read_lease(directory: &Directory, file: &str) -> Result<Option<Lease>, Error> {
    Lease::read(directory, file).map_err(|problem| {
        let path = directory.path().join(file);
        problem.at(&path, "lease file cannot be read", CHECK_READ)
    })
}

fn unwritable_lease(problem: Problem, directory: &Directory, file: &str) -> Error {
    let path = directory.path().join(file);
    problem.at(&path, "lease file cannot be written", CHECK_WRITE)
}

#[cfg(test)]
mod tests;
#[cfg(all(test, unix))]
mod unix_tests;
