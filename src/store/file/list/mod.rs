//! Pages of tenants, in the order of their file names.
//!
//! File names contain hashes, so the tenant's name is read from the file. A file without a readable
//! name is skipped, and the page continues with the next file: an empty page would be the end.

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
};

use super::{
    directory::{Access, Directory, Problem},
    disk::{CHECK_READ, LARGEST_FILE, grant_file, read},
    name::file_name,
};
use crate::{
    error::Error,
    token::{TenantId, tenant_of},
};

/// The length of a hash in hexadecimal digits.
const DIGITS: usize = 64;

/// Reads the directory once, and only those files that it returns or skips.
pub(super) fn page(
    directory: &Directory,
    after: Option<&TenantId>,
    limit: usize,
) -> Result<Vec<TenantId>, Error> {
    let mut tenants = Vec::new();
    for name in names(directory, after)? {
        if tenants.len() >= limit {
            break;
        }
        // A copy under another name would list a tenant twice, and is not the file that a load
        // reads.
        let own = tenant_in(directory, &name)?.filter(|tenant| file_name(tenant) == name);
        tenants.extend(own);
    }
    Ok(tenants)
}

/// Whether the directory contains the file of a grant.
pub(super) fn has_grants(directory: &Directory) -> io::Result<bool> {
    for entry in directory.names()? {
        let name = entry?;
        let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
        if name.is_some_and(is_file_name) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The names of tenants' files after `after`, without extensions.
fn names(directory: &Directory, after: Option<&TenantId>) -> Result<BTreeSet<String>, Error> {
    let fail = |error| {
        let what = "token directory cannot be read";
        Problem::Io(error).at(directory.path(), what, CHECK_READ)
    };
    let after = after.map(file_name);
    let mut names = BTreeSet::new();
    for entry in directory.names().map_err(fail)? {
        let path = entry.map_err(fail)?;
        let Some((name, extension)) = path.to_str().and_then(|path| path.rsplit_once('.')) else {
            continue;
        };
        // A directory scan may miss a file that is replaced at the same time. It does not miss the
        // lock file, which is never replaced.
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

/// Returns `None` if the file is missing or contains no name.
///
/// Failures that are not the file's own, such as too many open files, are errors: skipping the
/// tenant would let its grant expire.
fn tenant_in(directory: &Directory, name: &str) -> Result<Option<TenantId>, Error> {
    let file = match directory.open_file(&grant_file(name), Access::ReadName) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(problem) if concerns_this_file(&problem) => return Ok(None),
        Err(problem) => {
            let path = directory.path().join(grant_file(name));
            return Err(problem.at(&path, "token file cannot be read", CHECK_READ));
        }
    };
    // Of a file that cannot be read, the name is unknown.
    let bytes = read(&file, LARGEST_FILE).unwrap_or_default();
    Ok(tenant_of(&bytes))
}

fn concerns_this_file(problem: &Problem) -> bool {
    match problem {
        Problem::Rejected(_) => true,
        Problem::Io(error) => error.kind() == ErrorKind::PermissionDenied,
    }
}

#[cfg(test)]
mod tests;
