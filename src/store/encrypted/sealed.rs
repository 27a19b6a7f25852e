//! Authenticated encryption of a secret, as text.
//!
//! An envelope is `tow1.<key id>.<base64url>`: the nonce, the encrypted secret, and the tag. It
//! consists of visible ASCII, so it fits wherever a token or a cookie value does. The associated
//! data is authenticated but not part of the envelope.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chacha20poly1305::{AeadInOut as _, KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::key::{EncryptionKey, EncryptionKeys, fill, is_id};
use crate::error::Error;

/// Envelopes of every version start with this, a number and a dot.
const MAGIC: &str = "tow";
const PREFIX: &str = "tow1.";

pub(super) const NONCE: usize = 24;
const TAG: usize = 16;

/// Why an envelope cannot be opened.
#[derive(Debug)]
pub(crate) enum OpenError<'a> {
    /// The text is not an envelope.
    NotSealed,
    OtherVersion,
    Damaged,
    UnknownKey(&'a str),
    /// Authentication failed with the key of this id: envelope or associated data have changed.
    Refused(&'a str),
}

/// Returns a random nonce.
pub(crate) fn nonce() -> Result<[u8; NONCE], Error> {
    let mut nonce = [0; NONCE];
    fill(&mut nonce)?;
    Ok(nonce)
}

/// Encrypts a secret. Returns `None` if it is too long.
pub(crate) fn seal(
    key: &EncryptionKey,
    associated_data: &[u8],
    secret: &str,
    nonce: [u8; NONCE],
) -> Option<String> {
    // Large enough from the start: a vector that grows does not wipe its old buffer.
    let mut body = Zeroizing::new(Vec::with_capacity(NONCE + secret.len() + TAG));
    body.extend_from_slice(&nonce);
    body.extend_from_slice(secret.as_bytes());
    let (_, text) = body.split_at_mut(NONCE);
    let tag = cipher(key)
        .encrypt_inout_detached(&XNonce::from(nonce), associated_data, text.into())
        .ok()?;
    body.extend_from_slice(&tag);
    let mut envelope = format!("{PREFIX}{}.", key.id());
    BASE64_URL_SAFE_NO_PAD.encode_string(&*body, &mut envelope);
    Some(envelope)
}

/// Decrypts an envelope that [`seal`] made with the same associated data, which may depend on the
/// key's id.
pub(crate) fn open<'a>(
    keys: &EncryptionKeys,
    associated_data: impl FnOnce(&str) -> Vec<u8>,
    envelope: &'a str,
) -> Result<Zeroizing<String>, OpenError<'a>> {
    if !is_envelope(envelope) {
        return Err(OpenError::NotSealed);
    }
    if !envelope.starts_with(PREFIX) {
        return Err(OpenError::OtherVersion);
    }
    let id = key_id(envelope).ok_or(OpenError::Damaged)?;
    let body = envelope.rsplit('.').next().unwrap_or_default();
    let body = BASE64_URL_SAFE_NO_PAD.decode(body);
    let mut body = Zeroizing::new(body.map_err(|_| OpenError::Damaged)?);
    let (nonce, rest) = body
        .split_first_chunk_mut::<NONCE>()
        .ok_or(OpenError::Damaged)?;
    let (text, tag) = rest
        .split_last_chunk_mut::<TAG>()
        .ok_or(OpenError::Damaged)?;
    let key = keys.find(id).ok_or(OpenError::UnknownKey(id))?;
    cipher(key)
        .decrypt_inout_detached(
            &XNonce::from(*nonce),
            &associated_data(id),
            (&mut *text).into(),
            &Tag::from(*tag),
        )
        .map_err(|_| OpenError::Refused(id))?;
    let secret = str::from_utf8(text).map_err(|_| OpenError::Damaged)?;
    Ok(Zeroizing::new(secret.to_owned()))
}

/// Whether the text is an envelope of any version. No provider issues such a token.
pub(super) fn is_envelope(text: &str) -> bool {
    text.strip_prefix(MAGIC)
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(version, _)| {
            !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// The id of the envelope's key.
pub(super) fn key_id(envelope: &str) -> Option<&str> {
    let (id, _) = envelope.strip_prefix(PREFIX)?.split_once('.')?;
    is_id(id).then_some(id)
}

/// Concatenates the parts, each after its length, so that different lists have different bytes.
pub(crate) fn associated_data(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

fn cipher(key: &EncryptionKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.bytes().into())
}
