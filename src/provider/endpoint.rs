//! URLs of a provider's endpoints.

use std::fmt;

use http::{Uri, uri::PathAndQuery};

use crate::{error::Error, origin::Origin};

/// The URL of an endpoint (RFC 6749 sections 3.1 and 3.2).
///
/// It is absolute, uses `https` (or `http` to loopback), and contains no user information or
/// fragment. It may contain a query.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

impl Endpoint {
    pub(crate) fn parse(name: &str, url: &str) -> Result<Self, Error> {
        if url.contains('#') {
            return Err(Error::configuration(format!(
                "{name}: the URL contains a fragment; remove it"
            )));
        }
        let uri = url.parse::<Uri>().map_err(|error| {
            Error::configuration(format!(
                "{name}: not a URL; use one such as https://id.example.com/token"
            ))
            .with_source(error)
        })?;
        Origin::from_uri(name, &uri)?;
        Ok(Self(uri))
    }

    /// An endpoint from a constant, which is not checked.
    pub(super) fn from_static(url: &'static str) -> Self {
        Self(Uri::from_static(url))
    }

    pub(crate) fn on_origin(self, origin: &Origin) -> Result<Self, Error> {
        Uri::builder()
            .scheme(origin.scheme())
            .authority(origin.authority())
            .path_and_query(
                self.0
                    .path_and_query()
                    .cloned()
                    .unwrap_or_else(|| PathAndQuery::from_static("/")),
            )
            .build()
            .map(Self)
            .map_err(|error| {
                Error::configuration("origin: it cannot be combined with the path of an endpoint")
                    .with_source(error)
            })
    }

    /// The URL with `query` appended to its own query (RFC 6749 section 3.1).
    pub(crate) fn with_query(&self, query: &str) -> String {
        let url = self.0.to_string();
        let separator = match self.0.query() {
            None => "?",
            Some("") => "",
            Some(_) => "&",
        };
        format!("{url}{separator}{query}")
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_urls_are_named_by_their_setting() {
        for (url, what) in [
            ("/oauth/token", "absolute"),
            ("http://example.com/token", "https"),
            ("https://user:pass@example.com/token", "user information"),
            ("https://example.com/token#part", "fragment"),
            ("not a url", "not a URL"),
            ("", "not a URL"),
        ] {
            let error = Endpoint::parse("token endpoint", url).unwrap_err();
            let message = error.to_string();
            assert!(message.starts_with("token endpoint: "), "{message}");
            assert!(message.contains(what), "{url}: {message}");
            assert!(!message.contains("pass"), "{message}");
        }
    }

    #[test]
    fn with_query_keeps_the_query_of_the_endpoint() {
        for (url, whole) in [
            ("https://example.com/a", "https://example.com/a?x=1"),
            ("https://example.com/a?b=c", "https://example.com/a?b=c&x=1"),
            ("https://example.com", "https://example.com/?x=1"),
        ] {
            let endpoint = Endpoint::parse("endpoint", url).unwrap();
            assert_eq!(endpoint.with_query("x=1"), whole);
        }
    }

    #[test]
    fn on_origin_keeps_path_and_query() {
        let endpoint = Endpoint::parse("endpoint", "https://example.com/a/b?c=d").unwrap();
        let moved = endpoint
            .on_origin(&"http://[::1]:81".parse().unwrap())
            .unwrap();
        assert_eq!(moved.to_string(), "http://[::1]:81/a/b?c=d");
    }
}
