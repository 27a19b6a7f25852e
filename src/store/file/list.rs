//! Which tenants have files, a page at a time, in the order of the files' names.
//!
//! Those are made of hashes, so whose a file is stands inside it. One whose tenant cannot be told is left out, and the page goes
//! on with the next: an empty page would be the end.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{ErrorKind, Read},
    path::Path,
};

use zeroize::Zeroizing;

use super::{
    disk::{LARGEST_FILE, failed},
    file_name,
};
use crate::{
    error::Error,
    token::{TenantId, tenant_of},
};

/// The hexadecimal digits of a hash.
const DIGITS: usize = 64;

/// Goes through the names in the folder once, and reads as many files as it returns, and those that it leaves out.
pub(super) fn page(
    folder: &Path,
    after: Option<&TenantId>,
    limit: usize,
) -> Result<Vec<TenantId>, Error> {
    let mut tenants = Vec::new();
    for name in names(folder, after)? {
        if tenants.len() >= limit {
            break;
        }
        // A copy under another name would be a tenant twice, and is not what a load reads.
        let own = tenant_in(folder, &name)?.filter(|tenant| file_name(tenant) == name);
        tenants.extend(own);
    }
    Ok(tenants)
}

/// What files of tenants are called, those behind `after`, without their extensions.
fn names(folder: &Path, after: Option<&TenantId>) -> Result<BTreeSet<String>, Error> {
    let fail = |error| failed("token folder", folder, "cannot be read", Some(error));
    let after = after.map(file_name);
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.file_name();
        let Some((name, extension)) = path.to_str().and_then(|path| path.rsplit_once('.')) else {
            continue;
        };
        // A file that is replaced while the folder is read may escape the reading. Its lock, which is never replaced, does not.
        let is_of_a_tenant = matches!(extension, "json" | "lock") && is_file_name(name);
        if is_of_a_tenant && after.as_deref().is_none_or(|after| name > after) {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

fn is_file_name(name: &str) -> bool {
    let digits = name.rsplit_once('-').map(|(_, digits)| digits);
    digits.is_some_and(|digits| {
        digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Nobody, if the file is not there or does not say. An error is one that the file is not to blame for, such as too many open
/// files: to leave it out for that would let a grant die.
fn tenant_in(folder: &Path, name: &str) -> Result<Option<TenantId>, Error> {
    let path = folder.join(format!("{name}.json"));
    // Opening something else, such as a pipe, could block for ever.
    let fail = |error| failed("token file", &path, "cannot be read", Some(error));
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    }
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if is_of_this_file(error.kind()) => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let capacity = usize::try_from(length.min(LARGEST_FILE)).unwrap_or_default();
    // Large enough from the start: what a vector grows out of is not wiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity + 1));
    // As much as could be read may be enough.
    let _ = file.take(LARGEST_FILE).read_to_end(&mut bytes);
    Ok(tenant_of(&bytes))
}

fn is_of_this_file(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests;
