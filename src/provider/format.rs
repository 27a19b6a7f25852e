//! The file format of providers.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{builder::ProviderBuilder, data::ProviderData, definition::Provider};

/// In the [file format](crate::provider#provider-files).
impl Serialize for Provider {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.data.serialize(serializer)
    }
}

/// From the [file format](crate::provider#provider-files).
///
/// The settings are checked as by [`ProviderBuilder::build`](super::ProviderBuilder::build). The
/// error begins with the path of the wrong setting, such as `refusals[0].status`.
impl<'de> Deserialize<'de> for Provider {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let data = serde_path_to_error::deserialize::<_, ProviderData>(deserializer);
        let data = data.map_err(|error| {
            let path = error.path().to_string();
            let problem = error.into_inner();
            if path == "." {
                problem
            } else {
                de::Error::custom(format_args!("{path}: {problem}"))
            }
        })?;
        ProviderBuilder::from_data(data)
            .build()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;
    use crate::provider::{
        BodyFormat, ClientAuthentication, EndpointKind, IssuerCheck, KeptValue, LifetimeUnit,
        Refusal, RefusalMeaning, RequestKind, ResponseMode, RevocationAuthentication,
        RevocationMethod, RevocationRequest, RevokedToken, TokenHeader, TokenMember,
        TokenRejection, ValueSource, justworks,
    };

    const FULL: &str = r#"{
        "token_endpoint": "https://id.example.com/token",
        "refresh_endpoint": "https://id.example.com/refresh?x=y",
        "authorization_endpoint": "https://id.example.com/authorize",
        "revocation_endpoint": "https://id.example.com/revoke/{token}",
        "device_authorization_endpoint": "https://id.example.com/device?x=y",
        "revocation_request": {
            "method": "DELETE",
            "format": "json",
            "parameter": "",
            "token": "refresh",
            "authentication": "basic"
        },
        "pushed_authorization_request_endpoint": "https://id.example.com/par",
        "require_pushed_authorization_requests": true,
        "mtls_endpoint_aliases": {
            "token_endpoint": "https://mtls.example.com/token",
            "refresh_endpoint": "https://mtls.example.com/refresh",
            "revocation_endpoint": "https://mtls.example.com/revoke/{token}",
            "pushed_authorization_request_endpoint": "https://mtls.example.com/par"
        },
        "issuer": "https://ID.example.com/",
        "issuer_check": "if_present",
        "api_origins": ["https://api.example.com", "https://eu.example.com:8443"],
        "kept_values": {
            "hub": {"from": "response", "name": "hub.id"},
            "realm": {"from": "callback", "name": "realmId", "pattern": "[0-9]{1,20}"},
            "shop": {"from": "connect", "pattern": "([a-z0-9-]+)\\.shops\\.example\\.com"}
        },
        "token_header": {"name": "X-Access-Token", "scheme": ""},
        "client_authentication": "basic_raw",
        "assertion_audience": "token_endpoint",
        "pkce": false,
        "response_mode": "form_post",
        "code_parameter": "auth_code",
        "scope_separator": ",",
        "scope_on_refresh": true,
        "request_format": "json",
        "parameter_names": {"client_id": "client_key"},
        "request_parameters": {
            "authorization": {"access_type": "offline", "prompt": "consent"},
            "code_exchange": {"audience": "a"},
            "refresh": {"resource": "https://api.example.com/"},
            "client_credentials": {"account_id": "1", "grant_type": "account_credentials"},
            "jwt_bearer": {"audience": "b"},
            "token_exchange": {"resource": "c"},
            "device_authorization": {"audience": "d"},
            "device_token": {"audience": "e"},
            "revocation": {"x": ""}
        },
        "response_members": {
            "access_token": "authed_user.access_token",
            "refresh_token_expires_in": "x_refresh_token_expires_in"
        },
        "lifetime_unit": "milliseconds",
        "accepted_token_types": ["bot", "User Access Token"],
        "token_rejections": [{"status": 403}, {"status": 400, "error": "invalid_token"}],
        "refusals": [
            {"meaning": "dead", "status": 200, "members": {"error": "bad_refresh_token"}},
            {"meaning": "not_dead", "members": {"error": "invalid_grant", "error_codes": "9002313"}},
            {"meaning": "transient", "members": {"error_description": "*processed*"}}
        ],
        "access_token_lifetime": 3600,
        "refresh_token_lifetime": 7776000,
        "refresh_window": {"earliest": 30, "latest": 0},
        "reuse_grace": 1800,
        "propagation_delay": 3
    }"#;

    fn full() -> Provider {
        let refusal = Refusal::new;
        Provider::builder("https://id.example.com/token")
            .refresh_endpoint("https://id.example.com/refresh?x=y")
            .authorization_endpoint("https://id.example.com/authorize")
            .revocation_endpoint("https://id.example.com/revoke/{token}")
            .device_authorization_endpoint("https://id.example.com/device?x=y")
            .revocation_request(
                RevocationRequest::new()
                    .method(RevocationMethod::Delete)
                    .format(BodyFormat::Json)
                    .parameter("")
                    .token(RevokedToken::Refresh)
                    .authentication(RevocationAuthentication::Basic),
            )
            .pushed_authorization_request_endpoint("https://id.example.com/par")
            .require_pushed_authorization_requests(true)
            .mtls_endpoint_alias(EndpointKind::Token, "https://mtls.example.com/token")
            .mtls_endpoint_alias(EndpointKind::Refresh, "https://mtls.example.com/refresh")
            .mtls_endpoint_alias(
                EndpointKind::Revocation,
                "https://mtls.example.com/revoke/{token}",
            )
            .mtls_endpoint_alias(
                EndpointKind::PushedAuthorizationRequest,
                "https://mtls.example.com/par",
            )
            .issuer("https://ID.example.com/")
            .issuer_check(IssuerCheck::IfPresent)
            .api_origin("https://api.example.com")
            .api_origin("https://eu.example.com:8443")
            .kept_value("hub", KeptValue::new(ValueSource::Response).name("hub.id"))
            .kept_value(
                "realm",
                KeptValue::new(ValueSource::Callback)
                    .name("realmId")
                    .pattern("[0-9]{1,20}"),
            )
            .kept_value(
                "shop",
                KeptValue::new(ValueSource::Connect).pattern(r"([a-z0-9-]+)\.shops\.example\.com"),
            )
            .token_header(TokenHeader::new("X-Access-Token"))
            .client_authentication(ClientAuthentication::BasicRaw)
            .assertion_audience("token_endpoint")
            .pkce(false)
            .response_mode(ResponseMode::FormPost)
            .code_parameter("auth_code")
            .scope_separator(",")
            .scope_on_refresh(true)
            .request_format(BodyFormat::Json)
            .parameter_name("client_id", "client_key")
            .request_parameter(RequestKind::Authorization, "access_type", "offline")
            .request_parameter(RequestKind::Authorization, "prompt", "consent")
            .request_parameter(RequestKind::CodeExchange, "audience", "a")
            .request_parameter(RequestKind::Refresh, "resource", "https://api.example.com/")
            .request_parameter(RequestKind::ClientCredentials, "account_id", "1")
            .request_parameter(
                RequestKind::ClientCredentials,
                "grant_type",
                "account_credentials",
            )
            .request_parameter(RequestKind::JwtBearer, "audience", "b")
            .request_parameter(RequestKind::TokenExchange, "resource", "c")
            .request_parameter(RequestKind::DeviceAuthorization, "audience", "d")
            .request_parameter(RequestKind::DeviceToken, "audience", "e")
            .request_parameter(RequestKind::Revocation, "x", "")
            .response_member(TokenMember::AccessToken, "authed_user.access_token")
            .response_member(
                TokenMember::RefreshTokenExpiresIn,
                "x_refresh_token_expires_in",
            )
            .lifetime_unit(LifetimeUnit::Milliseconds)
            .accepted_token_type("bot")
            .accepted_token_type("User Access Token")
            .token_rejection(TokenRejection::new(StatusCode::FORBIDDEN))
            .token_rejection(
                TokenRejection::new(StatusCode::BAD_REQUEST).with_error("invalid_token"),
            )
            .refusal(
                refusal(RefusalMeaning::Dead)
                    .status(200)
                    .member("error", "bad_refresh_token"),
            )
            .refusal(
                refusal(RefusalMeaning::NotDead)
                    .member("error", "invalid_grant")
                    .member("error_codes", "9002313"),
            )
            .refusal(refusal(RefusalMeaning::Transient).member("error_description", "*processed*"))
            .access_token_lifetime(Duration::from_secs(3_600))
            .refresh_token_lifetime(Duration::from_secs(90 * 86_400))
            .earliest_refresh(Duration::from_secs(30))
            .latest_refresh(Duration::ZERO)
            .reuse_grace(Duration::from_secs(1_800))
            .propagation_delay(Duration::from_secs(3))
            .build()
            .unwrap()
    }

    fn without_spaces(file: &str) -> Value {
        serde_json::from_str(file).unwrap()
    }

    /// The format is stable: a change of this file breaks those of programs.
    #[test]
    fn every_setting_has_its_field() {
        let provider: Provider = serde_json::from_str(FULL).unwrap();
        assert_eq!(format!("{provider:?}"), format!("{:?}", full()));
        let written = serde_json::to_value(full()).unwrap();
        assert_eq!(written, without_spaces(FULL));
    }

    #[test]
    fn defaults_are_not_written() {
        let provider = Provider::builder("https://id.example.com/token").build();
        let written = serde_json::to_value(provider.unwrap()).unwrap();
        let minimal = json!({"token_endpoint": "https://id.example.com/token"});
        assert_eq!(written, minimal);
        let read: Provider = serde_json::from_value(minimal).unwrap();
        assert_eq!(read.client_authentication(), ClientAuthentication::Basic);
        assert!(read.pkce());
    }

    #[test]
    fn dpop_is_read_and_written() {
        let file = json!({"token_endpoint": "https://id.example.com/token", "dpop": true});
        let read = serde_json::from_value::<Provider>(file.clone());
        if cfg!(feature = "dpop") {
            let provider = read.unwrap();
            assert!(provider.dpop());
            assert_eq!(serde_json::to_value(provider).unwrap(), file);
        } else {
            let error = read.unwrap_err().to_string();
            assert!(error.starts_with("dpop: the feature `dpop`"), "{error}");
        }
        let usual = Provider::builder("https://id.example.com/token");
        assert!(!usual.clone().build().unwrap().dpop());
        let own_header = usual.dpop(true).token_header(TokenHeader::new("X-Token"));
        let error = own_header.build().unwrap_err().to_string();
        assert!(error.starts_with("dpop: "), "{error}");
    }

    /// Each file is refused with an error that starts with the text.
    fn assert_refused<const N: usize>(files: [(Value, &str); N]) {
        for (mut file, expected) in files {
            if let Value::Object(object) = &mut file {
                object
                    .entry("token_endpoint")
                    .or_insert(json!("https://id.example.com/token"));
            }
            let error = serde_json::from_value::<Provider>(file.clone()).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{file}: {error}");
        }
    }

    #[test]
    fn unsafe_address_is_refused_by_its_path() {
        let value = |from: &str, pattern: &str| json!({"from": from, "pattern": pattern});
        let connect = |pattern: &str| value("connect", pattern);
        let any_host = |from: &str| json!({"from": from, "pattern": "[a-z.]+", "any_host": true});
        assert_refused([
            // A variable without a value, without a pattern, or of a wrong kind.
            (
                json!({"token_endpoint": "https://{shop}.example.com/token"}),
                "token_endpoint: no kept value",
            ),
            (
                json!({"api_origins": ["https://a.example", "https://{shop}.example.com"]}),
                "api_origins[1]: no kept value",
            ),
            (
                json!({
                    "kept_values": {"shop": {"from": "connect"}},
                    "api_origins": ["https://{shop}.example.com"],
                }),
                "kept_values.shop.pattern: missing",
            ),
            (
                json!({
                    "kept_values": {"shop": value("response", "[a-z]+")},
                    "token_endpoint": "https://{shop}.example.com/token",
                }),
                "kept_values.shop.from: ",
            ),
            (
                json!({
                    "kept_values": {"shop": value("callback", "[a-z]+")},
                    "authorization_endpoint": "https://{shop}.example.com/authorize",
                }),
                "kept_values.shop.from: ",
            ),
            // A pattern that permits too much.
            (
                json!({"kept_values": {"shop": connect("(?s).*")}}),
                "kept_values.shop.pattern: matches everything",
            ),
            (
                json!({"kept_values": {"shop": connect("(")}}),
                "kept_values.shop.pattern: not a regular expression",
            ),
            (
                json!({
                    "kept_values": {"shop": connect("[^.]+")},
                    "api_origins": ["https://{shop}.example.com"],
                }),
                "kept_values.shop.pattern: permits other characters",
            ),
            (
                json!({
                    "kept_values": {"version": connect("v[0-9]+/[a-z]+")},
                    "refresh_endpoint": "https://example.com/{version}/token",
                }),
                "kept_values.version.pattern: permits other characters",
            ),
            (
                json!({
                    "kept_values": {"host": value("response", "[a-z0-9.-]+")},
                    "api_origins": ["https://{host}"],
                }),
                "kept_values.host.pattern: permits any host",
            ),
            (
                json!({
                    "kept_values": {"name": value("callback", "[a-z]+")},
                    "revocation_endpoint": "https://{name}.com/revoke",
                }),
                "kept_values.name.pattern: permits any host",
            ),
            (
                json!({"kept_values": {"host": any_host("callback")}}),
                "kept_values.host.any_host: ",
            ),
            (
                json!({"kept_values": {"host": {"from": "connect", "any_host": true}}}),
                "kept_values.host.any_host: ",
            ),
        ]);
    }

    #[test]
    fn plain_http_and_reserved_names_are_refused_by_their_path() {
        let connect = |pattern: &str| json!({"from": "connect", "pattern": pattern});
        let any_host = |from: &str| json!({"from": from, "pattern": "[a-z.]+", "any_host": true});
        assert_refused([
            (
                json!({
                    "kept_values": {"host": any_host("connect")},
                    "token_endpoint": "http://{host}/token",
                }),
                "token_endpoint: use https",
            ),
            (
                json!({"kept_values": {"Shop": connect("[a-z]+")}}),
                "kept_values.Shop: ",
            ),
            (
                json!({"kept_values": {"client_id": connect("[a-z]+")}}),
                "kept_values.client_id: ",
            ),
        ]);
        let chosen = json!({
            "kept_values": {"host": any_host("connect")},
            "token_endpoint": "https://{host}/token",
        });
        serde_json::from_value::<Provider>(chosen).unwrap();
    }

    #[test]
    fn revocation_request_without_what_it_needs_is_refused_by_its_path() {
        let endpoint = "https://id.example.com/revoke";
        for (file, expected) in [
            (
                json!({"revocation_request": {"method": "DELETE"}}),
                "revocation_request: there is no revocation_endpoint",
            ),
            (
                json!({
                    "revocation_endpoint": endpoint,
                    "revocation_request": {"parameter": "", "authentication": "access_token"},
                }),
                "revocation_request.token: ",
            ),
            (
                json!({
                    "revocation_endpoint": "https://id.example.com/revoke/{token}",
                    "revocation_request": {"method": "GET", "parameter": ""},
                    "client_authentication": "request_body",
                }),
                "revocation_request.authentication: a GET has no body",
            ),
            (
                json!({
                    "revocation_endpoint": endpoint,
                    "revocation_request": {"parameter": "token_type_hint"},
                }),
                "revocation_request.parameter: the name of another",
            ),
        ] {
            let mut file = file;
            file["token_endpoint"] = json!("https://id.example.com/token");
            let error = serde_json::from_value::<Provider>(file.clone()).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{file}: {error}");
        }
        let good = json!({
            "token_endpoint": "https://id.example.com/token",
            "revocation_endpoint": endpoint,
            "revocation_request": {
                "method": "GET",
                "parameter": "",
                "token": "access",
                "authentication": "access_token",
            },
        });
        serde_json::from_value::<Provider>(good).unwrap();
    }

    #[test]
    fn access_token_may_never_expire() {
        let file = json!({
            "token_endpoint": "https://id.example.com/token",
            "access_token_lifetime": "never",
        });
        let read: Provider = serde_json::from_value(file.clone()).unwrap();
        assert!(read.access_token_never_expires());
        assert_eq!(read.access_token_lifetime(), None);
        assert_eq!(serde_json::to_value(&read).unwrap(), file);
    }

    #[test]
    fn justworks_survives_a_file() {
        let file = serde_json::to_string(&justworks()).unwrap();
        let read: Provider = serde_json::from_str(&file).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", justworks()));
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn wrong_field_is_named_by_its_path() {
        for (path, value, expected) in [
            ("/surprise", json!(1), "surprise: unknown field"),
            ("/pkce", json!("yes"), "pkce: invalid type"),
            ("/pkce", json!(null), "pkce: invalid type"),
            (
                "/token_endpoint",
                json!("http://id.example.com"),
                "token_endpoint: use https",
            ),
            ("/refresh_endpoint", json!("x"), "refresh_endpoint: "),
            (
                "/api_origins/1",
                json!("ftp://x.example"),
                "api_origins[1]: use https",
            ),
            ("/api_origins/1", json!(7), "api_origins[1]: invalid type"),
            (
                "/client_authentication",
                json!("magic"),
                "client_authentication: unknown variant",
            ),
            ("/scope_separator", json!(";"), "scope_separator: "),
            // Client authentication and pushed authorization requests.
            (
                "/client_authentication",
                json!("private_key_jwt"),
                "revocation_request.authentication: the client_authentication",
            ),
            (
                "/client_authentication",
                json!("tls_client_auth"),
                "revocation_request.authentication: the client_authentication",
            ),
            ("/assertion_audience", json!(""), "assertion_audience: not"),
            (
                "/assertion_audience",
                json!("two words"),
                "assertion_audience: not",
            ),
            (
                "/mtls_endpoint_aliases/userinfo_endpoint",
                json!("https://mtls.example.com/userinfo"),
                "mtls_endpoint_aliases.?: unknown variant",
            ),
            (
                "/mtls_endpoint_aliases/token_endpoint",
                json!("http://mtls.example.com/token"),
                "mtls_endpoint_aliases.token_endpoint: use https",
            ),
            (
                "/pushed_authorization_request_endpoint",
                json!("http://id.example.com/par"),
                "pushed_authorization_request_endpoint: use https",
            ),
            (
                "/access_token_lifetime",
                json!(-1),
                "access_token_lifetime: invalid value",
            ),
            (
                "/access_token_lifetime",
                json!("1h"),
                "access_token_lifetime: invalid value",
            ),
            (
                "/access_token_lifetime",
                json!([1]),
                "access_token_lifetime: invalid type",
            ),
            (
                "/kept_values/hub/from",
                json!("cookie"),
                "kept_values.hub.from: unknown variant",
            ),
            (
                "/kept_values/hub/why",
                json!("x"),
                "kept_values.hub.why: unknown field",
            ),
            (
                "/token_header/value",
                json!("x"),
                "token_header.value: unknown field",
            ),
            ("/token_header/name", json!(""), "token_header.name: not"),
            (
                "/token_header/name",
                json!("X-Access Token"),
                "token_header.name: not",
            ),
            (
                "/token_header/name",
                json!("X-Token:"),
                "token_header.name: not",
            ),
            (
                "/token_header/name",
                json!("Host"),
                "token_header.name: this",
            ),
            (
                "/token_header/name",
                json!("content-LENGTH"),
                "token_header.name: this",
            ),
            (
                "/token_header/name",
                json!("Cookie"),
                "token_header.name: this",
            ),
            (
                "/token_header/name",
                json!("Transfer-Encoding"),
                "token_header.name: this",
            ),
            (
                "/token_header/name",
                json!("Connection"),
                "token_header.name: this",
            ),
            (
                "/token_header/scheme",
                json!("Bearer "),
                "token_header.scheme: not one word",
            ),
            (
                "/token_header/scheme",
                json!("Token\r\nX: y"),
                "token_header.scheme: not one word",
            ),
            (
                "/token_header/scheme",
                json!("token="),
                "token_header.scheme: not one word",
            ),
            (
                "/revocation_request/method",
                json!("delete"),
                "revocation_request.method: unknown variant",
            ),
            (
                "/response_members/surprise",
                json!("x"),
                "response_members.?: unknown variant",
            ),
            (
                "/refresh_window/soonest",
                json!(1),
                "refresh_window.soonest: unknown field",
            ),
            (
                "/accepted_token_types/0",
                json!(" "),
                "accepted_token_types[0]: empty",
            ),
            (
                "/request_parameters/renewal",
                json!({}),
                "request_parameters",
            ),
            (
                "/request_parameters/refresh/client_secret",
                json!("x"),
                "request_parameters.refresh.client_secret: ",
            ),
            (
                "/request_parameters/refresh/resource",
                json!(["x"]),
                "request_parameters.refresh.resource: invalid type",
            ),
            (
                "/token_rejections/1/status",
                json!(1_000),
                "token_rejections[1].status: invalid status",
            ),
            (
                "/token_rejections/1/status",
                json!(503),
                "token_rejections[1].status: must be",
            ),
            // Names in requests and callbacks.
            (
                "/request_format",
                json!("xml"),
                "request_format: unknown variant",
            ),
            (
                "/parameter_names/state",
                json!("x"),
                "parameter_names.state: no parameter",
            ),
            (
                "/parameter_names/code_verifier",
                json!("x"),
                "parameter_names.code_verifier: no parameter",
            ),
            (
                "/parameter_names/surprise",
                json!("x"),
                "parameter_names.surprise: no parameter",
            ),
            (
                "/parameter_names/token",
                json!("x"),
                "parameter_names.token: set revocation_request.parameter",
            ),
            (
                "/parameter_names/scope",
                json!("two words"),
                "parameter_names.scope: a name",
            ),
            (
                "/parameter_names/scope",
                json!(""),
                "parameter_names.scope: a name",
            ),
            (
                "/parameter_names/scope",
                json!("state"),
                "parameter_names.scope: the client uses this name",
            ),
            (
                "/parameter_names/scope",
                json!("grant_type"),
                "parameter_names.scope: the client uses this name",
            ),
            (
                "/parameter_names/scope",
                json!("client_key"),
                "parameter_names.client_id: two parameters",
            ),
            (
                "/parameter_names/scope",
                json!("access_type"),
                "request_parameters.authorization.access_type: parameter_names",
            ),
            ("/code_parameter", json!(""), "code_parameter: a name"),
            ("/code_parameter", json!("a code"), "code_parameter: a name"),
            (
                "/code_parameter",
                json!("state"),
                "code_parameter: the name of another",
            ),
            (
                "/code_parameter",
                json!("iss"),
                "code_parameter: the name of another",
            ),
            // Paths in responses.
            (
                "/response_members/refresh_token",
                json!(""),
                "response_members.refresh_token: not the names",
            ),
            (
                "/response_members/refresh_token",
                json!("a..b"),
                "response_members.refresh_token: not the names",
            ),
            (
                "/response_members/refresh_token",
                json!("a".repeat(129)),
                "response_members.refresh_token: not the names",
            ),
            (
                "/response_members/refresh_token",
                json!("scope"),
                "response_members.refresh_token: another member",
            ),
            (
                "/response_members/refresh_token",
                json!("error"),
                "response_members.refresh_token: another member",
            ),
            (
                "/response_members/refresh_token",
                json!("authed_user.access_token"),
                "response_members.access_token: another member",
            ),
            (
                "/issuer_check",
                json!("never"),
                "issuer_check: unknown variant",
            ),
            (
                "/lifetime_unit",
                json!("days"),
                "lifetime_unit: unknown variant",
            ),
            // Revocation requests.
            (
                "/revocation_request/parameter",
                json!("a token"),
                "revocation_request.parameter: a name",
            ),
            (
                "/revocation_request/parameter",
                json!("client_key"),
                "revocation_request.parameter: the name of another",
            ),
            (
                "/revocation_request/parameter",
                json!("x"),
                "request_parameters.revocation.x: revocation_request.parameter",
            ),
            (
                "/revocation_request/method",
                json!("GET"),
                "request_parameters.revocation.x: a GET has no body",
            ),
            (
                "/revocation_request",
                json!({"method": "GET"}),
                "revocation_request.parameter: a GET has no body",
            ),
            (
                "/revocation_endpoint",
                json!("https://id.example.com/revoke"),
                "revocation_request.parameter: the request would not contain the token",
            ),
            (
                "/revocation_endpoint",
                json!("https://{token}.example.com/revoke"),
                "revocation_endpoint: {token} is in the host",
            ),
            (
                "/client_authentication",
                json!("none"),
                "revocation_request.authentication: the client_authentication",
            ),
            (
                "/refusals/1/status",
                json!(99_999),
                "refusals[1].status: invalid value",
            ),
            ("/refusals/1/status", json!(42), "refusals[1].status: "),
            (
                "/refusals/1/meaning",
                json!("odd"),
                "refusals[1].meaning: unknown variant",
            ),
            (
                "/refusals/1/members",
                json!({}),
                "refusals[1].members: none",
            ),
            (
                "/refusals/1/why",
                json!("x"),
                "refusals[1].why: unknown field",
            ),
        ] {
            let mut file = without_spaces(FULL);
            let (parent, name) = path.rsplit_once('/').unwrap();
            match file.pointer_mut(parent).unwrap() {
                Value::Object(object) => {
                    object.insert(name.to_owned(), value);
                }
                Value::Array(array) => array[name.parse::<usize>().unwrap()] = value,
                other => panic!("{other}"),
            }
            for error in [
                serde_json::from_value::<Provider>(file.clone()).unwrap_err(),
                serde_json::from_str::<Provider>(&file.to_string()).unwrap_err(),
            ] {
                assert!(error.to_string().starts_with(expected), "{path}: {error}");
            }
        }
    }
}
