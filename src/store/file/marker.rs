//! The marker that identifies a store's directory.
//!
//! A file with a random id. Each call compares it with the id of the opened store. A directory that
//! was unmounted, moved or replaced is thereby detected, also if another one is in its place.

use std::{
    io::{self, Read, Write},
    time::Duration,
};

use super::{
    directory::{Access, Directory, Problem},
    list,
    lock::Lock,
};
use crate::store::lease::LeaseOwner;

const NAME: &str = ".store";
const LOCK: &str = ".store-lock";
const NEW: &str = ".store-new";

const FORMAT: &str = "tower-oauth2-client/file-store/1 ";
/// The length of an id in hexadecimal digits.
const DIGITS: usize = 32;

/// More than a marker has.
const LARGEST_FILE: usize = 256;

/// How often a lock is tried that another process holds while it creates the marker.
const ATTEMPTS: u32 = 250;
const PAUSE: Duration = Duration::from_millis(20);

const NO_STORE: Problem = Problem::Rejected(
    "the directory contains no store; check that its disk is mounted, or open it without \
     FileStoreBuilder::must_exist to create a store",
);

/// A random id, the same for all handles of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoreId(String);

impl StoreId {
    /// Returns the id of the store in the directory. A directory without a store gets one, unless
    /// `must_exist`.
    pub(super) fn find_or_create(directory: &Directory, must_exist: bool) -> Result<Self, Problem> {
        if let Some(id) = Self::read(directory)? {
            return Ok(id);
        }
        // Grants without a marker are of an earlier version of this crate.
        if must_exist && !list::has_grants(directory)? {
            return Err(NO_STORE);
        }
        for _ in 0..ATTEMPTS {
            if let Some(_lock) = Lock::try_acquire(directory, LOCK)? {
                return match Self::read(directory)? {
                    Some(id) => Ok(id),
                    None => Self::create(directory),
                };
            }
            pause();
        }
        Err(Problem::Rejected(
            "another process has locked the file .store-lock for 5 seconds; check whether that \
             process is stopped",
        ))
    }

    /// Checks that the directory is still that of this store.
    pub(super) fn check(&self, directory: &Directory) -> Result<(), Problem> {
        match Self::read(directory)? {
            Some(id) if id == *self => Ok(()),
            Some(_) => Err(Problem::Rejected(
                "the directory is that of another store now; check which disk is mounted, and \
                 restart the process if the change was intended",
            )),
            None => Err(Problem::Rejected(
                "the directory has lost its marker, the file .store; check that its disk is \
                 mounted, or restore the file",
            )),
        }
    }

    fn read(directory: &Directory) -> Result<Option<Self>, Problem> {
        let Some(file) = directory.open_file(NAME, Access::Read)? else {
            return Ok(None);
        };
        // Each call of the store reads it, so it is read in one step.
        let mut bytes = Vec::with_capacity(LARGEST_FILE);
        file.take(LARGEST_FILE as u64).read_to_end(&mut bytes)?;
        let text = str::from_utf8(&bytes).ok();
        let id = text.and_then(|text| text.strip_prefix(FORMAT));
        let is_id = |id: &&str| id.len() == DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit());
        match id.map(str::trim_end).filter(is_id) {
            Some(id) => Ok(Some(Self(id.to_owned()))),
            None => Err(Problem::Rejected(
                "the marker of the directory, the file .store, is damaged; restore it, or stop all \
                 processes and delete it",
            )),
        }
    }

    /// Creates the marker. The caller holds the lock.
    fn create(directory: &Directory) -> Result<Self, Problem> {
        let id = LeaseOwner::random().to_string();
        // A crash may have left one.
        match directory.remove(NEW) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut file = directory.create_file(NEW)?;
        file.write_all(format!("{FORMAT}{id}\n").as_bytes())?;
        file.sync_all()?;
        directory.rename(NEW, NAME)?;
        directory.sync()?;
        Ok(Self(id))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "opening a store blocks for a moment, as documented"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}
