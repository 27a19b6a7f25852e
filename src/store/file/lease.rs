//! Leases as files.
//!
//! A lease is a small file beside the grant's file, read and written under the tenant's lock. It
//! ends when its time is over, or at once when the owner's process dies. To detect that, each store
//! that has acquired a lease keeps a liveness file locked, and its leases contain that file's name.
//! The operating system releases the lock when the process dies, so a restart after a crash does
//! not wait. A process that is only stopped keeps its lease until the time is over.

use std::{
    io::{self, Read, Write},
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    directory::{Access, Directory, Problem},
    lease_clock::{BootTime, Moment},
    location::Location,
    lock::Lock,
    name::LeaseFiles,
};
use crate::{
    clock::{Clock, SystemClock},
    store::lease::LeaseOwner,
};

const ALIVE: &str = ".alive-";
const NEW: &str = ".new-";
pub(super) const PROBE: &str = ".probe-";

/// A lease is a line of text.
const LARGEST_FILE: u64 = 64 * 1024;

/// A locked file that proves that a store is in use. The lock ends with the store, or with its
/// process.
#[derive(Debug)]
pub(super) struct Liveness {
    name: String,
    location: Arc<Location>,
    _lock: Lock,
}

impl Liveness {
    /// Locks a new file and then renames it to the name that other processes check.
    pub(super) fn create(location: &Arc<Location>, directory: &Directory) -> Result<Self, Problem> {
        remove_stale(directory);
        let name = LeaseOwner::random().to_string();
        let unnamed = format!("{NEW}{name}");
        let lock = Lock::try_lock(directory.create_file(&unnamed)?)?;
        directory.rename(&unnamed, &format!("{ALIVE}{name}"))?;
        Ok(Self {
            name,
            location: Arc::clone(location),
            _lock: lock.ok_or(io::ErrorKind::ResourceBusy)?,
        })
    }

    pub(super) fn exists(&self, directory: &Directory) -> bool {
        let file = directory.open_file(&format!("{ALIVE}{}", self.name), Access::Lock);
        file.is_ok_and(|file| file.is_some())
    }
}

impl Drop for Liveness {
    fn drop(&mut self) {
        // If this fails, another store removes the file later, since it is not locked.
        if let Ok(directory) = self.location.enter() {
            let _ = directory.remove(&format!("{ALIVE}{}", self.name));
        }
    }
}

/// Removes files of processes that have died.
fn remove_stale(directory: &Directory) {
    let Ok(names) = directory.names() else {
        return;
    };
    for name in names.flatten() {
        let Some(name) = name.to_str() else { continue };
        let is_dead = if name.starts_with(ALIVE) {
            !is_locked(directory, name)
        } else {
            // Left by a crash before the rename. A live process renames its file at once.
            (name.starts_with(NEW) || name.starts_with(PROBE)) && is_old(directory, name)
        };
        if is_dead {
            let _ = directory.remove(name);
        }
    }
}

/// Removes the leases of reserved names that have ended without a release.
///
/// The caller has the lock of one of them at most. A lock that is held now is skipped.
pub(super) fn remove_expired(directory: &Directory, now: &Moment) {
    let Ok(names) = directory.names() else {
        return;
    };
    for name in names.flatten() {
        let files = name.to_str().and_then(LeaseFiles::of_reserved_lease);
        if let Some(files) = files
            && let Ok(Some(_lock)) = Lock::try_acquire(directory, &files.lock)
            && let Ok(lease) = Lease::read(directory, &files.lease)
            && lease.is_none_or(|lease| !lease.is_valid(directory, now))
        {
            let _ = directory.remove(&files.lease);
        }
    }
}

fn is_old(directory: &Directory, name: &str) -> bool {
    let Ok(Some(file)) = directory.open_file(name, Access::Lock) else {
        return false;
    };
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| {
        let age = SystemClock.wall().duration_since(at);
        age.is_ok_and(|age| age > Duration::from_secs(60))
    })
}

/// Whether a process has locked the file. If that cannot be determined, the file counts as locked.
fn is_locked(directory: &Directory, name: &str) -> bool {
    match directory.open_file(name, Access::Lock) {
        Ok(Some(file)) => !matches!(Lock::try_lock(file), Ok(Some(_))),
        Ok(None) => false,
        Err(_) => true,
    }
}

/// The contents of a lease file.
#[derive(Serialize, Deserialize)]
pub(super) struct Lease {
    owner: String,
    /// The name of the owner's liveness file.
    store: String,
    until: Timestamp,
    seconds: f64,
    /// The end by a clock that never steps, for processes on the owner's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until_since_boot: Option<BootTime>,
}

impl Lease {
    pub(super) fn new(
        owner: &LeaseOwner,
        liveness: &Liveness,
        now: Moment,
        duration: Duration,
    ) -> Option<Self> {
        Some(Self {
            owner: owner.to_string(),
            store: liveness.name.clone(),
            until: now.wall.checked_add(duration)?.try_into().ok()?,
            seconds: duration.as_secs_f64(),
            until_since_boot: now.boot.map(|boot| BootTime {
                since: boot.since.saturating_add(duration),
                ..boot
            }),
        })
    }

    /// Returns `None` if there is no lease, or if the file cannot be parsed: unlike a grant, a
    /// lease may be overwritten.
    pub(super) fn read(directory: &Directory, file: &str) -> Result<Option<Self>, Problem> {
        let Some(file) = directory.open_file(file, Access::Read)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(LARGEST_FILE).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Writes the lease. The caller holds its lock, so the temporary file has one writer.
    pub(super) fn write(&self, directory: &Directory, files: &LeaseFiles) -> Result<(), Problem> {
        let temporary = format!("{}-tmp", files.lock);
        let _ = directory.remove(&temporary);
        let bytes = serde_json::to_vec(self).map_err(io::Error::from)?;
        // Not synced: a machine that fails takes the owner with it.
        directory.create_file(&temporary)?.write_all(&bytes)?;
        Ok(directory.rename(&temporary, &files.lease)?)
    }

    pub(super) fn belongs_to(&self, owner: &LeaseOwner) -> bool {
        self.owner == owner.as_str()
    }

    /// Whether the owner still has the lease.
    pub(super) fn is_valid(&self, directory: &Directory, now: &Moment) -> bool {
        self.is_in_time(now) && is_locked(directory, &format!("{ALIVE}{}", self.store))
    }

    fn is_in_time(&self, now: &Moment) -> bool {
        if let (Some(until), Some(now)) = (&self.until_since_boot, &now.boot)
            && until.id == now.id
        {
            return now.since < until.since;
        }
        let until: Option<SystemTime> = self.until.try_into().ok();
        let left = until.and_then(|until| until.duration_since(now.wall).ok());
        // Far more time than requested is left only if the clock was set back. Without this check
        // such a lease would last for hours.
        let longest = Duration::try_from_secs_f64(self.seconds)
            .unwrap_or(Duration::ZERO)
            .saturating_mul(2)
            .saturating_add(Duration::from_secs(60));
        left.is_some_and(|left| !left.is_zero() && left <= longest)
    }
}
