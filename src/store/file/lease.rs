//! Leases as files.
//!
//! A lease is a small file beside the grant's file, read and written under the tenant's lock. It
//! ends when its time is over, or at once when the owner's process dies. To detect that, each store
//! that has acquired a lease keeps a liveness file locked, and its leases contain that file's name.
//! The operating system releases the lock when the process dies, so a restart after a crash does
//! not wait. A process that is only stopped keeps its lease until the time is over.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::disk::create_file;
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
    path: PathBuf,
    _locked: File,
}

impl Liveness {
    /// Locks a new file and then renames it to the name that other processes check.
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        remove_stale(directory);
        let name = LeaseOwner::random().to_string();
        let unnamed = directory.join(format!("{NEW}{name}"));
        let file = create_file(&unnamed)?;
        file.lock()?;
        let path = directory.join(format!("{ALIVE}{name}"));
        fs::rename(&unnamed, &path)?;
        Ok(Self {
            name,
            path,
            _locked: file,
        })
    }

    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }
}

impl Drop for Liveness {
    fn drop(&mut self) {
        // If this fails, another store removes the file later, since it is not locked.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes files of processes that have died.
fn remove_stale(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_dead = if name.starts_with(ALIVE) {
            !is_locked(&entry.path())
        } else {
            // Left by a crash before the rename. A live process renames its file at once.
            (name.starts_with(NEW) || name.starts_with(PROBE)) && is_old(&entry)
        };
        if is_dead {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_old(entry: &fs::DirEntry) -> bool {
    let modified = entry.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| {
        let age = SystemClock.wall().duration_since(at);
        age.is_ok_and(|age| age > Duration::from_secs(60))
    })
}

/// Whether a process has locked the file. If that cannot be determined, the file counts as locked.
fn is_locked(path: &Path) -> bool {
    // Opening a pipe, for example, could block.
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return true,
        Err(error) => return error.kind() != io::ErrorKind::NotFound,
    }
    match File::options().write(true).open(path) {
        Ok(file) => file.try_lock().is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
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
}

impl Lease {
    pub(super) fn new(
        owner: &LeaseOwner,
        liveness: &Liveness,
        now: SystemTime,
        duration: Duration,
    ) -> Option<Self> {
        Some(Self {
            owner: owner.to_string(),
            store: liveness.name.clone(),
            until: now.checked_add(duration)?.try_into().ok()?,
            seconds: duration.as_secs_f64(),
        })
    }

    /// Returns `None` if there is no lease, or if the file cannot be parsed: unlike a grant, a
    /// lease may be overwritten.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        if !metadata.is_file() || metadata.len() > LARGEST_FILE {
            return Err(io::Error::other("the path is not a lease file"));
        }
        match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => Ok(serde_json::from_slice(&read?).ok()),
        }
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("lease-tmp");
        let _ = fs::remove_file(&temporary);
        // Not synced: a machine that fails takes the owner with it.
        create_file(&temporary)?.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&temporary, path)
    }

    pub(super) fn belongs_to(&self, owner: &LeaseOwner) -> bool {
        self.owner == owner.as_str()
    }

    /// Whether the owner still has the lease.
    pub(super) fn is_valid(&self, directory: &Path, now: SystemTime) -> bool {
        let until: Option<SystemTime> = self.until.try_into().ok();
        let left = until.and_then(|until| until.duration_since(now).ok());
        // Far more time than requested is left only if the clock was set back. Without this check
        // such a lease would last for hours.
        let longest = Duration::try_from_secs_f64(self.seconds)
            .unwrap_or(Duration::ZERO)
            .saturating_mul(2)
            .saturating_add(Duration::from_secs(60));
        let is_in_time = left.is_some_and(|left| !left.is_zero() && left <= longest);
        is_in_time && is_locked(&directory.join(format!("{ALIVE}{}", self.store)))
    }
}
