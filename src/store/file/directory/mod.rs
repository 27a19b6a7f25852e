//! The directory of a store. All files are opened, created, renamed and removed here.
//!
//! A call of the store opens the directory once, and its files relative to that. On Unix each file
//! is opened without following a link and without blocking. The descriptor is checked before the
//! file is used: type, owner, mode and links (`access`). The path to the directory is checked when
//! the store is opened (`path`).

use std::{io, path::Path};

use crate::error::{AtPath, Error, ErrorKind};

#[cfg(unix)]
mod access;
#[cfg(unix)]
mod path;
#[cfg(not(unix))]
mod portable;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub(super) use self::portable::{Directory, resolve};
#[cfg(unix)]
pub(super) use self::{path::resolve, unix::Directory};

/// The use of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// Like [`Read`](Self::Read), but owner, mode and links are not checked. The name of a tenant
    /// is compared with the name of the file, and a load reports what is wrong with the file.
    ReadName,
    Append,
    Lock,
}

/// The reason why a file or directory cannot be used.
#[derive(Debug)]
pub(super) enum Problem {
    Io(io::Error),
    /// Contains what is wrong with it, and what to do.
    Rejected(&'static str),
}

impl Problem {
    pub(super) const LINK: Self =
        Self::Rejected("it is a symbolic link; replace it by the file, or move it away");
    pub(super) const NOT_A_FILE: Self = Self::Rejected("the path is not a file; move it away");
    pub(super) const NOT_A_DIRECTORY: Self =
        Self::Rejected("the path is not a directory; move it away, or use another path");

    /// An error with the path in its source: messages may be logged, and a path contains parts of a
    /// tenant's name. `check` says what to check if the operating system reports an error.
    pub(super) fn at(self, path: &Path, what: &str, check: &str) -> Error {
        match self {
            Self::Io(error) => failed(what, path, check, Some(error)),
            Self::Rejected(detail) => failed(what, path, detail, None),
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<io::ErrorKind> for Problem {
    fn from(kind: io::ErrorKind) -> Self {
        Self::Io(kind.into())
    }
}

/// An error with the path in its source.
pub(super) fn failed(what: &str, path: &Path, detail: &str, error: Option<io::Error>) -> Error {
    let message = format!("{what}: {detail} (path in the error source)");
    Error::new(ErrorKind::Store, message).with_source(AtPath::new(path, error))
}
