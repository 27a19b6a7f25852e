//! Leases as files.
//!
//! A lease is a small file beside the grant's, read and written with the tenant's lock held. It ends with its time, or at once
//! with the process that holds it: each store that has asked for a lease keeps a file of its own locked as long as it lives,
//! whose name stands in its leases, and the operating system gives that lock back when the process dies. So a restart after
//! a crash waits for nothing, while a process that is only stopped keeps its lease until the time is over.

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
    store::LeaseOwner,
};

const ALIVE: &str = ".alive-";
const NEW: &str = ".new-";
pub(super) const PROBE: &str = ".probe-";

/// A lease is a line of text.
const LARGEST_FILE: u64 = 64 * 1024;

/// What proves that a store lives: dropped with it, at the latest by the operating system.
#[derive(Debug)]
pub(super) struct Alive {
    name: String,
    path: PathBuf,
    _locked: File,
}

impl Alive {
    /// Locks a new file, and only then gives it the name that others look for.
    pub(super) fn begin(folder: &Path) -> io::Result<Self> {
        sweep(folder);
        let name = LeaseOwner::random().to_string();
        let unnamed = folder.join(format!("{NEW}{name}"));
        let file = create_file(&unnamed)?;
        file.lock()?;
        let path = folder.join(format!("{ALIVE}{name}"));
        fs::rename(&unnamed, &path)?;
        Ok(Self {
            name,
            path,
            _locked: file,
        })
    }

    /// Whether others still see it.
    pub(super) fn is_there(&self) -> bool {
        self.path.exists()
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        // Left behind, it is not locked, and swept by the next who begins.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes what processes have left behind that died.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_dead = if name.starts_with(ALIVE) {
            !is_locked(&entry.path())
        } else {
            // Left behind before it came to its name; those who are at it take no time.
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

/// Whether its process lives: unless the file is gone, or the lock can be had, it has to be taken for alive.
fn is_locked(path: &Path) -> bool {
    // Opening something else, such as a pipe, could block for ever.
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

/// What a lease's file says.
#[derive(Serialize, Deserialize)]
pub(super) struct Lease {
    owner: String,
    /// The store that it was taken by.
    store: String,
    until: Timestamp,
    seconds: f64,
}

impl Lease {
    pub(super) fn new(
        owner: &LeaseOwner,
        alive: &Alive,
        now: SystemTime,
        duration: Duration,
    ) -> Option<Self> {
        Some(Self {
            owner: owner.to_string(),
            store: alive.name.clone(),
            until: now.checked_add(duration)?.try_into().ok()?,
            seconds: duration.as_secs_f64(),
        })
    }

    /// `None` if there is none, or nothing that makes sense: a lease is worth less than a grant, and gives way.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        if !metadata.is_file() || metadata.len() > LARGEST_FILE {
            return Err(io::Error::other("this is not a lease"));
        }
        match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => Ok(serde_json::from_slice(&read?).ok()),
        }
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("lease-tmp");
        let _ = fs::remove_file(&temporary);
        // Not synced: with the machine, its holder dies too.
        create_file(&temporary)?.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&temporary, path)
    }

    pub(super) fn is_of(&self, owner: &LeaseOwner) -> bool {
        self.owner == owner.as_str()
    }

    /// Whether its holder may still count on it.
    pub(super) fn holds(&self, folder: &Path, now: SystemTime) -> bool {
        let until: Option<SystemTime> = self.until.try_into().ok();
        let left = until.and_then(|until| until.duration_since(now).ok());
        // Much more than was asked for is left only if the clock was set back by hours: such a lease would hold as long.
        let longest = Duration::try_from_secs_f64(self.seconds)
            .unwrap_or(Duration::ZERO)
            .saturating_mul(2)
            .saturating_add(Duration::from_secs(60));
        let is_in_time = left.is_some_and(|left| !left.is_zero() && left <= longest);
        is_in_time && is_locked(&folder.join(format!("{ALIVE}{}", self.store)))
    }
}
