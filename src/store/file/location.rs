//! Where a store is.

use std::path::{Path, PathBuf};

use super::{
    directory::{Directory, resolve},
    disk::{CHECK_READ, CHECK_WRITE},
};
use crate::error::Error;

/// The directory of a store, which each call opens.
#[derive(Debug)]
pub(super) struct Location {
    /// Absolute, and without links.
    path: PathBuf,
    allows_group: bool,
}

impl Location {
    /// Finds or creates the directory, and checks the path to it.
    pub(super) fn open(path: &Path, allows_group: bool) -> Result<Self, Error> {
        let path = resolve(path, true, allows_group).map_err(|(at, problem)| {
            problem.at(&at, "token directory cannot be opened", CHECK_WRITE)
        })?;
        Ok(Self { path, allows_group })
    }

    /// Opens the directory, and checks that it is still the same one.
    pub(super) fn enter(&self) -> Result<Directory, Error> {
        Directory::open(&self.path, self.allows_group).map_err(|problem| {
            problem.at(&self.path, "token directory cannot be opened", CHECK_READ)
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
