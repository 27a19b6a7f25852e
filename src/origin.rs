//! Origins, which decide where a token is sent.

use std::fmt;

use http::{
    HeaderMap, Uri,
    header::HOST,
    uri::{Authority, Scheme},
};

use crate::error::Error;

/// The scheme, host and port of a server (RFC 6454).
///
/// A request carries a token only to an origin that the token is meant for. The comparison is
/// exact: another scheme, another port or a subdomain is another origin. Plain `http` is allowed
/// for loopback addresses only, so that tests can use a local server.
///
/// ```
/// use tower_oauth2_client::Origin;
///
/// let origin: Origin = "https://API.example.com".parse()?;
/// assert_eq!(origin, "https://api.example.com:443/".parse()?);
/// assert_ne!(origin, "https://api.example.com:8443".parse()?);
/// assert!("http://api.example.com".parse::<Origin>().is_err());
/// assert_eq!(origin.to_string(), "https://api.example.com");
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    secure: bool,
    host: String,
    port: u16,
    /// Host and port in their usual spelling: in lower case, and without the default port.
    authority: String,
    /// Host and port, also if that is the default port.
    full_authority: String,
}

impl Origin {
    /// Whether a request to `uri` goes to this origin. Does not allocate.
    ///
    /// A relative URI, or one with user information, matches no origin.
    #[must_use]
    #[inline]
    pub fn matches(&self, uri: &Uri) -> bool {
        self.is_of(uri)
    }

    /// See [`matches`](Self::matches).
    #[expect(
        clippy::inline_always,
        reason = "counted: a twentieth of what a request costs"
    )]
    #[inline(always)]
    pub(crate) fn is_of(&self, uri: &Uri) -> bool {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return false;
        };
        let is_same_scheme = match scheme.as_str() {
            "https" => self.secure,
            "http" => !self.secure,
            _ => false,
        };
        is_same_scheme && self.is_authority(authority.as_str().as_bytes())
    }

    /// Whether an authority, as in a URI or a `Host` header, names this origin.
    #[inline]
    pub(crate) fn is_authority(&self, authority: &[u8]) -> bool {
        // The fast path: almost every request uses one of these spellings.
        authority == self.authority.as_bytes()
            || authority == self.full_authority.as_bytes()
            || self.is_authority_by_parts(authority)
    }

    /// Whether each `Host` header names this origin. Some stacks route by this header instead of
    /// the URI.
    #[cold]
    pub(crate) fn is_each_host(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        hosts.all(|host| self.is_authority(host.as_bytes()))
    }

    #[cold]
    fn is_authority_by_parts(&self, authority: &[u8]) -> bool {
        Authority::try_from(authority).is_ok_and(|authority| {
            !has_user_information(&authority)
                && authority.host().eq_ignore_ascii_case(&self.host)
                && port_of(&authority, self.secure) == Some(self.port)
        })
    }

    fn new(secure: bool, host: String, port: u16) -> Self {
        let full_authority = format!("{host}:{port}");
        let authority = if port == default_port(secure) {
            host.clone()
        } else {
            full_authority.clone()
        };
        Self {
            secure,
            host,
            port,
            authority,
            full_authority,
        }
    }

    /// Parses the origin of a URL. `name` is the name of the setting, for the error.
    pub(crate) fn parse(name: &str, url: &str) -> Result<Self, Error> {
        let uri = url.parse::<Uri>().map_err(|error| {
            Error::configuration(format!(
                "{name}: not a URL; use one such as https://api.example.com"
            ))
            .with_source(error)
        })?;
        Self::from_uri(name, &uri)
    }

    /// The origin of `uri`. `name` is the name of the setting, for the error.
    pub(crate) fn from_uri(name: &str, uri: &Uri) -> Result<Self, Error> {
        let fail = |what: &str| Err(Error::configuration(format!("{name}: {what}")));
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return fail("the URL is not absolute; use one such as https://api.example.com");
        };
        if has_user_information(authority) {
            return fail("the URL contains user information; remove it");
        }
        let secure = *scheme == Scheme::HTTPS;
        if !secure && *scheme != Scheme::HTTP {
            return fail("use https");
        }
        if !secure && !is_loopback(authority.host()) {
            return fail("use https (http is for loopback addresses only)");
        }
        if authority.host().is_empty() {
            return fail("the URL has no host; use one such as https://api.example.com");
        }
        let Some(port) = port_of(authority, secure) else {
            return fail("the port is not a number from 1 to 65535; correct it");
        };
        Ok(Self::new(
            secure,
            authority.host().to_ascii_lowercase(),
            port,
        ))
    }

    /// Whether it uses `https`. Otherwise it is a loopback address.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    pub(crate) fn scheme(&self) -> Scheme {
        if self.secure {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        }
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }
}

impl std::str::FromStr for Origin {
    type Err = Error;

    /// Parses the origin of a URL. A path is ignored.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration) if it is not an absolute `https` URL (or
    /// `http` to loopback) without user information.
    fn from_str(url: &str) -> Result<Self, Error> {
        Self::parse("origin", url)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

fn has_user_information(authority: &Authority) -> bool {
    authority.as_str().contains('@')
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// The port to connect to, or `None` if the port in the authority is invalid.
fn port_of(authority: &Authority, secure: bool) -> Option<u16> {
    let after_host = authority
        .as_str()
        .rsplit('@')
        .next()?
        .strip_prefix(authority.host())?;
    match after_host.strip_prefix(':') {
        None if after_host.is_empty() => Some(default_port(secure)),
        Some(digits) => digits.parse().ok().filter(|port| *port != 0),
        None => None,
    }
}

/// Whether traffic to the host stays on the machine (RFC 8252 section 8.3): `localhost`,
/// 127.0.0.0/8 and `[::1]`.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        url.parse().unwrap()
    }

    #[test]
    fn plain_http_is_accepted_for_loopback_only() {
        for loopback in [
            "http://localhost:1",
            "http://127.0.0.1:1",
            "http://127.9.9.9",
            "http://[::1]:1",
        ] {
            assert!(loopback.parse::<Origin>().is_ok(), "{loopback}");
        }
        for other in [
            "http://localhost.example.com",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "ftp://localhost",
            "https://user@example.com",
            "/v1/company",
            "https://example.com:0",
            "https://example.com:99999",
        ] {
            assert!(other.parse::<Origin>().is_err(), "{other}");
        }
    }

    #[test]
    fn p20_another_scheme_host_or_port_is_another_origin() {
        let api = origin("https://api.example.com");
        for same in [
            "https://api.example.com/v1?x=https://evil.example",
            "https://API.EXAMPLE.COM",
            "https://api.example.com:443/",
        ] {
            assert!(api.matches(&same.parse().unwrap()), "{same}");
        }
        for other in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com.evil.example/",
            "https://evil.example/https://api.example.com",
            "https://user@api.example.com/",
            "https://api.example.com@evil.example/",
            "https://example.com/",
            "/v1/company",
            "api.example.com:443",
        ] {
            assert!(!api.matches(&other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn displayed_origins_parse_to_the_same_origin() {
        for url in [
            "https://api.example.com",
            "http://127.0.0.1:8080",
            "http://[::1]",
        ] {
            assert_eq!(origin(url).to_string(), url);
            assert_eq!(origin(&origin(url).to_string()), origin(url));
        }
    }
}
