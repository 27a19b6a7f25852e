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

mod builder;
mod definition;
mod endpoint;
mod justworks;

pub use self::{
    builder::ProviderBuilder,
    definition::{ClientAuthentication, Provider},
    endpoint::Endpoint,
    justworks::justworks,
};
pub use crate::rejection::TokenRejection;
