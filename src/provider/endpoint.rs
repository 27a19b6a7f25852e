//! A URL that secrets are sent to.

use std::fmt;

use http::{Uri, uri::PathAndQuery};

use crate::{error::Error, origin::Origin};

/// The URL of an endpoint: absolute, over `https` (or `http` to loopback), without user information
/// or a fragment (RFC 6749 sections 3.1 and 3.2). A query in it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

impl Endpoint {
    pub(crate) fn parse(name: &str, url: &str) -> Result<Self, Error> {
        if url.contains('#') {
            return Err(Error::configuration(format!(
                "{name}: a URL must not hold a fragment"
            )));
        }
        let uri = url.parse::<Uri>().map_err(|error| {
            Error::configuration(format!("{name}: this is not a URL")).with_source(error)
        })?;
        Origin::of(name, &uri)?;
        Ok(Self(uri))
    }

    /// For constants.
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
                Error::configuration("origin: it does not fit the endpoint's path")
                    .with_source(error)
            })
    }

    /// The URL with more in its query; what was there stays (RFC 6749 section 3.1).
    pub(crate) fn with_query(&self, query: &str) -> String {
        let url = self.0.to_string();
        let joint = match self.0.query() {
            None => "?",
            Some("") => "",
            Some(_) => "&",
        };
        format!("{url}{joint}{query}")
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
    fn wrong_urls_are_told_by_name() {
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
    fn query_of_the_endpoint_is_kept() {
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
    fn another_origin_keeps_path_and_query() {
        let endpoint = Endpoint::parse("endpoint", "https://example.com/a/b?c=d").unwrap();
        let moved = endpoint
            .on_origin(&"http://[::1]:81".parse().unwrap())
            .unwrap();
        assert_eq!(moved.to_string(), "http://[::1]:81/a/b?c=d");
    }
}
