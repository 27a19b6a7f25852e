//! The cookies of this module, one per flow.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac_sha256::Hash as Sha256;
use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, SET_COOKIE},
};

/// How many cookies of a request are considered. A browser has four of them; more were forged.
const MAX_COOKIES: usize = 16;

/// Writes the cookies of one client, and finds them among others.
#[derive(Debug)]
pub(super) struct Cookies {
    prefix: String,
    attributes: &'static str,
}

impl Cookies {
    /// `is_https` is false only for a redirect URI on loopback.
    pub(super) fn new(is_https: bool, client: &[u8]) -> Self {
        // Two clients on one host must not read or remove the cookies of each other.
        let client = digest(client, 6);
        if is_https {
            // A browser accepts this prefix only over https from exactly this host, not from a
            // sibling host (RFC 6265bis).
            Self {
                prefix: format!("__Host-connect-{client}-"),
                attributes: "; Path=/; Secure; HttpOnly; SameSite=Lax",
            }
        } else {
            Self {
                prefix: format!("connect-{client}-"),
                attributes: "; Path=/; HttpOnly; SameSite=Lax",
            }
        }
    }

    /// The name of a flow's cookie. It does not reveal the state.
    pub(super) fn name(&self, state: &str) -> String {
        format!("{}{}", self.prefix, digest(state.as_bytes(), 16))
    }

    /// The cookies of this client in a request.
    pub(super) fn all<'a>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        pairs(headers)
            .filter(|(name, _)| name.starts_with(&self.prefix))
            .take(MAX_COOKIES)
    }

    /// The header that sets a cookie for so many seconds, or removes it if 0. `None` if the name or
    /// the value contains characters that are not allowed in a cookie.
    pub(super) fn set(&self, name: &str, value: &str, seconds: u64) -> Option<HeaderValue> {
        let is_plain = |text: &str| {
            let mut bytes = text.bytes();
            bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if !is_plain(name) || !is_plain(value) {
            return None;
        }
        let cookie = format!("{name}={value}; Max-Age={seconds}{}", self.attributes);
        let mut header = HeaderValue::from_str(&cookie).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    pub(super) fn remove(&self, name: &str, headers: &mut HeaderMap) {
        if let Some(cookie) = self.set(name, "", 0) {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// The cookies of one name. There may be several: a sibling host can set cookies for the whole
/// domain.
pub(super) fn named<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    pairs(headers)
        .filter_map(move |(other, value)| (other == name).then_some(value))
        .take(MAX_COOKIES)
}

/// All cookies of a request (RFC 6265 section 4.2).
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let headers = headers.get_all(COOKIE).iter();
    headers
        .flat_map(|header| header.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| {
            let (name, value) = str::from_utf8(pair).ok()?.split_once('=')?;
            Some((name.trim(), value.trim()))
        })
}

/// The first `length` bytes of a hash, as text.
pub(super) fn digest(bytes: &[u8], length: usize) -> String {
    let digest = Sha256::hash(bytes);
    BASE64_URL_SAFE_NO_PAD.encode(&digest[..length.min(digest.len())])
}
