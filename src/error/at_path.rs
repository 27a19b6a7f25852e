//! The path where something failed, as the source of an error.

use std::{
    error::Error as StdError,
    fmt, io,
    path::{Path, PathBuf},
};

/// The path where something failed. The name of a grant's file contains the tenant's name.
#[derive(Debug)]
pub(crate) struct AtPath {
    path: PathBuf,
    error: Option<io::Error>,
}

impl AtPath {
    pub(crate) fn new(path: &Path, error: Option<io::Error>) -> Self {
        let path = path.to_owned();
        Self { path, error }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the operating system failed. Otherwise the contents or the access rights are wrong.
    pub(crate) fn is_of_system(&self) -> bool {
        self.error.is_some()
    }
}

impl fmt::Display for AtPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl StdError for AtPath {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let error = self.error.as_ref()?;
        Some(error)
    }
}
