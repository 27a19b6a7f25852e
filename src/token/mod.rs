//! Tokens, token sets, and grants as stores keep them.
//!
//! * [`TokenSet`]: the content of one token response, an access token with its lifetime and usually
//!   a refresh token.
//! * [`Grant`]: a customer's consent as a store keeps it, with the newest token set, its
//!   [`Generation`] and its [state](GrantState).
//! * [`ClientIdentity`]: the client that a grant was issued to, at which token endpoint.
//! * [`History`]: the last events of a grant, for diagnosis.
//! * [`ConsentDecision`]: whether a new consent is stored.
//! * [`NamedValues`]: what else a provider sends, and which of it is kept with a grant.
//! * [`TenantId`]: the customer that a grant belongs to.
//!
//! Secrets ([`AccessToken`], [`RefreshToken`], …) have no `Display`, print as stars in `Debug`, and
//! are wiped from memory when dropped. So are the buffers in which this crate reads, writes,
//! encodes and encrypts them, also when a buffer grows. Copies in the memory of others are not
//! wiped: the buffers of an HTTP client, the commands and rows of the PostgreSQL and Redis
//! libraries, and the page cache behind a file.

mod buffer;
mod consent;
mod encoding;
mod error;
mod grant;
mod history;
mod identity;
mod kept_values;
mod named_values;
mod of_tenant;
mod reauthorization_reason;
mod secret;
mod set;

pub(crate) use self::{
    buffer::{SecretBuffer, form_decoded, unescaped},
    encoding::tenant_of,
    identity::{UnreadableGrant, digest},
    named_values::{MAX_KEPT_BYTES, MAX_KEPT_VALUES},
    of_tenant::OfTenant,
    secret::wiped,
    set::LONGEST_LIFETIME,
};
pub use self::{
    consent::ConsentDecision,
    encoding::DecodeError,
    grant::{Generation, Grant, GrantState, TenantId},
    history::{Failure, History, HistoryEntry, HistoryEvent},
    identity::ClientIdentity,
    kept_values::KeptValues,
    named_values::NamedValues,
    reauthorization_reason::ReauthorizationReason,
    secret::{
        AccessToken, Assertion, AuthorizationCode, ClientSecret, CodeVerifier, DpopKey,
        RefreshToken,
    },
    set::TokenSet,
};
