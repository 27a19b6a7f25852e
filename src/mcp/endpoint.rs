//! The endpoint of an MCP server: which requests may carry its token.

use http::{Request, Uri, header::AUTHORIZATION};

use crate::{
    error::{Error, ErrorKind},
    origin::Origin,
};

/// The URL of an MCP server's endpoint, which is also the resource that tokens are requested for.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    url: String,
    origin: Origin,
    /// Without a slash at its end.
    path: String,
}

impl Endpoint {
    /// Parses the URL of the endpoint.
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let origin = Origin::parse("endpoint", url)?;
        if url.contains(['#', '?']) {
            return Err(Error::configuration(
                "endpoint: the URL contains a query or a fragment; remove it",
            ));
        }
        let uri: Uri = url
            .parse()
            .map_err(|_| Error::configuration("endpoint: not a URL; correct it"))?;
        let path = uri.path().trim_end_matches('/');
        if !is_plain(path) {
            return Err(Error::configuration(
                "endpoint: the path contains `.`, `..` or encoded separators; write it without them",
            ));
        }
        Ok(Self {
            url: url.to_owned(),
            origin,
            path: path.to_owned(),
        })
    }

    /// The URL, as the program wrote it.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Checks that a request goes to this endpoint, or below its path, and has no token yet.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Error> {
        let problem = if request.uri().authority().is_none() {
            "request URI has no authority; use an absolute URI"
        } else if !self.contains(request.uri()) {
            "request does not go to the MCP endpoint that the token is meant for; send it without \
             this layer"
        } else if !self.origin.is_each_host(request.headers()) {
            "request has a Host header that names another origin than its URI; remove the header"
        } else if request.headers().contains_key(AUTHORIZATION) {
            "request already has the header authorization, which carries the token; remove it, or \
             call the service without this layer"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Request, problem))
    }

    /// Whether a URI is the endpoint, or below its path.
    pub(super) fn contains(&self, uri: &Uri) -> bool {
        let below = uri.path().strip_prefix(&*self.path);
        self.origin.matches(uri)
            && is_plain(uri.path())
            && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Whether each server finds the same segments in a path: none leads upwards, and no separator is
/// encoded.
fn is_plain(path: &str) -> bool {
    let path = path.to_ascii_lowercase().replace("%2e", ".");
    let is_up = |segment: &str| matches!(segment, "." | "..");
    !path.split('/').any(is_up) && !["%2f", "%5c", "\\"].iter().any(|odd| path.contains(odd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p20_only_requests_to_the_endpoint_or_below_its_path_may_carry_the_token() {
        let endpoint = Endpoint::parse("https://mcp.example.com/a/mcp/").unwrap();
        let check = |uri: &str| endpoint.check(&Request::get(uri).body(()).unwrap());
        for good in [
            "https://mcp.example.com/a/mcp",
            "https://MCP.example.com:443/a/mcp/",
            "https://mcp.example.com/a/mcp/messages?session=..",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "/a/mcp",
            "https://mcp.example.com/",
            "https://mcp.example.com/a",
            "https://mcp.example.com/a/mcpx",
            "https://mcp.example.com/A/mcp",
            "https://mcp.example.com/a/mcp/../admin",
            "https://mcp.example.com/a/mcp/%2E%2e/admin",
            "https://mcp.example.com/a/mcp/x/./y",
            "https://mcp.example.com/a/mcp/..%2fadmin",
            "https://mcp.example.com/a/mcp/%5cadmin",
            "https://mcp.example.com:8443/a/mcp",
            "http://mcp.example.com/a/mcp",
            "https://evil.example/a/mcp",
            "https://mcp.example.com@evil.example/a/mcp",
            "https://user@mcp.example.com/a/mcp",
        ] {
            assert_eq!(check(bad).unwrap_err().kind(), ErrorKind::Request, "{bad}");
        }
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("host", "evil.example"),
            ("host", "mcp.example.com:8443"),
        ] {
            let request = Request::get("https://mcp.example.com/a/mcp").header(name, value);
            let error = endpoint.check(&request.body(()).unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Request, "{name}");
        }
        let root = Endpoint::parse("https://mcp.example.com").unwrap();
        assert!(root.contains(&"https://mcp.example.com/x".parse().unwrap()));
    }

    #[test]
    fn endpoint_that_no_token_may_be_sent_to_is_refused() {
        for bad in [
            "",
            "/mcp",
            "mcp.example.com",
            "http://mcp.example.com/mcp",
            "https://user@mcp.example.com/mcp",
            "https://mcp.example.com/mcp?x=y",
            "https://mcp.example.com/mcp#x",
            "https://mcp.example.com/a/../mcp",
            "https://mcp.example.com/a%2fmcp",
        ] {
            let error = Endpoint::parse(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{bad}");
            assert!(
                error.to_string().starts_with("endpoint: "),
                "{bad}: {error}"
            );
        }
        for good in ["http://127.0.0.1:1/mcp", "http://localhost:1/mcp"] {
            assert_eq!(Endpoint::parse(good).unwrap().url(), good);
        }
    }
}
