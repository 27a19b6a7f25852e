//! A request's head, kept for the retry.
//!
//! Every request with a retry pays for this copy, and hardly any is sent again. So the texts of the
//! head are copied into one buffer, and parsed only for the retry. A clone would change a reference
//! count for each text, which threads may share, and allocate for each one that nothing shares yet.
//! Only sensitive values are cloned: their owner may wipe their memory, and the buffer is not
//! wiped.

use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    request::Parts,
    uri::{self, Authority, PathAndQuery, Scheme},
};

use crate::token::TenantId;

/// Everything of a request but its body.
pub(super) struct RequestHead {
    method: Method,
    version: Version,
    is_https: bool,
    authority_length: u16,
    path_length: u16,
    /// How many values the headers have. Several may share one name.
    header_count: u32,
    /// The authority, the path with the query, then each header: its [`Lengths`], its name, its
    /// value.
    texts: Vec<u8>,
    /// `None` if no value is sensitive.
    sensitive: Option<Box<SensitiveValues>>,
    extensions: KeptExtensions,
}

/// The sensitive values, in their order. Their texts are left out.
#[derive(Default)]
struct SensitiveValues(Vec<HeaderValue>);

/// The extensions of a request.
enum KeptExtensions {
    Empty,
    /// Most requests of programs with many tenants have no other.
    Tenant(TenantId),
    Any(Box<Extensions>),
}

/// The lengths of the texts of a header, in one number: 32 bits for the value, 16 bits above them
/// for the name, and the highest bit of a sensitive value.
struct Lengths(u64);

impl RequestHead {
    /// Room for the texts of a usual request.
    pub(super) const USUAL_CAPACITY: usize = 512;

    /// No more room is expected to be needed, even after a larger head.
    const MAX_CAPACITY: usize = 8 * 1024;

    /// Copies the head of a request whose URI is absolute. `capacity` is the expected size of its
    /// texts. `None` for a head that cannot be sent again.
    pub(super) fn of<B>(request: &Request<B>, capacity: usize) -> Option<Self> {
        let uri = request.uri();
        let authority = uri.authority()?.as_str().as_bytes();
        let path = uri.path_and_query()?.as_str().as_bytes();
        let headers = request.headers();
        let mut texts = Vec::with_capacity(capacity);
        texts.extend_from_slice(authority);
        texts.extend_from_slice(path);
        let (texts, sensitive) = with_headers(texts, headers)?;
        Some(Self {
            method: request.method().clone(),
            version: request.version(),
            is_https: uri.scheme()?.as_str() == "https",
            authority_length: authority.len().try_into().ok()?,
            path_length: path.len().try_into().ok()?,
            header_count: headers.len().try_into().ok()?,
            texts,
            sensitive,
            extensions: KeptExtensions::of(request.extensions()),
        })
    }

    /// The capacity for the next head, which is most likely not much larger than this one.
    #[inline]
    pub(super) fn next_capacity(&self) -> usize {
        self.texts
            .len()
            .clamp(Self::USUAL_CAPACITY, Self::MAX_CAPACITY)
    }

    /// The head, still without a token. `None` if a header map has no room for all headers, or if a
    /// text is not valid.
    pub(super) fn to_parts(&self) -> Option<Parts> {
        let mut texts = Bytes::copy_from_slice(&self.texts);
        let authority = take(&mut texts, self.authority_length.into())?;
        let path = take(&mut texts, self.path_length.into())?;
        let mut uri = uri::Parts::default();
        uri.scheme = Some(if self.is_https {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        });
        uri.authority = Some(Authority::from_maybe_shared(authority).ok()?);
        uri.path_and_query = Some(PathAndQuery::from_maybe_shared(path).ok()?);

        let (mut head, ()) = Request::new(()).into_parts();
        head.method = self.method.clone();
        head.uri = Uri::from_parts(uri).ok()?;
        head.version = self.version;
        // A map may not have the capacity for this many names.
        let count = usize::try_from(self.header_count).ok()?;
        let mut sensitive = self.sensitive.iter().flat_map(|values| &values.0);
        head.headers = HeaderMap::try_with_capacity(count + 1).unwrap_or_default();
        for _ in 0..count {
            let lengths = take(&mut texts, size_of::<u64>())?;
            let lengths = Lengths(u64::from_ne_bytes(lengths.as_ref().try_into().ok()?));
            let name = take(&mut texts, lengths.name()?)?;
            let value = take(&mut texts, lengths.value()?)?;
            let name = HeaderName::from_bytes(&name).ok()?;
            let value = if lengths.is_sensitive() {
                sensitive.next()?.clone()
            } else {
                HeaderValue::from_maybe_shared(value).ok()?
            };
            head.headers.try_append(name, value).ok()?;
        }
        head.extensions = self.extensions.to_extensions();
        Some(head)
    }
}

/// Adds the lengths, the name and the value of each header.
#[inline(never)] // Otherwise the loop has too few registers.
fn with_headers(
    mut texts: Vec<u8>,
    headers: &HeaderMap,
) -> Option<(Vec<u8>, Option<Box<SensitiveValues>>)> {
    let mut sensitive: Option<Box<SensitiveValues>> = None;
    for (name, value) in headers {
        let name = name.as_str().as_bytes();
        let text = if value.is_sensitive() {
            sensitive.get_or_insert_default().0.push(value.clone());
            b""
        } else {
            value.as_bytes()
        };
        let lengths = Lengths::of(name, text, value.is_sensitive())?;
        texts.extend_from_slice(&lengths.0.to_ne_bytes());
        texts.extend_from_slice(name);
        texts.extend_from_slice(text);
    }
    Some((texts, sensitive))
}

/// The next `length` bytes.
fn take(texts: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= texts.len()).then(|| texts.split_to(length))
}

impl KeptExtensions {
    #[inline]
    fn of(extensions: &Extensions) -> Self {
        if extensions.is_empty() {
            return Self::Empty;
        }
        match extensions.get::<TenantId>() {
            Some(tenant) if extensions.len() == 1 => Self::Tenant(tenant.clone()),
            _ => Self::Any(Box::new(extensions.clone())),
        }
    }

    fn to_extensions(&self) -> Extensions {
        match self {
            Self::Empty => Extensions::new(),
            Self::Tenant(tenant) => {
                let mut extensions = Extensions::new();
                extensions.insert(tenant.clone());
                extensions
            }
            Self::Any(extensions) => Extensions::clone(extensions),
        }
    }
}

impl Lengths {
    const VALUE_BITS: u32 = 32;
    const SENSITIVE: u64 = 1 << 63;

    #[inline]
    fn of(name: &[u8], value: &[u8], is_sensitive: bool) -> Option<Self> {
        let name = u64::from(u16::try_from(name.len()).ok()?);
        let value = u64::from(u32::try_from(value.len()).ok()?);
        let sensitive = if is_sensitive { Self::SENSITIVE } else { 0 };
        Some(Self(sensitive | name << Self::VALUE_BITS | value))
    }

    fn name(&self) -> Option<usize> {
        usize::try_from((self.0 & !Self::SENSITIVE) >> Self::VALUE_BITS).ok()
    }

    fn value(&self) -> Option<usize> {
        usize::try_from(self.0 & u64::from(u32::MAX)).ok()
    }

    fn is_sensitive(&self) -> bool {
        self.0 & Self::SENSITIVE != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(request: &Request<()>) -> Request<()> {
        let head = RequestHead::of(request, 0).unwrap();
        Request::from_parts(head.to_parts().unwrap(), ())
    }

    fn request(method: &str, uri: &str, headers: &[(&str, &[u8])]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn p08_head_is_kept_to_the_byte() {
        let long = vec![b'v'; 70_000];
        let long_name = "x".repeat(40_000);
        for request in [
            request("GET", "https://api.example.com", &[]),
            request("GET", "https://api.example.com/", &[("accept", b"*/*")]),
            request("POST", "http://127.0.0.1:8080/a?b=c&d=%20#", &[]),
            request("PATCH", "https://API.example.com:443?only=query", &[]),
            request("purge-all-of-it-now", "https://[::1]:1/ä", &[]),
            request(
                "M-SEARCH",
                "https://api.example.com/v1",
                &[
                    ("set-cookie", b"a=1"),
                    ("x-other", b""),
                    ("set-cookie", b"b=2"),
                    ("set-cookie", b""),
                ],
            ),
            request(
                "GET",
                "https://api.example.com/",
                &[("x-bytes", b"\x80\xff\t ~")],
            ),
            request(
                "GET",
                "https://api.example.com/",
                &[("x-long", &long), (&long_name, b"1")],
            ),
        ] {
            let again = kept(&request);
            assert_eq!(again.method(), request.method());
            assert_eq!(again.uri(), request.uri());
            assert_eq!(again.uri().to_string(), request.uri().to_string());
            assert_eq!(again.version(), request.version());
            assert_eq!(again.headers(), request.headers());
            assert!(
                again.headers().iter().eq(request.headers()),
                "in their order"
            );
        }
    }

    #[test]
    fn p08_other_forms_of_a_uri_are_kept_too() {
        let mut request = request("OPTIONS", "https://api.example.com", &[]);
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static("*"));
        *request.uri_mut() = Uri::from_parts(parts).unwrap();
        assert_eq!(kept(&request).uri(), request.uri());
        *request.version_mut() = Version::HTTP_2;
        assert_eq!(kept(&request).version(), Version::HTTP_2);
    }

    #[test]
    fn p21_sensitive_values_stay_sensitive_and_are_not_copied() {
        let mut request = request("GET", "https://api.example.com", &[("x-public", b"1")]);
        let mut key = HeaderValue::from_static("k");
        key.set_sensitive(true);
        request.headers_mut().insert("x-api-key", key);
        let mut other = HeaderValue::from_static("o");
        other.set_sensitive(true);
        request.headers_mut().append("x-public", other);
        let again = kept(&request);
        assert_eq!(again.headers(), request.headers());
        let is_sensitive = |request: &Request<()>| -> Vec<_> {
            let values = request.headers().values();
            values.map(HeaderValue::is_sensitive).collect()
        };
        assert_eq!(is_sensitive(&again), is_sensitive(&request));
        assert_eq!(is_sensitive(&again).iter().filter(|is| **is).count(), 2);
        let address = |request: &Request<()>| request.headers()["x-api-key"].as_bytes().as_ptr();
        assert_eq!(address(&again), address(&request));
    }

    #[test]
    fn large_head_is_followed_by_small_ones() {
        let size = |length: usize| {
            let value = vec![b'v'; length];
            let request = request("GET", "https://api.example.com", &[("x-one", &value)]);
            RequestHead::of(&request, 0).unwrap().next_capacity()
        };
        assert_eq!(size(1), RequestHead::USUAL_CAPACITY);
        assert!(size(1_000) > 1_000);
        assert_eq!(size(1_000_000), RequestHead::MAX_CAPACITY);
    }

    #[test]
    fn extensions_are_kept() {
        let tenant = TenantId::new("acme").unwrap();
        let mut request = request("GET", "https://api.example.com", &[]);
        assert!(kept(&request).extensions().is_empty());
        request.extensions_mut().insert(tenant.clone());
        assert_eq!(kept(&request).extensions().get(), Some(&tenant));
        request.extensions_mut().insert(7_u8);
        let again = kept(&request);
        assert_eq!(again.extensions().get(), Some(&tenant));
        assert_eq!(again.extensions().get(), Some(&7_u8));
    }

    #[test]
    fn head_without_an_absolute_uri_is_not_kept() {
        for uri in ["/v1/company", "api.example.com:443", "*"] {
            assert!(
                RequestHead::of(&request("GET", uri, &[]), 0).is_none(),
                "{uri}"
            );
        }
    }
}
