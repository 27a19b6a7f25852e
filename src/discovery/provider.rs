//! A provider from metadata.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{authentication, handle::Discovery, metadata::Metadata};
use crate::{
    error::{BoxError, Error},
    provider::{EndpointKind, IssuerCheck, Provider, ProviderBuilder, ResponseMode},
};

impl Provider {
    /// Loads the metadata of an issuer, and returns the provider that they describe.
    ///
    /// It is [`Discovery::provider`] for a program that needs no cache and no further settings:
    /// without an API origin, no request carries a token. `http` is an HTTP client that follows no
    /// redirects, as for an [`OAuthClient`](crate::oauth#the-http-client). Takes up to 10 seconds.
    ///
    /// # Errors
    ///
    /// As [`Discovery::provider`].
    pub async fn discover<S, B, R>(issuer: &str, http: S) -> Result<Self, Error>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        Discovery::builder(issuer).build(http)?.provider().await
    }
}

impl Discovery {
    /// Returns the provider that the metadata describe, without further settings:
    /// [`Metadata::to_provider_builder`].
    ///
    /// # Errors
    ///
    /// As [`metadata`](Self::metadata) and [`Metadata::to_provider_builder`].
    pub async fn provider(&self) -> Result<Provider, Error> {
        self.metadata().await?.to_provider_builder()?.build()
    }
}

impl Metadata {
    /// Returns a builder of the provider that the metadata describe, to add what they do not
    /// contain.
    ///
    /// | setting | by the metadata |
    /// | --- | --- |
    /// | `token_endpoint`, `authorization_endpoint`, `revocation_endpoint`, `device_authorization_endpoint`, `pushed_authorization_request_endpoint`, `require_pushed_authorization_requests`, `mtls_endpoint_aliases`, `issuer` | the same member |
    /// | `issuer_check` | `required` with `authorization_response_iss_parameter_supported`, else `if_present` |
    /// | `client_authentication` | the first of `client_secret_basic`, `client_secret_post`, `private_key_jwt`, `client_secret_jwt`, `tls_client_auth`, `self_signed_tls_client_auth` and `none` in `token_endpoint_auth_methods_supported`; `client_secret_basic` without that list |
    /// | `pkce` | on, unless `code_challenge_methods_supported` does not contain `S256` |
    /// | `response_mode` | `query`, unless `response_modes_supported` only contains `form_post` of the two |
    ///
    /// Metadata do not say where the API is, and it is not guessed: add each
    /// [`api_origin`](ProviderBuilder::api_origin). A public client sets its
    /// [`client_authentication`](ProviderBuilder::client_authentication) itself if the server also
    /// accepts clients with a secret.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration) if the metadata have no token endpoint,
    /// or the server supports no client authentication of this crate.
    pub fn to_provider_builder(&self) -> Result<ProviderBuilder, Error> {
        let Some(token_endpoint) = self.token_endpoint() else {
            return Err(Error::configuration(
                "token_endpoint: the metadata of the issuer have none, so it issues no tokens to \
                 this client; check the issuer",
            ));
        };
        let methods = self.token_endpoint_auth_methods_supported();
        let Some(authentication) = authentication::choose(methods) else {
            return Err(Error::configuration(
                "token_endpoint_auth_methods_supported: this crate has none of the issuer's \
                 methods; describe the provider by Provider::builder",
            ));
        };
        let check = if self.authorization_response_iss_parameter_supported() {
            IssuerCheck::Required
        } else {
            IssuerCheck::IfPresent
        };
        let challenges = self.code_challenge_methods_supported();
        let mut builder = Provider::builder(token_endpoint)
            .issuer(self.issuer())
            .issuer_check(check)
            .client_authentication(authentication)
            .pkce(challenges.is_none_or(|methods| has(methods, "S256")))
            .response_mode(match self.response_modes_supported() {
                Some(modes) if has(modes, "form_post") && !has(modes, "query") => {
                    ResponseMode::FormPost
                }
                _ => ResponseMode::Query,
            });
        if let Some(url) = self.authorization_endpoint() {
            builder = builder.authorization_endpoint(url);
        }
        if let Some(url) = self.revocation_endpoint() {
            builder = builder.revocation_endpoint(url);
        }
        if let Some(url) = self.device_authorization_endpoint() {
            builder = builder.device_authorization_endpoint(url);
        }
        // Without an authorization endpoint there is nothing to push.
        let pushed = self.pushed_authorization_request_endpoint();
        let pushed = pushed.filter(|_| self.authorization_endpoint().is_some());
        if let Some(url) = pushed {
            builder = builder
                .pushed_authorization_request_endpoint(url)
                .require_pushed_authorization_requests(
                    self.require_pushed_authorization_requests(),
                );
        }
        for (kind, name, has_endpoint) in [
            (EndpointKind::Token, TOKEN, true),
            (
                EndpointKind::Revocation,
                REVOCATION,
                self.revocation_endpoint().is_some(),
            ),
            (
                EndpointKind::DeviceAuthorization,
                DEVICE,
                self.device_authorization_endpoint().is_some(),
            ),
            (
                EndpointKind::PushedAuthorizationRequest,
                PUSHED,
                pushed.is_some(),
            ),
        ] {
            if let (true, Some(url)) = (has_endpoint, self.mtls_endpoint_alias(name)) {
                builder = builder.mtls_endpoint_alias(kind, url);
            }
        }
        Ok(builder)
    }
}

const TOKEN: &str = "token_endpoint";
const REVOCATION: &str = "revocation_endpoint";
const DEVICE: &str = "device_authorization_endpoint";
const PUSHED: &str = "pushed_authorization_request_endpoint";

fn has(list: &[String], name: &str) -> bool {
    list.iter().any(|listed| listed == name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{error::ErrorKind, provider::ClientAuthentication};

    const ISSUER: &str = "https://id.example.com";

    fn metadata(more: &Value) -> Metadata {
        let mut document = json!({"issuer": ISSUER, "token_endpoint": "https://t.example/t"});
        for (name, value) in more.as_object().unwrap() {
            document[name] = value.clone();
        }
        Metadata::parse(ISSUER, document.to_string().as_bytes()).unwrap()
    }

    fn provider(more: &Value) -> Provider {
        let builder = metadata(more).to_provider_builder().unwrap();
        builder.build().unwrap()
    }

    #[test]
    fn provider_has_the_endpoints_of_the_metadata_and_no_api() {
        let provider = provider(&json!({
            "authorization_endpoint": "https://a.example/a?x=y",
            "revocation_endpoint": "https://r.example/r",
        }));
        assert_eq!(provider.token_endpoint().to_string(), "https://t.example/t");
        let shown = |endpoint: Option<&crate::provider::Endpoint>| endpoint.unwrap().to_string();
        assert_eq!(
            shown(provider.authorization_endpoint()),
            "https://a.example/a?x=y"
        );
        assert_eq!(shown(provider.revocation_endpoint()), "https://r.example/r");
        assert_eq!(provider.issuer(), Some(ISSUER));
        assert!(provider.api_origins().is_empty());
    }

    #[test]
    fn lists_decide_the_settings_and_missing_lists_leave_the_defaults() {
        let default = provider(&json!({}));
        assert!(default.pkce());
        assert_eq!(default.issuer_check(), IssuerCheck::IfPresent);
        assert_eq!(default.response_mode(), ResponseMode::Query);
        assert_eq!(default.client_authentication(), ClientAuthentication::Basic);

        let iss = "authorization_response_iss_parameter_supported";
        for (supported, check) in [
            (true, IssuerCheck::Required),
            (false, IssuerCheck::IfPresent),
        ] {
            let provider = provider(&json!({ iss: supported }));
            assert_eq!(provider.issuer_check(), check);
        }
        for (methods, pkce) in [
            (json!(["S256"]), true),
            (json!(["plain", "S256"]), true),
            (json!(["plain"]), false),
            (json!(["s256"]), false),
            (json!([]), false),
        ] {
            let provider = provider(&json!({"code_challenge_methods_supported": methods}));
            assert_eq!(provider.pkce(), pkce);
        }
        for (modes, mode) in [
            (json!(["query", "form_post"]), ResponseMode::Query),
            (json!(["form_post", "fragment"]), ResponseMode::FormPost),
            (json!(["fragment"]), ResponseMode::Query),
        ] {
            let provider = provider(&json!({"response_modes_supported": modes}));
            assert_eq!(provider.response_mode(), mode);
        }
    }

    #[test]
    fn each_combination_of_endpoints_is_a_provider() {
        let names = [
            "authorization_endpoint",
            REVOCATION,
            DEVICE,
            PUSHED,
            "require_pushed_authorization_requests",
        ];
        for chosen in 0..1_u8 << names.len() {
            let mut more = json!({ "mtls_endpoint_aliases": {} });
            for (index, name) in names.into_iter().enumerate() {
                if chosen >> index & 1 == 1 {
                    more[name] = match name {
                        "require_pushed_authorization_requests" => true.into(),
                        _ => "https://e.example/e".into(),
                    };
                }
                more["mtls_endpoint_aliases"][name] = "https://m.example/e".into();
            }
            more["mtls_endpoint_aliases"]["require_pushed_authorization_requests"].take();
            let built = metadata(&more).to_provider_builder().unwrap().build();
            assert!(built.is_ok(), "{more}: {built:?}");
        }
    }

    #[test]
    fn metadata_without_what_a_client_needs_are_refused() {
        for (more, problem) in [
            (json!({"token_endpoint": null}), "token_endpoint: "),
            (
                json!({"token_endpoint_auth_methods_supported": ["unknown"]}),
                "token_endpoint_auth_methods_supported: ",
            ),
        ] {
            let error = metadata(&more).to_provider_builder().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().starts_with(problem), "{error}");
        }
    }
}
