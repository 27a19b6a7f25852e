//! What an exchange returns and a store keeps.
//!
//! * [`TokenSet`]: an access token with its lifetime, and usually a refresh token; what one exchange returns.
//! * [`Grant`]: a customer's consent as a store keeps it: the newest token set, its [`Generation`], and whether the grant
//!   is still good for anything.
//! * [`TenantId`]: whose grant it is.
//!
//! The secrets in them ([`AccessToken`], [`RefreshToken`], …) have no `Display`, print as stars, and are wiped from memory
//! when they are dropped. What leaves the crate's hands (the buffers of an HTTP client, the page cache behind a file) is
//! beyond its reach.

mod encoding;
mod grant;
mod secret;
mod set;

pub use self::{
    encoding::DecodeError,
    grant::{Generation, Grant, GrantState, ReauthorizationReason, TenantId},
    secret::{AccessToken, AuthorizationCode, ClientSecret, CodeVerifier, RefreshToken},
    set::TokenSet,
};
pub(crate) use self::{encoding::tenant_of, secret::wiped};
