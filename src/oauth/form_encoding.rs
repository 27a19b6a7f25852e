//! The encoding of forms (`application/x-www-form-urlencoded`).

use crate::token::SecretBuffer;

/// Form-encodes a text.
pub(super) fn encode(text: &str, buffer: &mut SecretBuffer) {
    for part in form_urlencoded::byte_serialize(text.as_bytes()) {
        buffer.push(part.as_bytes());
    }
}
