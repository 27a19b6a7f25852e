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
use crate::store::LeaseOwner;

const ALIVE: &str = ".alive-";

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
        let unnamed = folder.join(format!(".new-{name}"));
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
        let is_sign = entry.file_name().to_string_lossy().starts_with(ALIVE);
        if is_sign && !is_locked(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// One that is not there is not locked.
fn is_locked(path: &Path) -> bool {
    let file = File::options().write(true).open(path);
    file.is_ok_and(|file| file.try_lock().is_err())
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

    /// `None` if there is none, or nothing that can be read: a lease is worth less than a grant, and is not asked for twice.
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
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
        // More than was asked for is left only if the clock was set back: such a lease would hold for as long as that.
        let is_in_time =
            left.is_some_and(|left| !left.is_zero() && left.as_secs_f64() <= self.seconds);
        is_in_time && is_locked(&folder.join(format!("{ALIVE}{}", self.store)))
    }
}
