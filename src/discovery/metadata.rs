//! The metadata of an authorization server (RFC 8414 section 2).

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{
    document::{Document, shown},
    url::Subject,
};
use crate::error::Error;

/// The metadata of an authorization server, checked (RFC 8414, OpenID Connect Discovery 1.0).
///
/// Clones are cheap. Each list is `None` if the metadata do not have it: what the server does is
/// then the default of RFC 8414, or unknown. Members that this type does not have are ignored.
#[derive(Clone, PartialEq, Eq)]
pub struct Metadata(Arc<Members>);

#[derive(PartialEq, Eq)]
struct Members {
    issuer: String,
    endpoints: BTreeMap<&'static str, String>,
    lists: BTreeMap<&'static str, Vec<String>>,
    flags: BTreeMap<&'static str, bool>,
    mtls_aliases: BTreeMap<&'static str, String>,
}

const TOKEN: &str = "token_endpoint";
const AUTHORIZATION: &str = "authorization_endpoint";
const REVOCATION: &str = "revocation_endpoint";
const PUSHED_REQUEST: &str = "pushed_authorization_request_endpoint";
const DEVICE: &str = "device_authorization_endpoint";
const REGISTRATION: &str = "registration_endpoint";
const INTROSPECTION: &str = "introspection_endpoint";
const ENDPOINTS: [&str; 7] = [
    TOKEN,
    AUTHORIZATION,
    REVOCATION,
    PUSHED_REQUEST,
    DEVICE,
    REGISTRATION,
    INTROSPECTION,
];

const AUTH_METHODS: &str = "token_endpoint_auth_methods_supported";
const AUTH_ALGORITHMS: &str = "token_endpoint_auth_signing_alg_values_supported";
const CHALLENGE_METHODS: &str = "code_challenge_methods_supported";
const GRANT_TYPES: &str = "grant_types_supported";
const RESPONSE_MODES: &str = "response_modes_supported";
const SCOPES: &str = "scopes_supported";
const DPOP_ALGORITHMS: &str = "dpop_signing_alg_values_supported";
const LISTS: [&str; 7] = [
    AUTH_METHODS,
    AUTH_ALGORITHMS,
    CHALLENGE_METHODS,
    GRANT_TYPES,
    RESPONSE_MODES,
    SCOPES,
    DPOP_ALGORITHMS,
];

const REQUIRE_PUSHED: &str = "require_pushed_authorization_requests";
const ISS: &str = "authorization_response_iss_parameter_supported";
const CLIENT_ID_DOCUMENT: &str = "client_id_metadata_document_supported";
const BOUND_BY_CERTIFICATE: &str = "tls_client_certificate_bound_access_tokens";
const FLAGS: [&str; 4] = [
    REQUIRE_PUSHED,
    ISS,
    CLIENT_ID_DOCUMENT,
    BOUND_BY_CERTIFICATE,
];

/// The object of the endpoints for clients with a certificate (RFC 8705 section 5).
const MTLS_ALIASES: &str = "mtls_endpoint_aliases";

/// The name of the document in errors.
pub(super) const NAME: &str = "authorization server metadata";

impl Metadata {
    /// Parses metadata that the program has loaded by other means. `issuer` is the one that they
    /// have to be of.
    ///
    /// # Errors
    ///
    /// * [`Configuration`](crate::ErrorKind::Configuration) if `issuer` is not the `https` URL of
    ///   an issuer.
    /// * [`InvalidResponse`](crate::ErrorKind::InvalidResponse) as for
    ///   [`Discovery::metadata`](super::Discovery::metadata).
    pub fn parse(issuer: &str, json: &[u8]) -> Result<Self, Error> {
        Self::parse_of(&Subject::issuer(issuer)?, json)
    }

    pub(super) fn parse_of(issuer: &Subject, json: &[u8]) -> Result<Self, Error> {
        let document = Document::parse(NAME, json)?;
        // The issuer comes first: of another one, nothing is used (RFC 8414 section 3.3).
        match document.text("issuer")? {
            Some(found) if found == issuer.url => {}
            Some(found) => {
                let source = format!("the metadata are of the issuer {}", shown(found));
                let problem = "another issuer than the one that was asked for, which has to be \
                               written exactly as in the metadata; correct the issuer, or do not \
                               trust this server";
                return Err(document.invalid("issuer", problem).with_source(source));
            }
            None => return Err(document.invalid("issuer", "missing")),
        }
        let allows_http = issuer.allows_http();
        let mut endpoints = BTreeMap::new();
        for name in ENDPOINTS {
            if let Some(url) = document.url(name, allows_http)? {
                endpoints.insert(name, url);
            }
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
        let mut mtls_aliases = BTreeMap::new();
        if let Some(aliases) = document.object(MTLS_ALIASES)? {
            for name in ENDPOINTS {
                if let Some(url) = aliases.url(name, allows_http)? {
                    mtls_aliases.insert(name, url);
                }
            }
        }
        Ok(Self(Arc::new(Members {
            issuer: issuer.url.clone(),
            endpoints,
            lists,
            flags,
            mtls_aliases,
        })))
    }

    /// The issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The token endpoint. `None` for a server that only has the implicit grant.
    #[must_use]
    pub fn token_endpoint(&self) -> Option<&str> {
        self.endpoint(TOKEN)
    }

    /// The authorization endpoint.
    #[must_use]
    pub fn authorization_endpoint(&self) -> Option<&str> {
        self.endpoint(AUTHORIZATION)
    }

    /// The revocation endpoint (RFC 7009).
    #[must_use]
    pub fn revocation_endpoint(&self) -> Option<&str> {
        self.endpoint(REVOCATION)
    }

    /// The endpoint of pushed authorization requests (RFC 9126).
    #[must_use]
    pub fn pushed_authorization_request_endpoint(&self) -> Option<&str> {
        self.endpoint(PUSHED_REQUEST)
    }

    /// Whether each authorization request has to be pushed (RFC 9126 section 5).
    #[must_use]
    pub fn require_pushed_authorization_requests(&self) -> bool {
        self.flag(REQUIRE_PUSHED)
    }

    /// The device authorization endpoint (RFC 8628).
    #[must_use]
    pub fn device_authorization_endpoint(&self) -> Option<&str> {
        self.endpoint(DEVICE)
    }

    /// The endpoint of dynamic client registration (RFC 7591).
    #[must_use]
    pub fn registration_endpoint(&self) -> Option<&str> {
        self.endpoint(REGISTRATION)
    }

    /// The introspection endpoint (RFC 7662).
    #[must_use]
    pub fn introspection_endpoint(&self) -> Option<&str> {
        self.endpoint(INTROSPECTION)
    }

    /// The URL of an endpoint for clients that present a certificate (RFC 8705 section 5), by the
    /// name of the member, such as `token_endpoint`. `None` if the server has the same one for all
    /// clients.
    #[must_use]
    pub fn mtls_endpoint_alias(&self, endpoint: &str) -> Option<&str> {
        self.0.mtls_aliases.get(endpoint).map(String::as_str)
    }

    /// Whether access tokens are bound to the certificate of the client (RFC 8705 section 3.3).
    #[must_use]
    pub fn tls_client_certificate_bound_access_tokens(&self) -> bool {
        self.flag(BOUND_BY_CERTIFICATE)
    }

    /// How clients may authenticate to the token endpoint. `None` for `client_secret_basic` only.
    #[must_use]
    pub fn token_endpoint_auth_methods_supported(&self) -> Option<&[String]> {
        self.list(AUTH_METHODS)
    }

    /// The algorithms of assertions by which clients authenticate.
    #[must_use]
    pub fn token_endpoint_auth_signing_alg_values_supported(&self) -> Option<&[String]> {
        self.list(AUTH_ALGORITHMS)
    }

    /// The PKCE methods (RFC 7636). `None` says nothing about a server whose metadata are older
    /// than RFC 8414.
    #[must_use]
    pub fn code_challenge_methods_supported(&self) -> Option<&[String]> {
        self.list(CHALLENGE_METHODS)
    }

    /// The grant types. `None` for `authorization_code` and `implicit`.
    #[must_use]
    pub fn grant_types_supported(&self) -> Option<&[String]> {
        self.list(GRANT_TYPES)
    }

    /// How callbacks may be sent. `None` for `query` and `fragment`.
    #[must_use]
    pub fn response_modes_supported(&self) -> Option<&[String]> {
        self.list(RESPONSE_MODES)
    }

    /// Scopes that the server knows. It may know others.
    #[must_use]
    pub fn scopes_supported(&self) -> Option<&[String]> {
        self.list(SCOPES)
    }

    /// The algorithms of DPoP proofs (RFC 9449 section 5.1). `None` if the server has none.
    #[must_use]
    pub fn dpop_signing_alg_values_supported(&self) -> Option<&[String]> {
        self.list(DPOP_ALGORITHMS)
    }

    /// Whether each callback names the issuer by `iss` (RFC 9207 section 3).
    #[must_use]
    pub fn authorization_response_iss_parameter_supported(&self) -> bool {
        self.flag(ISS)
    }

    /// Whether the id of a client may be the URL of a document that describes the client.
    #[must_use]
    pub fn client_id_metadata_document_supported(&self) -> bool {
        self.flag(CLIENT_ID_DOCUMENT)
    }

    fn endpoint(&self, name: &str) -> Option<&str> {
        self.0.endpoints.get(name).map(String::as_str)
    }

    fn list(&self, name: &str) -> Option<&[String]> {
        self.0.lists.get(name).map(Vec::as_slice)
    }

    fn flag(&self, name: &str) -> bool {
        self.0.flags.get(name).copied().unwrap_or_default()
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("issuer", &self.0.issuer)
            .field("endpoints", &self.0.endpoints)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use serde_json::{Value, json};

    use super::*;
    use crate::error::ErrorKind;

    const ISSUER: &str = "https://id.example.com/a";

    fn parse(json: &str) -> Result<Metadata, Error> {
        Metadata::parse(ISSUER, json.as_bytes())
    }

    fn with(member: &str, value: Value) -> Result<Metadata, Error> {
        let mut document = json!({"issuer": ISSUER, "token_endpoint": "https://id.example.com/t"});
        document[member] = value;
        parse(&document.to_string())
    }

    #[test]
    fn each_member_has_its_accessor() {
        let document = json!({
            "issuer": ISSUER,
            "token_endpoint": "https://id.example.com/t",
            "authorization_endpoint": "https://login.example.com/a?x=y",
            "revocation_endpoint": "https://id.example.com/r",
            "pushed_authorization_request_endpoint": "https://id.example.com/par",
            "require_pushed_authorization_requests": true,
            "device_authorization_endpoint": "https://id.example.com/d",
            "registration_endpoint": "https://id.example.com/c",
            "introspection_endpoint": "https://id.example.com/i",
            "mtls_endpoint_aliases": {"token_endpoint": "https://mtls.example.com/t", "x": 1},
            "tls_client_certificate_bound_access_tokens": true,
            "token_endpoint_auth_methods_supported": ["none"],
            "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
            "code_challenge_methods_supported": ["S256"],
            "grant_types_supported": ["refresh_token"],
            "response_modes_supported": [],
            "scopes_supported": ["a", "b"],
            "dpop_signing_alg_values_supported": ["EdDSA"],
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": true,
            "jwks_uri": 7,
            "unknown": {"issuer": 1, "x": [[], {"y": null}]},
        });
        let metadata = parse(&format!("\u{feff} {document}\n")).unwrap();
        let list = |text: &str| Some(vec![text.to_owned()]);
        let owned = |list: Option<&[String]>| list.map(<[String]>::to_vec);
        let at = |path: &str| Some(format!("https://id.example.com/{path}"));
        let url = |url: Option<&str>| url.map(str::to_owned);
        assert_eq!(metadata.issuer(), ISSUER);
        assert_eq!(url(metadata.token_endpoint()), at("t"));
        let authorization = metadata.authorization_endpoint();
        assert_eq!(authorization, Some("https://login.example.com/a?x=y"));
        assert_eq!(url(metadata.revocation_endpoint()), at("r"));
        let pushed = metadata.pushed_authorization_request_endpoint();
        assert_eq!(url(pushed), at("par"));
        assert_eq!(url(metadata.device_authorization_endpoint()), at("d"));
        assert_eq!(url(metadata.registration_endpoint()), at("c"));
        assert_eq!(url(metadata.introspection_endpoint()), at("i"));
        let alias = metadata.mtls_endpoint_alias("token_endpoint");
        assert_eq!(alias, Some("https://mtls.example.com/t"));
        assert_eq!(metadata.mtls_endpoint_alias("revocation_endpoint"), None);
        assert!(metadata.require_pushed_authorization_requests());
        assert!(metadata.tls_client_certificate_bound_access_tokens());
        assert!(metadata.authorization_response_iss_parameter_supported());
        assert!(metadata.client_id_metadata_document_supported());
        let lists = [
            metadata.token_endpoint_auth_methods_supported(),
            metadata.token_endpoint_auth_signing_alg_values_supported(),
            metadata.code_challenge_methods_supported(),
            metadata.grant_types_supported(),
            metadata.dpop_signing_alg_values_supported(),
        ];
        let expected = ["none", "ES256", "S256", "refresh_token", "EdDSA"];
        assert_eq!(lists.map(owned), expected.map(list));
        assert_eq!(metadata.response_modes_supported(), Some(&[][..]));
        assert_eq!(metadata.scopes_supported().map(<[_]>::len), Some(2));
    }

    #[test]
    fn missing_members_and_nulls_are_absent() {
        for json in [
            json!({"issuer": ISSUER}),
            json!({"issuer": ISSUER, "token_endpoint": null, "scopes_supported": null,
                "require_pushed_authorization_requests": null, "mtls_endpoint_aliases": null}),
        ] {
            let metadata = parse(&json.to_string()).unwrap();
            assert_eq!(metadata.token_endpoint(), None);
            assert_eq!(metadata.scopes_supported(), None);
            assert!(!metadata.require_pushed_authorization_requests());
            assert!(!metadata.authorization_response_iss_parameter_supported());
            assert_eq!(metadata.mtls_endpoint_alias("token_endpoint"), None);
        }
    }

    fn assert_invalid(outcome: Result<Metadata, Error>, problem: &str) -> Error {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{error}");
        let message = error.to_string();
        assert!(
            message.starts_with(&format!("{NAME}: {problem}")),
            "{message}"
        );
        // Text of the server is in the source only.
        assert!(!message.contains("evil"), "{message}");
        error
    }

    #[test]
    fn another_issuer_is_refused_and_named() {
        for other in [
            "https://id.example.com/a/",
            "https://id.example.com",
            "https://ID.example.com/a",
            "https://id.example.com:443/a",
            "https://id.example.com/%61",
            "https://evil.example",
            "",
        ] {
            let error = assert_invalid(with("issuer", json!(other)), "issuer: another issuer");
            assert!(error.source().unwrap().to_string().contains(other));
        }
        assert_invalid(parse("{}"), "issuer: missing");
        assert_invalid(with("issuer", json!(7)), "issuer: not a text");
        // The issuer is checked before anything else.
        let json = r#"{"issuer": "https://evil.example", "token_endpoint": 1}"#;
        assert_invalid(parse(json), "issuer: another issuer");
        // The spelling of the program counts.
        for issuer in ["https://ID.example.com:443", "https://id.example.com/"] {
            let json = json!({ "issuer": issuer }).to_string();
            assert_eq!(
                Metadata::parse(issuer, json.as_bytes()).unwrap().issuer(),
                issuer
            );
        }
    }

    #[test]
    fn endpoints_that_are_not_https_are_refused() {
        for name in ENDPOINTS {
            for (url, problem) in [
                (json!("http://id.example.com/t"), "an http URL"),
                (json!("http://127.0.0.1/t"), "an http URL"),
                (json!("https://id.example.com/{evil}"), "not a URL"),
                (json!("/t"), "not an https URL"),
                (json!(""), "not a URL"),
                (json!(["https://id.example.com/t"]), "not a text"),
                (json!({"evil": 1}), "not a text"),
                (json!(true), "not a text"),
            ] {
                assert_invalid(with(name, url.clone()), &format!("{name}: {problem}"));
                assert_invalid(
                    with(MTLS_ALIASES, json!({ name: url })),
                    &format!("{MTLS_ALIASES}: {name}: {problem}"),
                );
            }
        }
        // With an issuer on loopback, as in tests.
        let local = "http://127.0.0.1:81";
        let json = |url: &str| json!({"issuer": local, "token_endpoint": url}).to_string();
        for good in ["http://localhost/t", "https://id.example.com/t"] {
            assert!(Metadata::parse(local, json(good).as_bytes()).is_ok());
        }
        let other = Metadata::parse(local, json("http://id.example.com/t").as_bytes());
        assert_invalid(other, "token_endpoint: a URL with");
    }

    #[test]
    fn wrong_types_are_refused_by_their_member() {
        for name in LISTS {
            for wrong in [json!("evil"), json!({}), json!(1), json!(["a", 1])] {
                let problem = format!("{name}: not a list of texts");
                assert_invalid(with(name, wrong), &problem);
            }
        }
        for name in FLAGS {
            for wrong in [json!("true"), json!(1), json!([])] {
                let problem = format!("{name}: neither true nor false");
                assert_invalid(with(name, wrong), &problem);
            }
        }
        for wrong in [json!("evil"), json!([])] {
            let problem = format!("{MTLS_ALIASES}: not a JSON object");
            assert_invalid(with(MTLS_ALIASES, wrong), &problem);
        }
    }

    #[test]
    fn repeated_members_are_refused() {
        for json in [
            r#"{"issuer": "https://id.example.com/a", "issuer": "https://evil.example"}"#,
            r#"{"issuer": "https://evil.example", "issuer": "https://id.example.com/a"}"#,
            r#"{"issuer": "https://id.example.com/a", "iss\u0075er": "https://id.example.com/a"}"#,
            r#"{"issuer": "https://id.example.com/a", "x": null, "x": null}"#,
        ] {
            assert_invalid(parse(json), "repeats a member");
        }
        let json = r#"{"issuer": "https://id.example.com/a",
            "mtls_endpoint_aliases": {"token_endpoint": "https://a.example", "token_endpoint": ""}}"#;
        assert_invalid(parse(json), "mtls_endpoint_aliases: repeats a member");
        // In an object that is not read, nothing matters.
        parse(r#"{"issuer": "https://id.example.com/a", "x": {"y": 1, "y": 2}}"#).unwrap();
    }

    #[test]
    fn text_that_is_not_json_is_refused() {
        let deep = "[".repeat(100_000);
        for json in [
            "",
            "<!doctype html><title>evil</title>",
            "{",
            r#"{"issuer": "https://id.example.com/a""#,
            r#"{"issuer": "https://id.example.com/a"} {}"#,
            &deep,
        ] {
            assert_invalid(parse(json), "not JSON");
        }
        let bytes = [&br#"{"issuer": ""#[..], b"\xff\xfe", br#""}"#].concat();
        assert_invalid(Metadata::parse(ISSUER, &bytes), "not JSON");
        for json in ["[]", "null", "\"evil\"", "1"] {
            assert_invalid(parse(json), "not a JSON object");
        }
    }
}
