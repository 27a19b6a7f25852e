//! Where a store is.

use std::path::{Path, PathBuf};

use super::{
    directory::{Directory, Problem, resolve},
    disk::{CHECK_READ, CHECK_WRITE},
    marker::StoreId,
};
use crate::error::Error;

const WHAT: &str = "token directory cannot be opened";

/// The directory of a store, which each call opens.
#[derive(Debug)]
pub(super) struct Location {
    /// Absolute, and without links.
    path: PathBuf,
    allows_group: bool,
    id: StoreId,
}

impl Location {
    /// Finds the directory and the store in it, and checks the path to it. Unless `must_exist`,
    /// what is missing is created.
    pub(super) fn open(path: &Path, allows_group: bool, must_exist: bool) -> Result<Self, Error> {
        let path = resolve(path, !must_exist, allows_group)
            .map_err(|(at, problem)| problem.at(&at, WHAT, CHECK_WRITE))?;
        let id = Directory::open(&path, allows_group)
            .and_then(|directory| StoreId::find_or_create(&directory, must_exist))
            .map_err(|problem| problem.at(&path, WHAT, CHECK_WRITE))?;
        Ok(Self {
            path,
            allows_group,
            id,
        })
    }

    /// Opens the directory, and checks that it is still that of the store.
    pub(super) fn enter(&self) -> Result<Directory, Error> {
        let open = || {
            let directory = Directory::open(&self.path, self.allows_group)?;
            self.id.check(&directory)?;
            Ok(directory)
        };
        open().map_err(|problem: Problem| problem.at(&self.path, WHAT, CHECK_READ))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
