//! The authorization server as a state machine without HTTP.
//!
//! `model` is its state. Each other file adds one operation: `consent` decides authorization
//! requests, `code` and `refresh` issue tokens, `access` checks and revokes them, `prune` removes
//! what has long expired, `assertions` and `pushed` keep what works once, and `overview` describes the state for the status page.

mod access;
mod assertions;
mod code;
mod consent;
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
    model::{
        Authority, AuthorizationRequest, CodeChallenge, Decision, IssuedTokens, Refusal,
        ResponseMode,
    },
    overview::{GrantOverview, TokenOverview},
};
