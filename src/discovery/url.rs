//! URLs in metadata, and the well-known URLs of metadata.

use http::{Uri, uri::Scheme};

use crate::{error::Error, origin::Origin};

/// The longest URL in metadata.
const MAX_LENGTH: usize = 2 * 1024;

/// Checks a URL of a metadata document, or returns what is wrong.
pub(super) fn check(url: &str, allows_http: bool) -> Result<(), &'static str> {
    if url.len() > MAX_LENGTH {
        return Err("a URL of more than 2 KiB");
    }
    // Braces would be variables of an endpoint, into which values of a grant are written.
    if !url.bytes().all(is_url_byte) {
        return Err("not a URL (RFC 3986)");
    }
    if url.contains('#') {
        return Err("a URL with a fragment");
    }
    let uri: Uri = url.parse().map_err(|_| "not a URL (RFC 3986)")?;
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => {}
        Some(scheme) if *scheme == Scheme::HTTP && allows_http => {}
        Some(scheme) if *scheme == Scheme::HTTP => return Err("an http URL; it must use https"),
        _ => return Err("not an https URL"),
    }
    // The remaining problems: user information, http to another machine, the port.
    Origin::from_uri("url", &uri)
        .map(drop)
        .map_err(|_| "a URL with user information or a wrong port, or http to another machine")
}

fn is_url_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)
}

/// An issuer or a protected resource whose metadata is loaded: a URL of the program's settings.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// As it was written.
    pub(super) url: String,
    pub(super) origin: Origin,
    /// From the host to the end, such as `/tenant/?a=b`. Empty, or begins with a slash.
    rest: String,
}

impl Subject {
    /// Parses the URL of an issuer (RFC 8414 section 2). `setting` is its name in errors.
    pub(super) fn issuer(url: &str) -> Result<Self, Error> {
        let subject = Self::parse("issuer", url)?;
        if url.contains('?') {
            return Err(Error::configuration(
                "issuer: the URL contains a query; remove it",
            ));
        }
        Ok(subject)
    }

    /// Parses the URL of a protected resource (RFC 9728 section 1.2).
    pub(super) fn resource(url: &str) -> Result<Self, Error> {
        Self::parse("resource", url)
    }

    fn parse(setting: &str, url: &str) -> Result<Self, Error> {
        let origin = Origin::parse(setting, url)?;
        check(url, !origin.is_secure())
            .map_err(|problem| Error::configuration(format!("{setting}: {problem}; correct it")))?;
        let (_, rest) = url.split_once("://").unwrap_or_default();
        let rest = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
        Ok(Self {
            url: url.to_owned(),
            origin,
            rest: rest.to_owned(),
        })
    }

    /// Whether `http` is accepted in its metadata: only if it uses `http` to loopback itself.
    pub(super) fn allows_http(&self) -> bool {
        !self.origin.is_secure()
    }

    /// The well-known URLs of an issuer in the order in which they are tried: RFC 8414 section 3.1,
    /// and OpenID Connect Discovery 1.0 section 4.1 in the form of RFC 8414 section 5 and in its
    /// own.
    pub(super) fn issuer_locations(&self) -> Vec<String> {
        let origin = &self.origin;
        let path = self.rest.trim_end_matches('/');
        let mut locations = vec![
            format!("{origin}/.well-known/oauth-authorization-server{path}"),
            format!("{origin}/.well-known/openid-configuration{path}"),
        ];
        if !path.is_empty() {
            locations.push(format!("{origin}{path}/.well-known/openid-configuration"));
        }
        locations
    }

    /// The well-known URLs of a protected resource (RFC 9728 section 3.1): its own, and then that
    /// of its origin.
    pub(super) fn resource_locations(&self) -> Vec<String> {
        let root = format!("{}/.well-known/oauth-protected-resource", self.origin);
        // Only a slash that follows the host directly is removed.
        let rest = match self.rest.strip_prefix('/') {
            Some(query) if query.is_empty() || query.starts_with('?') => query,
            _ => &self.rest,
        };
        if rest.is_empty() {
            return vec![root];
        }
        vec![format!("{root}{rest}"), root]
    }

    /// Whether a resource with this identifier contains this one: the same origin, and the same
    /// path or one above it. An identifier with a query has to be the same.
    pub(super) fn is_within(&self, resource: &Self) -> bool {
        if self.origin != resource.origin {
            return false;
        }
        if resource.rest.contains('?') {
            return self.rest == resource.rest;
        }
        let path = self.rest.split('?').next().unwrap_or_default();
        let above = resource.rest.trim_end_matches('/');
        path.strip_prefix(above)
            .is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_use_https_and_have_no_odd_parts() {
        for good in [
            "https://id.example.com",
            "https://id.example.com:8443/token?a=b&c=%7B",
            "HTTPS://ID.example.com/t",
            "https://[::1]/token",
        ] {
            assert_eq!(check(good, false), Ok(()), "{good}");
        }
        for (bad, problem) in [
            ("", "not a URL"),
            ("/token", "not an https URL"),
            ("id.example.com/token", "not a URL"),
            ("id.example.com", "not an https URL"),
            ("http://id.example.com/token", "an http URL"),
            ("http://127.0.0.1/token", "an http URL"),
            ("ftp://id.example.com/token", "not an https URL"),
            ("javascript:alert(1)", "not an https URL"),
            ("https://user:pass@id.example.com/", "user information"),
            ("https://id.example.com:0/", "wrong port"),
            ("https://id.example.com:99999/", "wrong port"),
            ("https://id.example.com/#x", "fragment"),
            ("https://id.example.com/a b", "not a URL"),
            ("https://id.example.com/\u{fc}", "not a URL"),
            ("https://\u{456}d.example.com/", "not a URL"),
            ("https://id.example.com/\r\nx: y", "not a URL"),
            ("https://{shop}.example.com/", "not a URL"),
            ("https://id.example.com/{token}", "not a URL"),
            ("https://", "not a URL"),
        ] {
            let found = check(bad, false).unwrap_err();
            assert!(found.contains(problem), "{bad}: {found}");
        }
        assert_eq!(check("http://127.0.0.1:1/token", true), Ok(()));
        assert!(check("http://10.0.0.1/token", true).is_err());
        let long = format!("https://id.example.com/{}", "x".repeat(MAX_LENGTH));
        assert_eq!(check(&long, false), Err("a URL of more than 2 KiB"));
    }

    #[test]
    fn well_known_urls_of_an_issuer_are_tried_in_order() {
        let locations = |issuer: &str| Subject::issuer(issuer).unwrap().issuer_locations();
        for root in ["https://id.example.com", "https://ID.example.com:443/"] {
            assert_eq!(
                locations(root),
                [
                    "https://id.example.com/.well-known/oauth-authorization-server",
                    "https://id.example.com/.well-known/openid-configuration",
                ]
            );
        }
        for with_path in [
            "https://id.example.com/a/b",
            "https://id.example.com/a/b/",
            "https://id.example.com/a/b//",
        ] {
            assert_eq!(
                locations(with_path),
                [
                    "https://id.example.com/.well-known/oauth-authorization-server/a/b",
                    "https://id.example.com/.well-known/openid-configuration/a/b",
                    "https://id.example.com/a/b/.well-known/openid-configuration",
                ]
            );
        }
    }

    #[test]
    fn issuer_that_is_no_url_is_refused() {
        for bad in [
            "",
            "id.example.com",
            "http://id.example.com",
            "https://id.example.com?a=b",
            "https://id.example.com/?",
            "https://id.example.com/#a",
            "https://user@id.example.com",
            "https://id.example.com/{a}",
            "https://id.example.com/\u{fc}",
        ] {
            let error = Subject::issuer(bad).unwrap_err();
            assert!(error.is_misuse(), "{bad}");
            assert!(error.to_string().starts_with("issuer: "), "{bad}: {error}");
        }
    }

    #[test]
    fn well_known_urls_of_a_resource_end_at_its_origin() {
        let locations = |url: &str| Subject::resource(url).unwrap().resource_locations();
        let root = "https://r.example/.well-known/oauth-protected-resource".to_owned();
        for at_root in ["https://r.example", "https://r.example/"] {
            assert_eq!(locations(at_root).join(" "), root);
        }
        for rest in ["/mcp", "/a/b/", "/a?b=c"] {
            assert_eq!(
                locations(&format!("https://r.example{rest}")),
                [format!("{root}{rest}"), root.clone()]
            );
        }
        for query in ["https://r.example?k=v", "https://r.example/?k=v"] {
            assert_eq!(locations(query), [format!("{root}?k=v"), root.clone()]);
        }
    }

    #[test]
    fn resource_contains_the_paths_below_it() {
        let is_within = |url: &str, resource: &str| {
            let resource = Subject::resource(resource).unwrap();
            Subject::resource(url).unwrap().is_within(&resource)
        };
        let url = "https://r.example/a/b?k=v";
        for resource in [
            "https://r.example",
            "https://R.example:443/",
            "https://r.example/a",
            "https://r.example/a/",
            "https://r.example/a/b",
            "https://r.example/a/b?k=v",
        ] {
            assert!(is_within(url, resource), "{resource}");
        }
        for resource in [
            "https://r.example.evil.example/a",
            "https://evil.example/a",
            "https://r.example:8443/a",
            "https://r.example/a/b/c",
            "https://r.example/a/bb",
            "https://r.example/A",
            "https://r.example/b",
            "https://r.example/a/b?k=w",
            "https://r.example/a?k=v",
        ] {
            assert!(!is_within(url, resource), "{resource}");
        }
        assert!(!is_within("https://r.example/ab", "https://r.example/a"));
    }
}
