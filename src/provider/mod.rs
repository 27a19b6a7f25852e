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
//! # Provider files
//!
//! A [`Provider`] implements `Serialize` and `Deserialize`, so that a program can load its
//! providers from a file in any format that serde supports. The fields have the names of the
//! builder's methods; a setting that can be added several times has its name in the plural. A
//! missing field has the default of the builder. New fields may be added, and the meaning of an
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
//! | `authorization_endpoint`, `revocation_endpoint`, `issuer` | URL | none |
//! | `api_origins` | list of URLs, of which only scheme, host and port count | empty |
//! | `client_authentication` | `basic`, `basic_raw`, `request_body` or `none` | `basic` |
//! | `pkce` | true or false | true |
//! | `response_mode` | `query` or `form_post` | `query` |
//! | `scope_separator` | `" "` or `","` | `" "` |
//! | `request_parameters` | `authorization`, `code_exchange`, `refresh`, `client_credentials` and `revocation`, each an object of names and values | empty |
//! | `accepted_token_types` | list of texts | empty: only `Bearer` |
//! | `token_rejections` | list of objects with `status` (400 to 499) and optionally `error` | empty: only a 401 |
//! | `refusals` | list of objects with `meaning` (`dead`, `not_dead` or `transient`), `members` (object of paths and values) and optionally `status` | empty |
//! | `access_token_lifetime`, `refresh_token_lifetime` | whole seconds | unknown |
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

mod builder;
mod data;
mod definition;
mod endpoint;
mod format;
mod justworks;
mod refusal;
mod request_parameters;

pub(crate) use self::request_parameters::RequestParameters;
pub use self::{
    builder::ProviderBuilder,
    definition::{ClientAuthentication, Provider, ResponseMode},
    endpoint::Endpoint,
    justworks::justworks,
    refusal::{Refusal, RefusalMeaning},
    request_parameters::RequestKind,
};
pub use crate::rejection::TokenRejection;
