//! One secret as text that opens in one place alone.
//!
//! An envelope is `tow1.<key id>.<base64url>`: the nonce, the secret's bytes encrypted, and the tag. It is visible ASCII, so
//! it can stand wherever a token can. Where it belongs is not in it, but is authenticated with it.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chacha20poly1305::{AeadInOut as _, KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::key::{EncryptionKey, EncryptionKeys, fill, is_id};
use crate::{
    error::{Error, ErrorKind},
    token::{Generation, TenantId},
};

/// What every envelope begins with, of whatever version: this, a number, and a dot.
const MARK: &str = "tow";
const PREFIX: &str = "tow1.";
const FORMAT: &str = "tower-oauth2-client/envelope/1";

const NONCE: usize = 24;
const TAG: usize = 16;

/// Where a secret belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) client: &'a str,
    pub(super) tenant: &'a TenantId,
    pub(super) generation: Generation,
    pub(super) field: Field,
}

/// Which of a grant's secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    AccessToken,
    RefreshToken,
}

/// Encrypts a secret for its place, under a nonce of its own.
pub(super) fn seal(key: &EncryptionKey, place: Place<'_>, secret: &str) -> Result<String, Error> {
    let mut nonce = [0; NONCE];
    fill(&mut nonce)?;
    seal_with(key, place, secret, nonce)
}

fn seal_with(
    key: &EncryptionKey,
    place: Place<'_>,
    secret: &str,
    nonce: [u8; NONCE],
) -> Result<String, Error> {
    // Room for all of it, so that the secret is never left behind in a smaller buffer.
    let mut body = Zeroizing::new(Vec::with_capacity(NONCE + secret.len() + TAG));
    body.extend_from_slice(&nonce);
    body.extend_from_slice(secret.as_bytes());
    let (_, text) = body.split_at_mut(NONCE);
    let tag = cipher(key)
        .encrypt_inout_detached(&XNonce::from(nonce), &place.bytes(key.id()), text.into())
        .map_err(|_| place.fails("is too long to be encrypted: ask the provider what it sent"))?;
    body.extend_from_slice(&tag);
    let mut envelope = format!("{PREFIX}{}.", key.id());
    BASE64_URL_SAFE_NO_PAD.encode_string(&*body, &mut envelope);
    Ok(envelope)
}

/// Decrypts what [`seal`] made for the same place.
pub(super) fn open(
    keys: &EncryptionKeys,
    place: Place<'_>,
    envelope: &str,
) -> Result<Zeroizing<String>, Error> {
    if !is_envelope(envelope) {
        return Err(place.fails(
            "is not encrypted: a grant from before encryption is read with `accept_plaintext(true)`, \
             and then only if none of its tokens is encrypted",
        ));
    }
    if !envelope.starts_with(PREFIX) {
        return Err(place.fails(
            "is encrypted in another version of the format: read it with the version of this crate that wrote it",
        ));
    }
    let cut = || {
        place
            .fails("is damaged: restore it, or remove the grant and let the customer consent again")
    };
    let id = key_id(envelope).ok_or_else(cut)?;
    let body = envelope.rsplit('.').next().unwrap_or_default();
    let mut body = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(body).map_err(|_| cut())?);
    let (nonce, rest) = body.split_first_chunk_mut::<NONCE>().ok_or_else(cut)?;
    let (text, tag) = rest.split_last_chunk_mut::<TAG>().ok_or_else(cut)?;
    let key = keys.find(id).ok_or_else(|| {
        place.fails(format_args!(
            "is encrypted with the key \"{id}\", which is not among those given: add it to them"
        ))
    })?;
    cipher(key)
        .decrypt_inout_detached(
            &XNonce::from(*nonce),
            &place.bytes(id),
            (&mut *text).into(),
            &Tag::from(*tag),
        )
        .map_err(|_| {
            place.fails(format_args!(
                "cannot be decrypted with the key \"{id}\": it was damaged, or moved from another tenant, client or \
                 generation, or the key is another one of that name; restore it, or remove the grant and let the customer \
                 consent again"
            ))
        })?;
    let secret = str::from_utf8(text).map_err(|_| cut())?;
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

fn cipher(key: &EncryptionKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.bytes().into())
}

impl Place<'_> {
    /// What is authenticated: each part after its length, so that no two places have the same bytes.
    fn bytes(self, key_id: &str) -> Vec<u8> {
        let generation = self.generation.as_u64().to_be_bytes();
        let mut bytes = Vec::new();
        for part in [
            FORMAT.as_bytes(),
            key_id.as_bytes(),
            self.client.as_bytes(),
            self.tenant.as_str().as_bytes(),
            &generation,
            self.field.name().as_bytes(),
        ] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }

    pub(super) fn fails(self, how: impl fmt::Display) -> Error {
        let message = format!(
            "the stored {} of tenant {:?}, generation {}, {how}",
            self.field.name(),
            self.tenant.as_str(),
            self.generation,
        );
        Error::new(ErrorKind::Store, message)
    }
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::AccessToken => "access token",
            Self::RefreshToken => "refresh token",
        }
    }
}

#[cfg(test)]
mod tests;
