//! File names of tenants.

use std::fmt::Write as _;

use hmac_sha256::Hash as Sha256;

use crate::token::TenantId;

/// The files of a tenant's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaseFiles {
    pub(super) lease: String,
    pub(super) lock: String,
}

impl LeaseFiles {
    pub(super) fn new(tenant: &TenantId) -> Self {
        let name = file_name(tenant);
        if tenant.is_reserved() {
            Self::of_reserved(&name)
        } else {
            Self {
                lease: format!("{name}.lease"),
                lock: format!("{name}.lock"),
            }
        }
    }

    /// The files of the reserved name to which this lease file belongs. `None` if it does not
    /// belong to one.
    pub(super) fn of_reserved_lease(lease: &str) -> Option<Self> {
        let name = lease.strip_suffix(RESERVED_LEASE)?;
        Some(Self::of_reserved(name))
    }

    fn of_reserved(name: &str) -> Self {
        // Sixteen locks for all, because there is a new name for each callback. The last digit of
        // the hash chooses one.
        let digit = name.chars().last().unwrap_or_default();
        Self {
            lease: format!("{name}{RESERVED_LEASE}"),
            lock: format!(".lease-lock-{digit}"),
        }
    }
}

/// The extension of the leases of reserved names.
const RESERVED_LEASE: &str = ".reserved-lease";

/// A name that is unique on any file system, whatever it does with case, Unicode and separators.
///
/// The hash distinguishes tenants. The readable part before it shows operators which tenant it is.
pub(super) fn file_name(tenant: &TenantId) -> String {
    let readable: String = tenant
        .as_str()
        .chars()
        .take(40)
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let mut name = format!("{readable}-");
    for byte in Sha256::hash(tenant.as_str().as_bytes()) {
        // Writing to a string does not fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}
