//! Authorization servers and the APIs behind them, as data.
//!
//! A [`Provider`] contains the endpoints of an authorization server, and how its clients
//! authenticate. No other part of the crate depends on a particular provider: [`justworks()`]
//! returns a value like one that you build.
//!
//! ```
//! use tower_oauth2_client::provider::{ClientAuthentication, Provider};
//!
//! let provider = Provider::builder("https://id.example.com/token")
//!     .authorization_endpoint("https://id.example.com/authorize")
//!     .revocation_endpoint("https://id.example.com/revoke")
//!     .api_origin("https://api.example.com")
//!     .client_authentication(ClientAuthentication::Basic)
//!     .build()?;
//! assert_eq!(provider.api_origins().len(), 1);
//!
//! // A copy with another setting.
//! let with_issuer = provider.to_builder().issuer("https://id.example.com").build()?;
//! assert_eq!(with_issuer.issuer(), Some("https://id.example.com"));
//! # Ok::<(), tower_oauth2_client::Error>(())
//! ```
//!
//! The [`catalog`] has providers that are known from their public documentation, and the page
//! [Providers](crate::guide::providers) says how to add one.
//!
//! # Provider files
//!
//! A [`Provider`] implements `Serialize` and `Deserialize`, so that a program can load its
//! providers from a file in any format that serde supports. The fields have the names of the
//! builder's methods; a setting that can be added several times has its name in the plural. A path
//! has the names of nested members, separated by dots. A missing field has the default of the
//! builder. New fields may be added, and the meaning of an
//! existing one does not change.
//!
//! ```
//! use tower_oauth2_client::provider::Provider;
//!
//! let file = r#"{
//!     "token_endpoint": "https://id.example.com/token",
//!     "authorization_endpoint": "https://id.example.com/authorize",
//!     "api_origins": ["https://api.example.com"],
//!     "client_authentication": "request_body",
//!     "pkce": false,
//!     "access_token_lifetime": 3600,
//!     "request_parameters": {
//!         "authorization": { "access_type": "offline" }
//!     },
//!     "refusals": [
//!         { "meaning": "dead", "status": 200, "members": { "error": "bad_refresh_token" } }
//!     ]
//! }"#;
//! let provider: Provider = serde_json::from_str(file)?;
//! assert_eq!(provider.refusals().len(), 1);
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! | field | type | default |
//! | --- | --- | --- |
//! | `token_endpoint` | URL | required |
//! | `refresh_endpoint` | URL | the token endpoint |
//! | `authorization_endpoint`, `device_authorization_endpoint`, `revocation_endpoint`, `issuer` | URL | none |
//! | `issuer_check` | `required` or `if_present` | `required` if there is an issuer |
//! | `revocation_request` | object with `method` (`POST`, `DELETE` or `GET`), `format` (`form` or `json`), `parameter` (name of the token in the body, empty for none), `token` (`either`, `access` or `refresh`: which one the endpoint takes) and `authentication` (`client`, `basic`, `access_token` or `none`) | RFC 7009: the first of each, and the name `token` |
//! | `pushed_authorization_request_endpoint` | URL (RFC 9126) | none |
//! | `require_pushed_authorization_requests` | true or false | false |
//! | `mtls_endpoint_aliases` | object of `token_endpoint`, `refresh_endpoint`, `revocation_endpoint`, `device_authorization_endpoint` or `pushed_authorization_request_endpoint`, and the URLs for clients with a certificate (RFC 8705) | empty |
//! | `api_origins` | list of URLs, of which only scheme, host and port count | empty |
//! | `kept_values` | object of names and objects with `from` (`connect`, `callback` or `response`), and optionally `name` (of the parameter, or the path of the member; the same by default), `pattern` and `any_host` | empty |
//! | `token_header` | object with `name` and `scheme` | `Authorization` and `Bearer` |
//! | `client_authentication` | `basic`, `basic_raw`, `request_body`, `none`, `client_secret_jwt`, `private_key_jwt`, `tls_client_auth` or `self_signed_tls_client_auth` | `basic` |
//! | `assertion_audience` | audience of the assertions of `client_secret_jwt` and `private_key_jwt`, or `token_endpoint` for its URL | the issuer; without one, the URL of the token endpoint |
//! | `pkce` | true or false | true |
//! | `dpop` | true or false: whether [DPoP](crate::dpop) binds tokens to a key; needs the feature `dpop` | false |
//! | `response_mode` | `query` or `form_post` | `query` |
//! | `code_parameter` | name of the code in callbacks | `code` |
//! | `scope_separator` | `" "` or `","` | `" "` |
//! | `scope_on_refresh` | true or false | false |
//! | `request_format` | `form` or `json` | `form` |
//! | `parameter_names` | object of names of RFC 6749 (`client_id`, `client_secret`, `code`, `grant_type`, `redirect_uri`, `refresh_token`, `response_type` or `scope`) and other names | empty |
//! | `request_parameters` | `authorization`, `code_exchange`, `refresh`, `client_credentials`, `jwt_bearer`, `token_exchange`, `device_authorization`, `device_token` and `revocation`, each an object of names and values | empty |
//! | `response_members` | object of `access_token`, `token_type`, `expires_in`, `expires_at`, `refresh_token`, `refresh_token_expires_in`, `refresh_token_expires_at` and `scope`, and the paths of these members | the same names |
//! | `lifetime_unit` | `seconds` or `milliseconds`, also of times that are numbers | `seconds` |
//! | `accepted_token_types` | list of texts | empty: only `Bearer` |
//! | `token_rejections` | list of objects with `status` (400 to 499) and optionally `error` | empty: only a 401 |
//! | `refusals` | list of objects with `meaning` (`dead`, `not_dead` or `transient`), `members` (object of paths and texts; `*` at the start or end of a text stands for anything) and optionally `status` | empty |
//! | `access_token_lifetime` | whole seconds or `never` | unknown |
//! | `refresh_token_lifetime` | whole seconds | unknown |
//! | `refresh_window` | object with `earliest` (at least 1) and `latest` (less than `earliest`), both in whole seconds before the end of the access token | any time |
//! | `reuse_grace` | whole seconds | none |
//! | `propagation_delay` | whole seconds, at most 60 | 5 |
//!
//! An unknown field or a wrong value is an error that begins with its path:
//!
//! ```
//! # use tower_oauth2_client::provider::Provider;
//! let file = r#"{
//!     "token_endpoint": "https://id.example.com/token",
//!     "refusals": [{ "meaning": "dead", "members": { "error": "*" } }]
//! }"#;
//! let error = serde_json::from_str::<Provider>(file).unwrap_err();
//! assert!(error.to_string().starts_with("refusals[0].members.error: "));
//! ```
//!
//! # Refusals
//!
//! RFC 6749 has one code for the end of a grant, `invalid_grant`. Some providers have another one,
//! with or without an error status, and some use `invalid_grant` for something else. The
//! [refusals](Refusal) of a provider say what its responses mean:
//!
//! | meaning | the grant | the next refresh |
//! | --- | --- | --- |
//! | [`Dead`](RefusalMeaning::Dead) | ends, and [`reauthorization_required`](crate::telemetry::GrantListener::reauthorization_required) is called | none, until a new consent |
//! | [`NotDead`](RefusalMeaning::NotDead) | stays | after 5 to 10 minutes |
//! | [`Transient`](RefusalMeaning::Transient) | stays | after the [backoff](crate::cache#failures) of an outage |
//! | none matches, and the code is unknown | stays; the response counts as [lost](crate::oauth#outcomes-of-a-token-request) | as after a lost response |
//!
//! A grant that is refused for a while, but not with the meaning `Dead` or `Transient`, becomes
//! [stuck](crate::cache#stuck-grants).
//!
//! # Requests and responses
//!
//! Many providers differ from RFC 6749 in a name, a place or an encoding. This one takes JSON with
//! a name of its own for the client, sends the code as `auth_code`, nests the tokens, and revokes a
//! grant by a `DELETE`:
//!
//! ```
//! use tower_oauth2_client::provider::{Provider, TokenMember};
//!
//! let file = r#"{
//!     "token_endpoint": "https://id.example.com/token",
//!     "authorization_endpoint": "https://id.example.com/authorize",
//!     "client_authentication": "request_body",
//!     "request_format": "json",
//!     "parameter_names": { "client_id": "client_key" },
//!     "code_parameter": "auth_code",
//!     "response_members": {
//!         "access_token": "data.access_token",
//!         "refresh_token": "data.refresh_token",
//!         "refresh_token_expires_in": "data.refresh_expires_in"
//!     },
//!     "lifetime_unit": "milliseconds",
//!     "revocation_endpoint": "https://id.example.com/refresh-tokens/{token}",
//!     "revocation_request": {
//!         "method": "DELETE",
//!         "parameter": "",
//!         "token": "refresh",
//!         "authentication": "none"
//!     }
//! }"#;
//! let provider: Provider = serde_json::from_str(file)?;
//! assert_eq!(provider.response_member(TokenMember::AccessToken), "data.access_token");
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! * The values of a token or revocation request in JSON are all texts.
//! * A member with a path is read there only. A token of the same name at another place is not
//!   used, because it may be that of a bot.
//! * The lifetime of a refresh token is read like that of an access token: a number or a text, from
//!   when the request was sent. Zero, a negative one, and one of more than 100 years are none. It
//!   wins over `refresh_token_lifetime`.
//! * A revocation request without anything in its body has no body. With `{token}` in the URL, the
//!   token may end in the logs of servers and proxies.
//!
//! # Kept values
//!
//! Providers say more about a grant than its tokens: which account it is of, or where its API is.
//! The [kept values](ProviderBuilder::kept_value) that the data name are stored and encrypted with
//! the grant, and [`TokenSet::values`](crate::token::TokenSet::values) has them. Each name has one
//! source, so that no source replaces the value of another one.
//!
//! | source | the value | if it does not match its pattern, or is too large |
//! | --- | --- | --- |
//! | [`Connect`](ValueSource::Connect) | passed to [`authorization_url_with`](crate::oauth::OAuthClient::authorization_url_with), or returned by `ConnectHandler::connect_values`: at most 1 KiB in total | an error at the start |
//! | [`Callback`](ValueSource::Callback) | a parameter of the callback, which may occur once. It comes through the browser, which may have changed it | an error before the code is sent |
//! | [`Response`](ValueSource::Response) | a member of a token response: a string as text, and any other value as JSON | is left out, and the event [`endpoint.value_dropped`](crate::telemetry) names it. An earlier value stays |
//!
//! A value that is missing, or a member that is `null` or blank, is an error only where an address
//! needs it. A refresh replaces the values of the response, and keeps all others. A new consent
//! replaces all values, unless it [keeps the refresh
//! token](crate::token::ConsentDecision::KeepRefreshToken) of the stored grant.
//!
//! A grant keeps up to 16 values, with 8 KiB of names and values in total. If there is no room for
//! all, those of the program and the callback come first, and then those of the response in the
//! order of their names.
//!
//! # Addresses per tenant
//!
//! The addresses of some providers differ from customer to customer. A URL may contain variables in
//! braces: names of [kept values](ProviderBuilder::kept_value), which the program passes when a
//! customer connects, or which come from the callback or from a token response.
//!
//! ```
//! use tower_oauth2_client::{
//!     provider::{KeptValue, Provider, ValueSource},
//!     token::{AccessToken, TokenSet},
//! };
//!
//! let provider = Provider::builder("https://{shop}.myshopify.com/admin/oauth/access_token")
//!     .authorization_endpoint("https://{shop}.myshopify.com/admin/oauth/authorize")
//!     .api_origin("https://{shop}.myshopify.com")
//!     .kept_value("shop", KeptValue::new(ValueSource::Connect).pattern("[a-z0-9][a-z0-9-]*"))
//!     .build()?;
//!
//! # let now = std::time::SystemTime::UNIX_EPOCH;
//! let tokens = TokenSet::new(AccessToken::new("a1")?, None, now).with_value("shop", "acme");
//! let origins = provider.tenant_origins(tokens.values())?;
//! assert_eq!(origins, ["https://acme.myshopify.com".parse()?]);
//!
//! let forged = tokens.with_value("shop", "evil.example/");
//! assert!(provider.tenant_origins(forged.values()).is_err());
//! # Ok::<(), tower_oauth2_client::Error>(())
//! ```
//!
//! A forged callback must not choose where a token goes (RFC 9700 section 4.4). So each value in a
//! URL needs a pattern, a regular expression that the whole value has to match. If the pattern has
//! a group, the URL gets the text of the group. A pattern is rejected
//!
//! * if it matches everything, or permits other characters in a URL than letters, digits and
//!   `- . _ ~`;
//! * if the value ends the host of a URL, and neither the URL nor the pattern ends with a domain of
//!   two labels, such as `.example.com`, nor spells the whole host out. For software that customers
//!   host themselves, [`any_host`](KeptValue::any_host) permits a host that the program has
//!   checked.
//!
//! A value is compared with its pattern when it arrives, and again whenever an address is made of
//! it. If a stored value does not match any more, the requests of that tenant fail with the kind
//! [`KeptValue`](crate::ErrorKind::KeptValue), and those of the others continue.

mod address;
mod builder;
pub mod catalog;
mod data;
mod definition;
mod endpoint;
mod format;
mod justworks;
mod kept_value;
mod lifetime;
mod parameter_names;
mod pattern;
mod refusal;
mod request_parameters;
mod revocation;
mod template;
mod wire;
mod wire_checks;
mod wire_settings;

pub use self::{
    builder::ProviderBuilder,
    definition::Provider,
    endpoint::Endpoint,
    justworks::justworks,
    kept_value::{KeptValue, ValueSource},
    refusal::{Refusal, RefusalMeaning},
    request_parameters::RequestKind,
    revocation::{RevocationAuthentication, RevocationMethod, RevocationRequest, RevokedToken},
    wire::{
        BodyFormat, ClientAuthentication, EndpointKind, IssuerCheck, LifetimeUnit, ResponseMode,
        TokenHeader, TokenMember,
    },
};
pub(crate) use self::{
    definition::encoded, endpoint::with_query, parameter_names::ParameterNames,
    request_parameters::RequestParameters,
};
pub use crate::rejection::TokenRejection;
