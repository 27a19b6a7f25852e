//! The directory of a store with a lock in it.

use std::{sync::Arc, time::Duration};

use super::{
    blocking::blocking,
    directory::{Directory, failed},
    disk::CHECK_WRITE,
    location::Location,
    lock::Lock,
};
use crate::error::Error;

/// A lock that another process holds is tried again for 5 seconds. Its work takes milliseconds.
const ATTEMPTS: u32 = 250;
const PAUSE: Duration = Duration::from_millis(20);

const WHAT: &str = "lock file cannot be locked";

/// A directory with a lock in it.
#[derive(Debug)]
pub(super) struct Locked {
    directory: Directory,
    _lock: Lock,
}

impl Locked {
    /// A method, so that a closure that uses the directory captures the lock with it.
    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }
}

/// Waits for a lock for 5 seconds.
pub(super) async fn lock(location: &Arc<Location>, name: &str) -> Result<Locked, Error> {
    let name: Arc<str> = name.into();
    for _ in 0..ATTEMPTS {
        let (location, name) = (Arc::clone(location), Arc::clone(&name));
        let attempt = blocking(move || {
            let directory = location.enter()?;
            let lock = Lock::try_acquire(&directory, &name)
                .map_err(|problem| problem.at(&directory.path().join(&*name), WHAT, CHECK_WRITE))?;
            Ok(lock.map(|lock| Locked {
                directory,
                _lock: lock,
            }))
        });
        if let Some(locked) = attempt.await? {
            return Ok(locked);
        }
        tokio::time::sleep(PAUSE).await;
    }
    let detail = "another process has held it for 5 seconds; check whether that process is stopped";
    Err(failed(WHAT, &location.path().join(&*name), detail, None))
}
