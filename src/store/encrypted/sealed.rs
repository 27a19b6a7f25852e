//! A secret as text that opens for the same purpose alone.
//!
//! An envelope is `tow1.<key id>.<base64url>`: the nonce, the secret's bytes encrypted, and the tag. It is visible ASCII, so
//! it can stand wherever a token can, or a cookie's value. What it is for is not in it, but is authenticated with it.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chacha20poly1305::{AeadInOut as _, KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::key::{EncryptionKey, EncryptionKeys, fill, is_id};
use crate::error::Error;

/// What every envelope begins with, of whatever version: this, a number, and a dot.
const MARK: &str = "tow";
const PREFIX: &str = "tow1.";

pub(super) const NONCE: usize = 24;
const TAG: usize = 16;

/// Why an envelope does not open.
#[derive(Debug)]
pub(crate) enum Unopened<'a> {
    /// It is none.
    NotSealed,
    OtherVersion,
    Damaged,
    UnknownKey(&'a str),
    /// By the key of this id: it was changed, or is for another purpose.
    Refused(&'a str),
}

/// A nonce of its own for each envelope.
pub(crate) fn nonce() -> Result<[u8; NONCE], Error> {
    let mut nonce = [0; NONCE];
    fill(&mut nonce)?;
    Ok(nonce)
}

/// Encrypts, and authenticates with it what it is for. `None` if the secret is too long.
pub(crate) fn seal(
    key: &EncryptionKey,
    purpose: &[u8],
    secret: &str,
    nonce: [u8; NONCE],
) -> Option<String> {
    // Room for all of it, so that the secret is never left behind in a smaller buffer.
    let mut body = Zeroizing::new(Vec::with_capacity(NONCE + secret.len() + TAG));
    body.extend_from_slice(&nonce);
    body.extend_from_slice(secret.as_bytes());
    let (_, text) = body.split_at_mut(NONCE);
    let tag = cipher(key)
        .encrypt_inout_detached(&XNonce::from(nonce), purpose, text.into())
        .ok()?;
    body.extend_from_slice(&tag);
    let mut envelope = format!("{PREFIX}{}.", key.id());
    BASE64_URL_SAFE_NO_PAD.encode_string(&*body, &mut envelope);
    Some(envelope)
}

/// Decrypts what [`seal`] made for the same purpose, which may depend on the key's id.
pub(crate) fn open<'a>(
    keys: &EncryptionKeys,
    purpose: impl FnOnce(&str) -> Vec<u8>,
    envelope: &'a str,
) -> Result<Zeroizing<String>, Unopened<'a>> {
    if !is_envelope(envelope) {
        return Err(Unopened::NotSealed);
    }
    if !envelope.starts_with(PREFIX) {
        return Err(Unopened::OtherVersion);
    }
    let id = key_id(envelope).ok_or(Unopened::Damaged)?;
    let body = envelope.rsplit('.').next().unwrap_or_default();
    let body = BASE64_URL_SAFE_NO_PAD.decode(body);
    let mut body = Zeroizing::new(body.map_err(|_| Unopened::Damaged)?);
    let (nonce, rest) = body
        .split_first_chunk_mut::<NONCE>()
        .ok_or(Unopened::Damaged)?;
    let (text, tag) = rest
        .split_last_chunk_mut::<TAG>()
        .ok_or(Unopened::Damaged)?;
    let key = keys.find(id).ok_or(Unopened::UnknownKey(id))?;
    cipher(key)
        .decrypt_inout_detached(
            &XNonce::from(*nonce),
            &purpose(id),
            (&mut *text).into(),
            &Tag::from(*tag),
        )
        .map_err(|_| Unopened::Refused(id))?;
    let secret = str::from_utf8(text).map_err(|_| Unopened::Damaged)?;
    Ok(Zeroizing::new(secret.to_owned()))
}

/// Whether it is an envelope, of this version or of another: then it is not a token that anybody has given out.
pub(super) fn is_envelope(text: &str) -> bool {
    text.strip_prefix(MARK)
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(version, _)| {
            !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// The id of the key that an envelope was made with.
pub(super) fn key_id(envelope: &str) -> Option<&str> {
    let (id, _) = envelope.strip_prefix(PREFIX)?.split_once('.')?;
    is_id(id).then_some(id)
}

/// Each part after its length, so that no two lists of parts have the same bytes.
pub(crate) fn purpose(parts: &[&[u8]]) -> Vec<u8> {
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
