//! URLs of a provider's endpoints.

use std::fmt;

use http::Uri;

use super::template::Template;
use crate::{error::Error, origin::Origin};

/// The URL of an endpoint (RFC 6749 sections 3.1 and 3.2).
///
/// It is absolute, uses `https` (or `http` to loopback), and contains no user information or
/// fragment. It may contain a query, and [variables](crate::provider#addresses-per-tenant) in
/// braces.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Template);

impl Endpoint {
    /// Parses a URL. `setting` is its name.
    pub(crate) fn parse(setting: &str, url: &str) -> Result<Self, Error> {
        if url.contains('#') {
            return Err(Error::configuration(format!(
                "{setting}: the URL contains a fragment; remove it"
            )));
        }
        Template::parse(setting, url).map(Self)
    }

    /// Moves path and query to another origin.
    pub(super) fn on_origin(&self, origin: &Origin) -> String {
        let url = self.to_string();
        let (_, behind_scheme) = url.split_once("://").unwrap_or_default();
        match behind_scheme.find(['/', '?']) {
            Some(path) => format!("{origin}{}", &behind_scheme[path..]),
            None => format!("{origin}/"),
        }
    }

    pub(super) fn template(&self) -> &Template {
        &self.0
    }
}

/// A URL with `query` appended to its own query (RFC 6749 section 3.1).
pub(crate) fn with_query(url: &Uri, query: &str) -> String {
    let separator = match url.query() {
        None => "?",
        Some("") => "",
        Some(_) => "&",
    };
    format!("{url}{separator}{query}")
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
    fn p25_url_without_variables_is_shown_as_it_is_sent() {
        for (url, shown) in [
            ("https://id.example.com", "https://id.example.com/"),
            ("HTTPS://id.example.com/t", "https://id.example.com/t"),
            ("https://id.example.com?a=b", "https://id.example.com/?a=b"),
            ("https://ID.example.com/t?", "https://ID.example.com/t?"),
            ("https://{a}.example.com", "https://{a}.example.com"),
        ] {
            let endpoint = Endpoint::parse("endpoint", url).unwrap();
            assert_eq!(endpoint.to_string(), shown);
        }
    }

    #[test]
    fn with_query_keeps_the_query_of_the_endpoint() {
        for (url, whole) in [
            ("https://example.com/a", "https://example.com/a?x=1"),
            ("https://example.com/a?b=c", "https://example.com/a?b=c&x=1"),
            ("https://example.com", "https://example.com/?x=1"),
        ] {
            assert_eq!(with_query(&url.parse().unwrap(), "x=1"), whole);
        }
    }

    #[test]
    fn on_origin_keeps_path_and_query() {
        let origin = "http://[::1]:81".parse().unwrap();
        for (url, moved) in [
            ("https://example.com/a/b?c=d", "http://[::1]:81/a/b?c=d"),
            ("https://example.com", "http://[::1]:81/"),
            (
                "https://{shop}.example.com/{v}/token",
                "http://[::1]:81/{v}/token",
            ),
        ] {
            let endpoint = Endpoint::parse("endpoint", url).unwrap();
            assert_eq!(endpoint.on_origin(&origin), moved);
        }
    }
}
