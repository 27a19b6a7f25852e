//! Grants in files: read and written whole.

use std::{
    fs::File,
    io::{self, Write},
};

use zeroize::Zeroizing;

use super::directory::{Access, Directory, Problem, failed};
use crate::{
    error::Error,
    token::{Grant, SecretBuffer, TenantId},
};

/// A larger file does not contain a grant, which usually has a few KiB.
///
/// Every grant that a token response can lead to is smaller, so that a rotated refresh token is
/// never rejected: a response has up to 1 MiB, the tokens and the scopes may be of two responses,
/// JSON needs up to six bytes for a character, and encryption four for three.
pub(super) const LARGEST_FILE: u64 = 16 * 1024 * 1024;

pub(super) const CHECK_READ: &str = "check its permissions and that the disk is mounted";
pub(super) const CHECK_WRITE: &str =
    "check permissions, free space and that the disk is mounted for writing";

/// Reads the grant in the file `<name>.json`.
pub(super) fn read_grant(
    directory: &Directory,
    name: &str,
    tenant: &TenantId,
) -> Result<Option<Grant>, Error> {
    let what = "token file cannot be read";
    let path = directory.path().join(grant_file(name));
    let fail = |detail: &str| failed(what, &path, detail, None);
    let file = match directory.open_file(&grant_file(name), Access::Read) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(problem) => return Err(problem.at(&path, what, CHECK_READ)),
    };
    let bytes = read(&file, LARGEST_FILE + 1)
        .map_err(|error| Problem::Io(error).at(&path, what, CHECK_READ))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(fail(
            "it is over 16 MiB, too large for a grant; move it away",
        ));
    }
    Grant::from_bytes(tenant, &bytes)
        .map(Some)
        .map_err(|error| {
            let detail = format!(
                "{error}; the file is unchanged: restore it, or move it away and let the customer \
                 consent again"
            );
            fail(&detail)
        })
}

/// Reads a file, up to a limit.
pub(super) fn read(file: &File, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let size = |length: u64| usize::try_from(length).unwrap_or(usize::MAX);
    let expected = file.metadata().map_or(0, |metadata| metadata.len());
    SecretBuffer::read(file, size(expected), size(limit))
}

/// Checks that what is saved can be read again.
pub(super) fn check_size(bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Error::store(
            "grant is over 16 MiB, too large for a file store, and was not saved; check where its \
             tokens come from",
        ));
    }
    Ok(())
}

/// Replaces the file `<name>.json`. The caller holds the tenant's lock, so the temporary file has
/// one writer.
///
/// Calls `announce` also before the rename, in case that the process dies after it.
pub(super) fn replace_grant(
    directory: &Directory,
    name: &str,
    bytes: &[u8],
    announce: impl Fn(),
) -> Result<(), Problem> {
    let temporary = format!("{name}.tmp");
    // A crash may have left one, which another user may own.
    match directory.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut file = directory.create_file(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    announce();
    directory.rename(&temporary, &grant_file(name))?;
    announce();
    Ok(directory.sync()?)
}

pub(super) fn grant_file(name: &str) -> String {
    format!("{name}.json")
}
