//! Files of secrets: written whole and for their owner alone, or not at all.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{
    error::{Error, ErrorKind},
    token::{Grant, TenantId},
};

/// A grant is a few KiB; a file larger than this is not one.
pub(super) const LARGEST_FILE: u64 = 1024 * 1024;

pub(super) fn read(path: &Path, tenant: &TenantId) -> Result<Option<Grant>, Error> {
    // Opening something else, such as a pipe, could block for ever.
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(failed("token file", path, "is not a file", None));
        }
        _ => {}
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("token file", path, "cannot be read", Some(error))),
    };
    if is_open_to_others(&file) {
        let how = "can be read or written by others than its owner: close it to them (chmod 600), and if they may have read it, let the customer consent again";
        return Err(failed("token file", path, how, None));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
    file.take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed("token file", path, "cannot be read", Some(error)))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(failed(
            "token file",
            path,
            "is over 1 MiB: not a grant",
            None,
        ));
    }
    Grant::from_bytes(tenant, &bytes)
        .map(Some)
        .map_err(|error| {
            let what =
                format!("cannot be used: {error}; it is left as it is, move it away to start anew");
            failed("token file", path, &what, None)
        })
}

/// Only ever called with the tenant's lock held, so that the temporary file has one writer.
pub(super) fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    // What a crash left behind: never looked at, and perhaps not ours to read.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_file(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_folder(folder)
}

/// The path stands in the cause, not in the message: messages are told where a tenant's name has no place.
pub(super) fn failed(what: &str, path: &Path, how: &str, error: Option<io::Error>) -> Error {
    let message = format!("{what}: {how} (the cause names it)");
    Error::new(ErrorKind::Store, message).with_source(At {
        path: path.to_owned(),
        error,
    })
}

/// Where something failed.
#[derive(Debug)]
struct At {
    path: PathBuf,
    error: Option<io::Error>,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl std::error::Error for At {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let error = self.error.as_ref()?;
        Some(error)
    }
}

pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    // A new folder is durable once the one that it is in is.
    match folder.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

pub(super) fn create_file(path: &Path) -> io::Result<File> {
    owner_only().write(true).create_new(true).open(path)
}

pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    owner_only()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Whether anybody but the owner, and the superuser, may look into a file of secrets.
#[cfg(unix)]
fn is_open_to_others(file: &File) -> bool {
    use std::os::unix::fs::PermissionsExt;

    file.metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &File) -> bool {
    false
}

fn owner_only() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "modes are Unix's"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A rename is durable once its folder is (on Unix; Windows has no such call, and orders renames by itself).
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
