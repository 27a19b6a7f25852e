//! The header of `Basic` authentication (RFC 7617).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use crate::{
    oauth::form_encoding::encode,
    token::{ClientSecret, SecretBuffer},
};

const BASIC: &str = "Basic ";

/// The value of the header. Id and secret are form-encoded (RFC 6749 section 2.3.1), unless they
/// are sent raw.
pub(super) fn value(client_id: &str, secret: &ClientSecret, is_raw: bool) -> Zeroizing<String> {
    // An encoded byte has at most three characters.
    let length = client_id.len().saturating_add(secret.expose().len());
    let mut pair = SecretBuffer::with_capacity(length.saturating_mul(3).saturating_add(1));
    for (text, separator) in [(client_id, ":"), (secret.expose(), "")] {
        if is_raw {
            pair.push(text.as_bytes());
        } else {
            encode(text, &mut pair);
        }
        pair.push(separator.as_bytes());
    }
    let pair = pair.into_vec();
    let encoded = pair.len().div_ceil(3).saturating_mul(4);
    let mut value = Zeroizing::new(String::with_capacity(BASIC.len().saturating_add(encoded)));
    value.push_str(BASIC);
    BASE64_STANDARD.encode_string(&*pair, &mut value);
    value
}
