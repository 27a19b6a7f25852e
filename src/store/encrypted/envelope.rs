//! One secret of a grant, sealed for one place alone.

use std::fmt;

use zeroize::Zeroizing;

use super::{
    key::{EncryptionKey, EncryptionKeys},
    sealed::{self, NONCE, Unopened},
};
use crate::{
    error::{Error, ErrorKind},
    token::{Generation, TenantId},
};

const FORMAT: &str = "tower-oauth2-client/envelope/1";

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
    seal_with(key, place, secret, sealed::nonce()?)
}

fn seal_with(
    key: &EncryptionKey,
    place: Place<'_>,
    secret: &str,
    nonce: [u8; NONCE],
) -> Result<String, Error> {
    sealed::seal(key, &place.bytes(key.id()), secret, nonce)
        .ok_or_else(|| place.fails("is too long to be encrypted: ask the provider what it sent"))
}

/// Decrypts what [`seal`] made for the same place.
pub(super) fn open(
    keys: &EncryptionKeys,
    place: Place<'_>,
    envelope: &str,
) -> Result<Zeroizing<String>, Error> {
    sealed::open(keys, |id| place.bytes(id), envelope).map_err(|why| match why {
        Unopened::NotSealed => place.fails(
            "is not encrypted: a grant from before encryption is read with `accept_plaintext(true)`, \
             and then only if none of its tokens is encrypted",
        ),
        Unopened::OtherVersion => place.fails(
            "is encrypted in another version of the format: read it with the version of this crate that wrote it",
        ),
        Unopened::Damaged => place.fails(
            "is damaged: restore it, or remove the grant and let the customer consent again",
        ),
        Unopened::UnknownKey(id) => place.fails(format_args!(
            "is encrypted with the key \"{id}\", which is not among those given: add it to them"
        )),
        Unopened::Refused(id) => place.fails(format_args!(
            "cannot be decrypted with the key \"{id}\": it was damaged, or moved from another tenant, client or \
             generation, or the key is another one of that name; restore it, or remove the grant and let the customer \
             consent again"
        )),
    })
}

impl Place<'_> {
    /// What is authenticated: no two places have the same bytes.
    fn bytes(self, key_id: &str) -> Vec<u8> {
        let generation = self.generation.as_u64().to_be_bytes();
        sealed::purpose(&[
            FORMAT.as_bytes(),
            key_id.as_bytes(),
            self.client.as_bytes(),
            self.tenant.as_str().as_bytes(),
            &generation,
            self.field.name().as_bytes(),
        ])
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
