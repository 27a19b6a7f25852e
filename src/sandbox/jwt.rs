//! JSON Web Tokens before their signature is verified: client assertions, assertions as grants, and
//! DPoP proofs.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::DeserializeOwned;

/// A token in the compact serialization (RFC 7515, section 7.1).
pub(super) struct Jwt<'a, H, C> {
    pub(super) header: H,
    pub(super) claims: C,
    /// Header and payload as they were signed.
    pub(super) input: &'a str,
    pub(super) signature: Vec<u8>,
}

/// Why a text is no such token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// It is not three parts in base64url.
    Parts,
    /// The header is not JSON with the members of `H`.
    Header,
    /// The payload is not JSON with the members of `C`.
    Claims,
}

impl<'a, H: DeserializeOwned, C: DeserializeOwned> Jwt<'a, H, C> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Malformed> {
        let (input, signature) = text.rsplit_once('.').ok_or(Malformed::Parts)?;
        let (header, payload) = input.split_once('.').ok_or(Malformed::Parts)?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed::Parts);
        let (header, payload) = (decoded(header)?, decoded(payload)?);
        Ok(Self {
            header: serde_json::from_slice(&header).map_err(|_| Malformed::Header)?,
            claims: serde_json::from_slice(&payload).map_err(|_| Malformed::Claims)?,
            input,
            signature: decoded(signature)?,
        })
    }
}
