//! File names of tenants.

use std::fmt::Write as _;

use hmac_sha256::Hash as Sha256;

use crate::token::TenantId;

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
