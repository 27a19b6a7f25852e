//! Where a token may go.

use std::fmt;

use http::{
    Uri,
    uri::{Authority, Scheme},
};

use crate::error::Error;

/// The scheme, host and port of a server (RFC 6454): what decides whether a request may carry a token.
///
/// Comparing is exact: another port, another scheme or a name below the host's is another origin. Plain `http` exists
/// for loopback addresses only, so that a test can stand in for the service.
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
    /// Host and port as they are mostly written: in lower case, without the usual port.
    authority: String,
}

impl Origin {
    /// Whether a request to `uri` goes to this origin. Costs no allocation.
    ///
    /// A relative URI, or one with user information, goes to no origin at all.
    #[must_use]
    #[inline]
    pub fn matches(&self, uri: &Uri) -> bool {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return false;
        };
        let is_same_scheme = if self.secure {
            *scheme == Scheme::HTTPS
        } else {
            *scheme == Scheme::HTTP
        };
        is_same_scheme && self.is_authority(authority)
    }

    /// Whether an authority, as in a URI or a `Host` header, names this origin.
    #[inline]
    pub(crate) fn is_authority(&self, authority: &Authority) -> bool {
        // Each request asks, and hardly one writes it in another way.
        authority.as_str() == self.authority || self.is_authority_by_parts(authority)
    }

    #[cold]
    fn is_authority_by_parts(&self, authority: &Authority) -> bool {
        !has_user_information(authority)
            && authority.host().eq_ignore_ascii_case(&self.host)
            && port_of(authority, self.secure) == Some(self.port)
    }

    /// For constants: https, on its usual port.
    pub(crate) fn from_static(host: &'static str) -> Self {
        Self::new(true, host.to_owned(), default_port(true))
    }

    fn new(secure: bool, host: String, port: u16) -> Self {
        let authority = if port == default_port(secure) {
            host.clone()
        } else {
            format!("{host}:{port}")
        };
        Self {
            secure,
            host,
            port,
            authority,
        }
    }

    /// The origin of `uri`.
    pub(crate) fn of(name: &str, uri: &Uri) -> Result<Self, Error> {
        let fail = |what: &str| Err(Error::configuration(format!("{name}: {what}")));
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return fail("give an absolute URL, as in https://api.example.com");
        };
        if has_user_information(authority) {
            return fail("a URL must not hold user information");
        }
        let secure = *scheme == Scheme::HTTPS;
        if !secure && *scheme != Scheme::HTTP {
            return fail("use https");
        }
        if !secure && !is_loopback(authority.host()) {
            return fail("use https (http is for loopback addresses only)");
        }
        if authority.host().is_empty() {
            return fail("name a host");
        }
        let Some(port) = port_of(authority, secure) else {
            return fail("the port is not a number from 1 to 65535");
        };
        Ok(Self::new(
            secure,
            authority.host().to_ascii_lowercase(),
            port,
        ))
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

    /// Reads the origin of a URL. Its path, if it has one, is not looked at.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration) if it is not an absolute `https` URL (or `http` to loopback)
    /// without user information.
    fn from_str(url: &str) -> Result<Self, Error> {
        let uri = url.parse::<Uri>().map_err(|error| {
            Error::configuration("origin: this is not a URL").with_source(error)
        })?;
        Self::of("origin", &uri)
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

/// The port that a connection would be made to; `None` if the one that is written is no port.
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

/// `localhost`, 127.0.0.0/8 and `[::1]`: addresses that do not leave the machine (RFC 8252 section 8.3).
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
    fn http_is_for_loopback_only() {
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
    fn p20_origin_is_exact() {
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
    fn display_reads_back() {
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
