//! Cookies of our own, one for each flow.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac_sha256::Hash as Sha256;
use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, SET_COOKIE},
};

/// How many of our cookies in a request are looked at. A browser has four; more are somebody's nonsense.
const MOST: usize = 16;

/// Writes cookies of one application at one provider, and finds them again among others.
#[derive(Debug)]
pub(super) struct Cookies {
    prefix: String,
    attributes: &'static str,
}

impl Cookies {
    /// For pages over https or, on this machine, without.
    pub(super) fn new(is_https: bool, application: &[u8]) -> Self {
        // Two applications on one host leave each other's cookies alone.
        let application = digest(application, 6);
        if is_https {
            // A browser takes a cookie of this name from this very host alone, over https: not from a host beside it.
            Self {
                prefix: format!("__Host-connect-{application}-"),
                attributes: "; Path=/; Secure; HttpOnly; SameSite=Lax",
            }
        } else {
            Self {
                prefix: format!("connect-{application}-"),
                attributes: "; Path=/; HttpOnly; SameSite=Lax",
            }
        }
    }

    /// The name of a flow's cookie, from which nobody learns its state.
    pub(super) fn name(&self, state: &str) -> String {
        format!("{}{}", self.prefix, digest(state.as_bytes(), 16))
    }

    /// All of them in a request, as far as they are worth looking at.
    pub(super) fn all<'a>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        pairs(headers)
            .filter(|(name, _)| name.starts_with(&self.prefix))
            .take(MOST)
    }

    /// The header for a cookie that lives so long; 0 removes it. `None` if the name or the value has characters that no
    /// cookie has.
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

/// Those of one name. Whoever can set cookies for a whole domain may have put some beside the right one.
pub(super) fn named<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    pairs(headers)
        .filter_map(move |(found, value)| (found == name).then_some(value))
        .take(MOST)
}

/// The cookies of a request (RFC 6265 section 4.2), whatever else stands among them.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let headers = headers.get_all(COOKIE).iter();
    headers
        .flat_map(|header| header.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| {
            let (name, value) = str::from_utf8(pair).ok()?.split_once('=')?;
            Some((name.trim(), value.trim()))
        })
}

/// The first bytes of a hash, as text.
pub(super) fn digest(bytes: &[u8], length: usize) -> String {
    let digest = Sha256::hash(bytes);
    BASE64_URL_SAFE_NO_PAD.encode(&digest[..length.min(digest.len())])
}
