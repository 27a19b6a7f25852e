//! The metadata of a protected resource (RFC 9728).

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header::WWW_AUTHENTICATE};
use http_body::Body;
use tower_service::Service;

use super::{
    document::{Document, check_url, shown},
    fetch::{Http, LOAD_TIMEOUT},
    url::Subject,
};
use crate::{
    clock::SystemClock,
    error::{BoxError, Error},
};

/// The metadata of a protected resource, such as an API or an MCP server, checked (RFC 9728).
///
/// They name the issuers of the tokens that the resource accepts. Clones are cheap. Members that
/// this type does not have are ignored.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
/// use tower_oauth2_client::discovery::ProtectedResource;
///
/// // A 401 says where the metadata are.
/// let challenge = r#"Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/v1""#;
/// let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))]);
/// assert!(ProtectedResource::metadata_url(&headers).is_some());
///
/// let json = br#"{
///     "resource": "https://mcp.example.com/v1",
///     "authorization_servers": ["https://id.example.com"]
/// }"#;
/// let resource = ProtectedResource::parse("https://mcp.example.com/v1/tools", json)?;
/// assert_eq!(resource.resource(), "https://mcp.example.com/v1");
/// assert_eq!(resource.authorization_servers(), ["https://id.example.com"]);
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ProtectedResource(Arc<Members>);

#[derive(PartialEq, Eq)]
struct Members {
    resource: String,
    authorization_servers: Vec<String>,
    lists: BTreeMap<&'static str, Vec<String>>,
    flags: BTreeMap<&'static str, bool>,
}

const RESOURCE: &str = "resource";
const SERVERS: &str = "authorization_servers";

const SCOPES: &str = "scopes_supported";
const BEARER_METHODS: &str = "bearer_methods_supported";
const DPOP_ALGORITHMS: &str = "dpop_signing_alg_values_supported";
const LISTS: [&str; 3] = [SCOPES, BEARER_METHODS, DPOP_ALGORITHMS];

const DPOP_REQUIRED: &str = "dpop_bound_access_tokens_required";
const BOUND_BY_CERTIFICATE: &str = "tls_client_certificate_bound_access_tokens";
const FLAGS: [&str; 2] = [DPOP_REQUIRED, BOUND_BY_CERTIFICATE];

/// The name of the document in errors.
const NAME: &str = "protected resource metadata";

/// More issuers than any resource has.
const MAX_SERVERS: usize = 64;

impl ProtectedResource {
    /// Loads the metadata of the resource that has this URL, from the well-known URL of RFC 9728
    /// section 3.1: with the path of `url`, and after a 4xx status that of its origin.
    ///
    /// `http` is an HTTP client that follows no redirects. It carries no credentials. Takes up to
    /// 10 seconds.
    ///
    /// # Errors
    ///
    /// * [`Configuration`](crate::ErrorKind::Configuration) if `url` is not an `https` URL (or
    ///   `http` to loopback), or the server responds with a 4xx status at both URLs.
    /// * [`InvalidResponse`](crate::ErrorKind::InvalidResponse) if the metadata are not of this
    ///   resource, or otherwise invalid, as for
    ///   [`Discovery::metadata`](super::Discovery::metadata).
    /// * [`Unavailable`](crate::ErrorKind::Unavailable) if the server cannot be reached, does not
    ///   respond in time, or responds with 408, 429 or a 5xx status.
    pub async fn discover<S, B, R>(url: &str, http: S) -> Result<Self, Error>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        let requested = Subject::resource(url)?;
        let locations = requested.resource_locations();
        let http = Http::new(http, None, Arc::new(SystemClock), LOAD_TIMEOUT)?;
        Self::load(&requested, &locations, &http).await
    }

    /// Loads the metadata from the URL that a 401 of the resource names
    /// ([`metadata_url`](Self::metadata_url)). `url` is that of the request.
    ///
    /// # Errors
    ///
    /// As [`discover`](Self::discover). [`InvalidResponse`](crate::ErrorKind::InvalidResponse) if
    /// `metadata_url` is not an `https` URL, or `http` to loopback for a resource on loopback.
    pub async fn fetch<S, B, R>(metadata_url: &str, url: &str, http: S) -> Result<Self, Error>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        let requested = Subject::resource(url)?;
        check_url("resource_metadata", metadata_url, requested.allows_http())?;
        let http = Http::new(http, None, Arc::new(SystemClock), LOAD_TIMEOUT)?;
        Self::load(&requested, &[metadata_url.to_owned()], &http).await
    }

    async fn load(requested: &Subject, locations: &[String], http: &Http) -> Result<Self, Error> {
        let parse = |json: &[u8]| Self::parse_of(requested, json);
        let loaded = http.load(NAME, locations, parse).await;
        loaded.map(|(resource, _)| resource)
    }

    /// Parses metadata that the program has loaded by other means. `url` is that of a request to
    /// the resource.
    ///
    /// The `resource` of the metadata has to contain `url`: the same origin, and the same path or
    /// one above it. RFC 9728 section 3.3 asks for the same URL, but a client of an API with
    /// several paths only knows the URL of its request.
    ///
    /// # Errors
    ///
    /// As [`discover`](Self::discover).
    pub fn parse(url: &str, json: &[u8]) -> Result<Self, Error> {
        Self::parse_of(&Subject::resource(url)?, json)
    }

    fn parse_of(requested: &Subject, json: &[u8]) -> Result<Self, Error> {
        let document = Document::parse(NAME, json)?;
        let allows_http = requested.allows_http();
        // The resource comes first: of another one, nothing is used (RFC 9728 section 3.3).
        let Some(resource) = document.url(RESOURCE, allows_http)? else {
            return Err(document.invalid(RESOURCE, "missing"));
        };
        if !requested.is_within(&Subject::resource(&resource)?) {
            let source = format!("the metadata are of the resource {}", shown(&resource));
            let problem = "another resource than the one of the request; do not trust this server, \
                           or correct the URL";
            return Err(document.invalid(RESOURCE, problem).with_source(source));
        }
        let authorization_servers = document.list(SERVERS)?.unwrap_or_default();
        if authorization_servers.len() > MAX_SERVERS {
            return Err(document.invalid(SERVERS, "more than 64"));
        }
        for issuer in &authorization_servers {
            document.check_url(SERVERS, issuer, allows_http)?;
        }
        let mut lists = BTreeMap::new();
        for name in LISTS {
            if let Some(list) = document.list(name)? {
                lists.insert(name, list);
            }
        }
        let mut flags = BTreeMap::new();
        for name in FLAGS {
            flags.insert(name, document.flag(name)?);
        }
        Ok(Self(Arc::new(Members {
            resource,
            authorization_servers,
            lists,
            flags,
        })))
    }

    /// Returns the URL of the metadata that the `WWW-Authenticate` of a 401 names (RFC 9728 section
    /// 5.1), in a challenge of any scheme. `None` if there is none, or there are several different
    /// ones.
    ///
    /// The URL is not checked: [`fetch`](Self::fetch) does it.
    #[must_use]
    pub fn metadata_url(headers: &HeaderMap) -> Option<String> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        let values = values.filter_map(|value| value.to_str().ok());
        let challenges = values.filter_map(|value| http_auth::parse_challenges(value).ok());
        let mut urls: Vec<String> = challenges
            .flatten()
            .flat_map(|challenge| challenge.params)
            .filter(|(name, _)| name.eq_ignore_ascii_case("resource_metadata"))
            .map(|(_, url)| url.to_unescaped())
            .collect();
        urls.dedup();
        let url = urls.pop()?;
        urls.is_empty().then_some(url)
    }

    /// The identifier of the resource, for the parameter `resource` (RFC 8707).
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.0.resource
    }

    /// The issuers whose tokens the resource accepts. Empty if the metadata name none.
    #[must_use]
    pub fn authorization_servers(&self) -> &[String] {
        &self.0.authorization_servers
    }

    /// Scopes of requests to the resource.
    #[must_use]
    pub fn scopes_supported(&self) -> Option<&[String]> {
        self.list(SCOPES)
    }

    /// How a token may be sent: `header`, `body` or `query`. This crate uses a header. An empty
    /// list means that the resource accepts no bearer tokens.
    #[must_use]
    pub fn bearer_methods_supported(&self) -> Option<&[String]> {
        self.list(BEARER_METHODS)
    }

    /// The algorithms of DPoP proofs that the resource accepts.
    #[must_use]
    pub fn dpop_signing_alg_values_supported(&self) -> Option<&[String]> {
        self.list(DPOP_ALGORITHMS)
    }

    /// Whether each token has to be bound to a key by DPoP (RFC 9449).
    #[must_use]
    pub fn dpop_bound_access_tokens_required(&self) -> bool {
        self.flag(DPOP_REQUIRED)
    }

    /// Whether tokens may be bound to the certificate of the client (RFC 8705 section 3).
    #[must_use]
    pub fn tls_client_certificate_bound_access_tokens(&self) -> bool {
        self.flag(BOUND_BY_CERTIFICATE)
    }

    fn list(&self, name: &str) -> Option<&[String]> {
        self.0.lists.get(name).map(Vec::as_slice)
    }

    fn flag(&self, name: &str) -> bool {
        self.0.flags.get(name).copied().unwrap_or_default()
    }
}

impl fmt::Debug for ProtectedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectedResource")
            .field("resource", &self.0.resource)
            .field("authorization_servers", &self.0.authorization_servers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use http::HeaderValue;
    use serde_json::{Value, json};

    use super::*;
    use crate::error::ErrorKind;

    const URL: &str = "https://r.example/mcp/tools?x=y";

    fn parse(document: &Value) -> Result<ProtectedResource, Error> {
        ProtectedResource::parse(URL, document.to_string().as_bytes())
    }

    #[test]
    fn each_member_has_its_accessor() {
        let resource = parse(&json!({
            "resource": "https://r.example/mcp",
            "authorization_servers": ["https://id.example", "https://id2.example/a"],
            "scopes_supported": ["a"],
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": ["ES256"],
            "dpop_bound_access_tokens_required": true,
            "tls_client_certificate_bound_access_tokens": true,
            "unknown": 1,
        }));
        let resource = resource.unwrap();
        assert_eq!(resource.resource(), "https://r.example/mcp");
        assert_eq!(resource.authorization_servers().len(), 2);
        assert_eq!(resource.scopes_supported().unwrap(), ["a"]);
        assert_eq!(resource.bearer_methods_supported().unwrap(), ["header"]);
        let algorithms = resource.dpop_signing_alg_values_supported().unwrap();
        assert_eq!(algorithms, ["ES256"]);
        assert!(resource.dpop_bound_access_tokens_required());
        assert!(resource.tls_client_certificate_bound_access_tokens());

        let minimal = parse(&json!({"resource": "https://r.example"})).unwrap();
        assert!(minimal.authorization_servers().is_empty());
        assert_eq!(minimal.scopes_supported(), None);
        assert!(!minimal.dpop_bound_access_tokens_required());
    }

    #[test]
    fn metadata_of_another_resource_and_wrong_members_are_refused() {
        let resource = "https://r.example/mcp";
        let issuer = "https://id.example";
        let many = vec![issuer; MAX_SERVERS + 1];
        for (document, problem) in [
            (json!({}), "resource: missing"),
            (json!({"resource": 1}), "resource: not a text"),
            (json!({"resource": "/mcp"}), "resource: not an https"),
            (
                json!({"resource": "http://r.example/mcp"}),
                "resource: an http URL",
            ),
            (
                json!({"resource": "https://evil.example/mcp"}),
                "resource: another resource",
            ),
            (
                json!({"resource": "https://r.example/mcp2"}),
                "resource: another resource",
            ),
            (
                json!({"resource": "https://r.example/mcp/tools/evil"}),
                "resource: another resource",
            ),
            (
                json!({"resource": resource, "authorization_servers": issuer}),
                "authorization_servers: not a list",
            ),
            (
                json!({"resource": resource, "authorization_servers": [issuer, 1]}),
                "authorization_servers: not a list",
            ),
            (
                json!({"resource": resource, "authorization_servers": ["http://evil.example"]}),
                "authorization_servers: an http URL",
            ),
            (
                json!({"resource": resource, "authorization_servers": ["evil"]}),
                "authorization_servers: not an https URL",
            ),
            (
                json!({"resource": resource, "authorization_servers": many}),
                "authorization_servers: more than 64",
            ),
            (
                json!({"resource": resource, "scopes_supported": "a b"}),
                "scopes_supported: not a list",
            ),
            (
                json!({"resource": resource, "dpop_bound_access_tokens_required": "true"}),
                "dpop_bound_access_tokens_required: neither",
            ),
        ] {
            let error = parse(&document).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{error}");
            let expected = format!("{NAME}: {problem}");
            assert!(error.to_string().starts_with(&expected), "{error}");
            assert!(!error.to_string().contains("evil"), "{error}");
        }
        let other = parse(&json!({"resource": "https://other.example"})).unwrap_err();
        assert!(other.source().unwrap().to_string().contains("other"));
        let twice = br#"{"resource": "https://r.example", "resource": "https://r.example"}"#;
        let twice = ProtectedResource::parse(URL, twice).unwrap_err();
        assert!(twice.to_string().contains("repeats a member"), "{twice}");
    }

    #[test]
    fn challenge_names_the_url_of_the_metadata() {
        let url = |values: &[&'static str]| {
            let values = values.iter().map(|value| HeaderValue::from_static(value));
            let headers = values.map(|value| (WWW_AUTHENTICATE, value)).collect();
            ProtectedResource::metadata_url(&headers)
        };
        let expected = Some("https://r.example/m".to_owned());
        for values in [
            &["Bearer resource_metadata=\"https://r.example/m\""][..],
            &["DPoP algs=\"ES256\", Resource_Metadata=\"https://r.example/m\""],
            &[
                "Basic realm=\"x\", bearer error=\"invalid_token\", resource_metadata=\"https://r.example/m\"",
            ],
            &[
                "Basic realm=\"x\"",
                "Bearer resource_metadata=\"https://r.example\\/m\"",
            ],
            &[
                "Bearer resource_metadata=\"https://r.example/m\"",
                "DPoP resource_metadata=\"https://r.example/m\"",
            ],
        ] {
            assert_eq!(url(values), expected, "{values:?}");
        }
        for values in [
            &[][..],
            &["Bearer"],
            &["Bearer realm=\"resource_metadata=https://r.example/m\""],
            &["Bearer resource_metadata=\"https://r.example/m"],
            &[
                "Bearer resource_metadata=\"https://r.example/m\", resource_metadata=\"https://evil.example\"",
            ],
        ] {
            assert_eq!(url(values), None, "{values:?}");
        }
    }
}
