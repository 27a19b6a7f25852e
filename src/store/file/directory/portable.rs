//! Directories and files on systems without owners and modes.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{Access, Problem};

/// Resolves a path. If `create`, directories that are missing are created.
pub(in super::super) fn resolve(
    path: &Path,
    create: bool,
    _allows_group: bool,
) -> Result<PathBuf, (PathBuf, Problem)> {
    let at = |error| (path.to_owned(), Problem::Io(error));
    if create {
        fs::create_dir_all(path).map_err(at)?;
    }
    path.canonicalize().map_err(at)
}

/// A directory.
#[derive(Debug)]
pub(in super::super) struct Directory {
    path: PathBuf,
}

impl Directory {
    pub(in super::super) fn open(path: &Path, _allows_group: bool) -> Result<Self, Problem> {
        if !fs::metadata(path)?.is_dir() {
            return Err(Problem::NOT_A_DIRECTORY);
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Opens a file. `None` if there is none.
    pub(in super::super) fn open_file(
        &self,
        name: &str,
        access: Access,
    ) -> Result<Option<File>, Problem> {
        let path = self.path.join(name);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => return Err(Problem::LINK),
            Ok(metadata) if !metadata.is_file() => return Err(Problem::NOT_A_FILE),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let mut options = File::options();
        match access {
            Access::Read | Access::ReadName => options.read(true),
            Access::Append => options.read(true).append(true),
            Access::Lock => options.write(true),
        };
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => Ok(Some(opened?)),
        }
    }

    /// Creates a file. An existing one is an error.
    pub(in super::super) fn create_file(&self, name: &str) -> Result<File, Problem> {
        Ok(File::create_new(self.path.join(name))?)
    }

    /// Renames a file over another one.
    pub(in super::super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    /// Removes a file. A missing one is an error.
    pub(in super::super) fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    pub(in super::super) fn names(
        &self,
    ) -> io::Result<impl Iterator<Item = io::Result<OsString>> + use<>> {
        let entries = fs::read_dir(&self.path)?;
        Ok(entries.map(|entry| Ok(entry?.file_name())))
    }

    /// Windows has no such call, and orders renames itself.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as on Unix")]
    pub(in super::super) fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// The path of the directory, for errors.
    pub(in super::super) fn path(&self) -> &Path {
        &self.path
    }
}
