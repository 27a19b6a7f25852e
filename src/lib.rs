//! Tower middleware for outbound OAuth 2.0 bearer tokens.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub, missing_debug_implementations)]

#[cfg(feature = "sandbox")]
pub mod sandbox;
