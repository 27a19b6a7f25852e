//! DPoP (RFC 9449): against the sandbox over real HTTP, and against scripted servers.

mod layer;
mod lifecycle;
mod nonces;
mod partner;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
mod token_endpoint;
mod wrong_proofs;
