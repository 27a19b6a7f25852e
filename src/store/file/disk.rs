//! Files that contain secrets: written whole, and readable by their owner only.

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

/// A grant has a few KiB; a larger file contains something else.
pub(super) const LARGEST_FILE: u64 = 1024 * 1024;

pub(super) const CHECK_READ: &str = "check its permissions and that the disk is mounted";
pub(super) const CHECK_WRITE: &str =
    "check permissions, free space and that the disk is mounted for writing";

pub(super) fn read_grant(path: &Path, tenant: &TenantId) -> Result<Option<Grant>, Error> {
    let fail = |detail: &str, error| failed("token file cannot be read", path, detail, error);
    // Opening a pipe, for example, could block.
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(fail("the path is not a file; move it away", None));
        }
        _ => {}
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(CHECK_READ, Some(error))),
    };
    if is_open_to_others(&file) {
        let detail = "other users can read or write it; run chmod 600, and let the customer \
                      consent again if they may have read it";
        return Err(fail(detail, None));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
    file.take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(CHECK_READ, Some(error)))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(fail(
            "it is over 1 MiB, too large for a grant; move it away",
            None,
        ));
    }
    Grant::from_bytes(tenant, &bytes)
        .map(Some)
        .map_err(|error| {
            let detail = format!(
                "{error}; the file is unchanged: restore it, or move it away and let the customer \
                 consent again"
            );
            fail(&detail, None)
        })
}

/// Replaces a file. The caller holds the tenant's lock, so the temporary file has one writer.
///
/// Calls `announce` also before the rename, in case that the process dies after it.
pub(super) fn replace(
    directory: &Path,
    path: &Path,
    bytes: &[u8],
    announce: impl Fn(),
) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    // A crash may have left one, which another user may own.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_file(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    announce();
    fs::rename(&temporary, path)?;
    announce();
    sync_directory(directory)
}

/// An error with the path in its source: messages may be logged, and a path contains parts of a
/// tenant's name.
pub(super) fn failed(what: &str, path: &Path, detail: &str, error: Option<io::Error>) -> Error {
    let message = format!("{what}: {detail} (path in the error source)");
    Error::new(ErrorKind::Store, message).with_source(AtPath {
        path: path.to_owned(),
        error,
    })
}

/// The path where something failed, as an error.
#[derive(Debug)]
struct AtPath {
    path: PathBuf,
    error: Option<io::Error>,
}

impl fmt::Display for AtPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl std::error::Error for AtPath {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let error = self.error.as_ref()?;
        Some(error)
    }
}

pub(super) fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)?;
    // A new directory is durable once its parent is synced.
    match directory.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_directory(Path::new(".")),
        Some(parent) => sync_directory(parent),
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

/// Whether users other than the owner and the superuser have access to the file.
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
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has file modes"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// On Unix a rename is durable once its directory is synced. Windows has no such call and orders
/// renames itself.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}
