//! The file format of providers.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{builder::ProviderBuilder, data::ProviderData, definition::Provider};

/// In the [file format](crate::provider#provider-files).
impl Serialize for Provider {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_builder().data().serialize(serializer)
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
        ClientAuthentication, Refusal, RefusalMeaning, RequestKind, ResponseMode, TokenRejection,
        justworks,
    };

    const FULL: &str = r#"{
        "token_endpoint": "https://id.example.com/token",
        "refresh_endpoint": "https://id.example.com/refresh?x=y",
        "authorization_endpoint": "https://id.example.com/authorize",
        "revocation_endpoint": "https://id.example.com/revoke",
        "issuer": "https://ID.example.com/",
        "api_origins": ["https://api.example.com", "https://eu.example.com:8443"],
        "client_authentication": "basic_raw",
        "pkce": false,
        "response_mode": "form_post",
        "scope_separator": ",",
        "request_parameters": {
            "authorization": {"access_type": "offline", "prompt": "consent"},
            "code_exchange": {"audience": "a"},
            "refresh": {"resource": "https://api.example.com/"},
            "client_credentials": {"account_id": "1", "grant_type": "account_credentials"},
            "revocation": {"x": ""}
        },
        "accepted_token_types": ["bot", "User Access Token"],
        "token_rejections": [{"status": 403}, {"status": 400, "error": "invalid_token"}],
        "refusals": [
            {"meaning": "dead", "status": 200, "members": {"error": "bad_refresh_token"}},
            {"meaning": "not_dead", "members": {"error": "invalid_grant", "error_codes": "9002313"}},
            {"meaning": "transient", "members": {"error_description": "*processed*"}}
        ],
        "access_token_lifetime": 3600,
        "refresh_token_lifetime": 7776000
    }"#;

    fn full() -> Provider {
        let refusal = Refusal::new;
        Provider::builder("https://id.example.com/token")
            .refresh_endpoint("https://id.example.com/refresh?x=y")
            .authorization_endpoint("https://id.example.com/authorize")
            .revocation_endpoint("https://id.example.com/revoke")
            .issuer("https://ID.example.com/")
            .api_origin("https://api.example.com")
            .api_origin("https://eu.example.com:8443")
            .client_authentication(ClientAuthentication::BasicRaw)
            .pkce(false)
            .response_mode(ResponseMode::FormPost)
            .scope_separator(",")
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
            .request_parameter(RequestKind::Revocation, "x", "")
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
    fn justworks_survives_a_file() {
        let file = serde_json::to_string(&justworks()).unwrap();
        let read: Provider = serde_json::from_str(&file).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", justworks()));
    }

    #[test]
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
            (
                "/access_token_lifetime",
                json!(-1),
                "access_token_lifetime: invalid value",
            ),
            (
                "/access_token_lifetime",
                json!("1h"),
                "access_token_lifetime: invalid type",
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
