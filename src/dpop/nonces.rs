//! The newest nonce of each server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use http::{HeaderMap, HeaderName, Uri, uri::Scheme};

use crate::origin::Origin;

/// The header that brings the next nonce (RFC 9449 section 8.2).
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Of how many origins a nonce is kept. Beyond that, the one that was learnt first is dropped, and
/// the server sends it again.
const MAX_ORIGINS: usize = 1_024;

/// The longest nonce. It is sent with each request.
const MAX_LENGTH: usize = 512;

/// Nonces by origin.
#[derive(Default)]
pub(super) struct Nonces(Mutex<Learnt>);

#[derive(Default)]
struct Learnt {
    /// By the authority in its usual spelling. A plain `http` origin has its scheme before it.
    by_authority: HashMap<Box<str>, Nonce, RandomState>,
    /// Counts the nonces that were learnt.
    count: u64,
}

struct Nonce {
    text: Arc<str>,
    number: u64,
}

impl Nonces {
    /// The nonce for a request to a URI, if its server has issued one.
    pub(super) fn of(&self, uri: &Uri) -> Option<Arc<str>> {
        let learnt = self.lock();
        if learnt.by_authority.is_empty() {
            return None;
        }
        let authority = uri.authority()?.as_str();
        // The usual spelling of most requests.
        let nonce = (uri.scheme() == Some(&Scheme::HTTPS))
            .then(|| learnt.by_authority.get(authority))
            .flatten()
            .or_else(|| learnt.by_authority.get(&*key(uri)?))?;
        Some(Arc::clone(&nonce.text))
    }

    /// Learns the nonce of a response from a URI. Returns whether the response has one.
    ///
    /// Of a response with several nonces none is valid.
    pub(super) fn learn(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(DPOP_NONCE).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let Some(nonce) = value.to_str().ok().filter(|nonce| is_nonce(nonce)) else {
            return false;
        };
        let Some(key) = key(uri) else { return false };
        self.lock().insert(key, nonce);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Learnt> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Learnt {
    fn insert(&mut self, key: Box<str>, nonce: &str) {
        let number = self.count;
        self.count = self.count.saturating_add(1);
        if let Some(known) = self.by_authority.get_mut(&key) {
            known.number = number;
            if *known.text != *nonce {
                known.text = nonce.into();
            }
            return;
        }
        if self.by_authority.len() >= MAX_ORIGINS {
            let entries = self.by_authority.iter();
            let oldest = entries.min_by_key(|(_, nonce)| nonce.number);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.by_authority.remove(&oldest);
            }
        }
        let text = nonce.into();
        self.by_authority.insert(key, Nonce { text, number });
    }
}

/// Identifies the origin of a URI.
fn key(uri: &Uri) -> Option<Box<str>> {
    let origin = Origin::from_uri("origin", uri).ok()?;
    Some(if origin.scheme() == Scheme::HTTPS {
        origin.authority().into()
    } else {
        origin.to_string().into()
    })
}

/// The grammar of RFC 9449 section 8.1. No such character needs an escape in JSON.
fn is_nonce(text: &str) -> bool {
    let is_character = |byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(is_character)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(nonces: &[&str]) -> HeaderMap {
        let values = nonces.iter().map(|nonce| {
            let value = HeaderValue::from_bytes(nonce.as_bytes()).unwrap();
            (DPOP_NONCE, value)
        });
        values.collect()
    }

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn nonce_is_used_for_its_origin_only() {
        let nonces = Nonces::default();
        assert_eq!(nonces.of(&uri("https://api.example.com/")), None);
        assert!(nonces.learn(&uri("https://API.example.com:443/a"), &headers(&["n1"])));
        assert!(nonces.learn(&uri("http://localhost:80/"), &headers(&["n2"])));
        for (to, expected) in [
            ("https://api.example.com/b?c", Some("n1")),
            ("https://api.EXAMPLE.com:443/b", Some("n1")),
            ("https://api.example.com:8443/", None),
            ("https://example.com/", None),
            ("https://localhost/", None),
            ("http://LOCALHOST/", Some("n2")),
            ("http://api.example.com/", None),
            ("/relative", None),
        ] {
            assert_eq!(nonces.of(&uri(to)).as_deref(), expected, "{to}");
        }
        assert!(nonces.learn(&uri("https://api.example.com/"), &headers(&["n3"])));
        let newest = nonces.of(&uri("https://api.example.com/"));
        assert_eq!(newest.as_deref(), Some("n3"));
    }

    #[test]
    fn malformed_nonce_is_ignored() {
        let nonces = Nonces::default();
        let api = uri("https://api.example.com/");
        let (long, longest) = ("n".repeat(MAX_LENGTH + 1), "n".repeat(MAX_LENGTH));
        for wrong in [
            &[] as &[_],
            &[""],
            &["a b"],
            &["a\"b"],
            &["a\\b"],
            &["\u{fc}"],
            &["a\tb"],
            &["a", "b"],
            &[&long],
        ] {
            assert!(!nonces.learn(&api, &headers(wrong)), "{wrong:?}");
        }
        assert_eq!(nonces.of(&api), None);
        for right in ["!#[]~", &longest, "eyJ7S_zG.eyJH0-Z.HX4w-7v"] {
            assert!(nonces.learn(&api, &headers(&[right])), "{right}");
            assert_eq!(nonces.of(&api).as_deref(), Some(right));
        }
    }

    #[test]
    fn nonces_of_a_fixed_number_of_origins_are_kept() {
        let nonces = Nonces::default();
        let api = |number: usize| uri(&format!("https://{number}.example.com/"));
        for number in 0..MAX_ORIGINS {
            assert!(nonces.learn(&api(number), &headers(&["n"])));
        }
        // It was used again, so it is not the oldest.
        assert!(nonces.learn(&api(0), &headers(&["n"])));
        assert!(nonces.learn(&api(MAX_ORIGINS), &headers(&["n"])));
        assert_eq!(nonces.lock().by_authority.len(), MAX_ORIGINS);
        for (number, is_kept) in [(0, true), (1, false), (2, true), (MAX_ORIGINS, true)] {
            assert_eq!(nonces.of(&api(number)).is_some(), is_kept, "{number}");
        }
    }
}
