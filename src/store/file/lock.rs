//! Locks among processes.
//!
//! A lock is a lock of the operating system on an empty file, which is never replaced. The system
//! releases it when the process dies. A process that is forked while the lock is held shares it,
//! so the owner unlocks the file and does not only close it.

use std::{
    fs::{File, TryLockError},
    io,
};

use super::directory::{Access, Directory, Problem};

/// A locked file, which is unlocked when this is dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Locks a file that exists or is created. `None` if another process holds the lock.
    pub(super) fn try_acquire(directory: &Directory, name: &str) -> Result<Option<Self>, Problem> {
        Self::try_lock(open_or_create(directory, name)?)
    }

    /// Locks a file. `None` if another process holds the lock.
    pub(super) fn try_lock(file: File) -> Result<Option<Self>, Problem> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If this fails, the file is unlocked when all processes that share it have closed it.
        let _ = self.0.unlock();
    }
}

fn open_or_create(directory: &Directory, name: &str) -> Result<File, Problem> {
    if let Some(file) = directory.open_file(name, Access::Lock)? {
        return Ok(file);
    }
    match directory.create_file(name) {
        // Another process has created it.
        Err(Problem::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = directory.open_file(name, Access::Lock)?;
            Ok(file.ok_or(io::ErrorKind::NotFound)?)
        }
        created => created,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn p14_lock_ends_although_a_child_has_inherited_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let directory = Directory::open(&directory.path().canonicalize().unwrap(), false).unwrap();
        let acquire = || Lock::try_acquire(&directory, "acme.lock").unwrap();
        let lock = acquire().unwrap();
        // As a fork does, this shares the open file with a child that lives on.
        let shared = lock.0.try_clone().unwrap();
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(shared)
            .spawn()
            .unwrap();
        assert!(acquire().is_none(), "it is locked");
        drop(lock);
        assert!(acquire().is_some(), "the child does not keep the lock");
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
