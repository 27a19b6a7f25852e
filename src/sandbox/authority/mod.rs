//! The authorization server as a state machine without HTTP.
//!
//! `model` is its state. Each other file adds one operation: `consent` decides authorization
//! requests, `pushed` keeps those that were pushed, `code`, `refresh`, `device` and `grants` issue
//! tokens, `access` checks and revokes them, `prune` removes what has long expired, and `overview`
//! describes the state for the status page.

mod access;
mod code;
mod consent;
mod device;
mod grants;
mod model;
mod overview;
mod prune;
mod pushed;
mod refresh;
#[cfg(test)]
mod tests;

pub(super) use self::{
    access::Revocation,
    code::CodeExchange,
    grants::{ACCESS_TOKEN_TYPE, JWT_TYPE, TokenExchange},
    model::{
        Authority, AuthorizationRequest, CodeChallenge, Decision, IssuedTokens, Refusal,
        ResponseMode,
    },
    overview::{GrantOverview, TokenOverview},
};
