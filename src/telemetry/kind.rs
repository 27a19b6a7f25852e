//! The names of error kinds.

use crate::error::ErrorKind;

/// An error kind in the spelling of all other field values.
pub(super) fn kind_name(kind: ErrorKind) -> &'static str {
    kind.as_str()
}
