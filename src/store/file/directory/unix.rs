//! Directories and files on Unix.

use std::{
    ffi::OsString,
    fs::{File, Metadata, Permissions},
    io,
    os::unix::{
        ffi::OsStringExt as _,
        fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, Gid, Mode, OFlags, fchown, open, openat, renameat, unlinkat},
    io::{Errno, retry_on_intr},
    process::{getegid, geteuid, getgroups},
};

use super::{
    Access, Problem,
    access::{Attributes, FILE_OF_GROUP, Kind, Trust, User, check_kind},
};

/// An open directory that was checked.
#[derive(Debug)]
pub(in super::super) struct Directory {
    file: File,
    path: PathBuf,
    trust: Trust,
}

impl Directory {
    /// Opens a directory and checks its owner and mode. The path contains no links.
    pub(in super::super) fn open(path: &Path, allows_group: bool) -> Result<Self, Problem> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = match retry_on_intr(|| open(path, flags, Mode::empty())) {
            Err(Errno::NOTDIR | Errno::LOOP | Errno::MLINK) => {
                return Err(Problem::NOT_A_DIRECTORY);
            }
            opened => opened.map_err(io::Error::from)?,
        };
        let file = File::from(descriptor);
        let user = User::of_this_process(allows_group);
        let trust = user.check_directory(&Attributes::of(&file.metadata()?))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            trust,
        })
    }

    /// Opens a file. `None` if there is none.
    ///
    /// This is the only function that opens a file. It follows no link, does not block, and checks
    /// what it has opened.
    fn open_with(
        &self,
        name: &str,
        access: Access,
        creation: OFlags,
    ) -> Result<Option<File>, Problem> {
        let mode = match access {
            Access::Read | Access::ReadName => OFlags::RDONLY,
            Access::Append => OFlags::RDWR | OFlags::APPEND,
            Access::Lock => OFlags::WRONLY,
        };
        // Opening a pipe could wait for its other end, and a terminal could become the process's.
        let safe = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let owner_only = Mode::RUSR | Mode::WUSR;
        let open = || openat(&self.file, name, mode | safe | creation, owner_only);
        let file = match retry_on_intr(open) {
            Ok(descriptor) => File::from(descriptor),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::MLINK) => return Err(Problem::LINK),
            Err(Errno::ISDIR | Errno::NXIO) => return Err(Problem::NOT_A_FILE),
            Err(error) => return Err(Problem::Io(error.into())),
        };
        let attributes = Attributes::of(&file.metadata()?);
        match access {
            Access::ReadName => check_kind(&attributes)?,
            Access::Read | Access::Append | Access::Lock => {
                self.trust.check_file(&attributes)?;
                self.give_to_group(&file, &attributes)?;
            }
        }
        Ok(Some(file))
    }

    /// Gives the members of the trusted group access to a file of this user, whatever the umask. An
    /// existing file lacks it after a crash in between, or if groups were not allowed before.
    fn give_to_group(&self, file: &File, attributes: &Attributes) -> io::Result<()> {
        let Some(group) = self.trust.missing_group(attributes) else {
            return Ok(());
        };
        if attributes.group != group {
            fchown(file, None, Some(Gid::from_raw(group)))?;
        }
        file.set_permissions(Permissions::from_mode(FILE_OF_GROUP))
    }

    /// Opens a file. `None` if there is none.
    pub(in super::super) fn open_file(
        &self,
        name: &str,
        access: Access,
    ) -> Result<Option<File>, Problem> {
        self.open_with(name, access, OFlags::empty())
    }

    /// Creates a file. An existing one is an error.
    pub(in super::super) fn create_file(&self, name: &str) -> Result<File, Problem> {
        let file = self.open_with(name, Access::Lock, OFlags::CREATE | OFlags::EXCL)?;
        Ok(file.ok_or(io::ErrorKind::NotFound)?)
    }

    /// Renames a file over another one.
    pub(in super::super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.file, from, &self.file, to)?)
    }

    /// Removes a file. A missing one is an error.
    pub(in super::super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.file, name, AtFlags::empty())?)
    }

    pub(in super::super) fn names(
        &self,
    ) -> io::Result<impl Iterator<Item = io::Result<OsString>> + use<>> {
        let entries = Dir::read_from(&self.file)?;
        Ok(entries.map(|entry| {
            let name = entry?.file_name().to_bytes().to_vec();
            Ok(OsString::from_vec(name))
        }))
    }

    /// Makes renames durable.
    pub(in super::super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// The path of the directory, for errors.
    pub(in super::super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Attributes {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        let kind = if kind.is_file() {
            Kind::File
        } else if kind.is_dir() {
            Kind::Directory
        } else if kind.is_symlink() {
            Kind::Link
        } else {
            Kind::Other
        };
        Self {
            kind,
            user: metadata.uid(),
            group: metadata.gid(),
            mode: metadata.mode(),
            links: metadata.nlink(),
        }
    }
}

impl User {
    /// The user whose rights this process has at the moment.
    pub(super) fn of_this_process(allows_group: bool) -> Self {
        let group = getegid().as_raw();
        let mut trusted_groups = Vec::new();
        if allows_group {
            trusted_groups.push(group);
            let others = getgroups().unwrap_or_default();
            trusted_groups.extend(others.into_iter().map(Gid::as_raw));
        }
        Self {
            id: geteuid().as_raw(),
            group,
            trusted_groups,
        }
    }
}
