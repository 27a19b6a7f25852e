//! Settings of a file store.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    FileStore, disk::CHECK_WRITE, lease::PROBE, lease_clock::SystemLeaseClock, location::Location,
};
use crate::error::Error;

/// Opens a [`FileStore`] with settings that differ from the defaults.
///
/// ```
/// use tower_oauth2_client::store::FileStore;
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("grants");
/// let store = FileStore::builder(&path).allow_group_access(true).open()?;
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FileStoreBuilder {
    directory: PathBuf,
    allows_group: bool,
    must_exist: bool,
}

impl FileStore {
    /// Opens the store in a directory, with the default settings. The directory and the store are
    /// created if they are missing.
    ///
    /// This call checks that the directory can be written to, and that no other user can
    /// [replace](Self#permissions) it. It blocks for a moment. Make it at startup.
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store), with the path as source, if the directory cannot be
    /// created, written to or trusted.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder(directory).open()
    }

    /// Returns a builder for settings that differ from the defaults.
    #[must_use]
    pub fn builder(directory: impl AsRef<Path>) -> FileStoreBuilder {
        FileStoreBuilder {
            directory: directory.as_ref().to_owned(),
            allows_group: false,
            must_exist: false,
        }
    }
}

impl FileStoreBuilder {
    /// Sets whether the group of the directory has access too. Defaults to `false`. It has no
    /// effect on systems other than Unix.
    ///
    /// Set it if the platform gives a group access to the files, as Kubernetes does with the
    /// `fsGroup` of a volume: directories have mode 2775 or 2770, and files 0660. Then:
    ///
    /// * The group of the directory is trusted like the user, if the process is a member. Members
    ///   can own the directory and its files, and can read and write them.
    /// * Directories on the path can be writable by a group of the process, and owned by its
    ///   members.
    /// * A missing directory is created with mode 2770. Files get the group of the directory and
    ///   mode 0660, so that all members can share the store.
    ///
    /// Users outside of the group still must not have access.
    #[must_use]
    pub fn allow_group_access(mut self, allow: bool) -> Self {
        self.allows_group = allow;
        self
    }

    /// Sets whether the store must exist. Defaults to `false`: a missing directory, and a store in
    /// an empty directory, are created.
    ///
    /// Set it in production, once the store has been created by a first start or a step of the
    /// installation. A process that starts while the disk is not mounted then fails. Without this
    /// setting it would create an empty store on another disk, and every customer would have to
    /// consent again.
    ///
    /// A directory with grants of a version of this crate without this check is a store.
    #[must_use]
    pub fn must_exist(mut self, must_exist: bool) -> Self {
        self.must_exist = must_exist;
        self
    }

    /// Opens the store. See [`FileStore::open`].
    ///
    /// # Errors
    ///
    /// As for [`FileStore::open`].
    pub fn open(self) -> Result<FileStore, Error> {
        let location = Location::open(&self.directory, self.allows_group, self.must_exist)?;
        let directory = location.enter()?;
        // Each call has its own probe, which no probe of a crashed or concurrent process can
        // obstruct.
        let probe = format!("{PROBE}{:016x}", fastrand::u64(..));
        directory
            .create_file(&probe)
            .and_then(|_| Ok(directory.remove(&probe)?))
            .map_err(|problem| {
                let what = "token directory cannot be written";
                problem.at(directory.path(), what, CHECK_WRITE)
            })?;
        Ok(FileStore {
            location: Arc::new(location),
            liveness: Arc::default(),
            watch: Arc::default(),
            clock: Arc::new(SystemLeaseClock::new()),
        })
    }
}
