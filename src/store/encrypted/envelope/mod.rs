//! Envelopes of tokens, each bound to its grant.

use std::fmt;

use zeroize::Zeroizing;

use super::{
    key::{EncryptionKey, EncryptionKeys},
    sealed::{self, NONCE, OpenError},
};
use crate::{
    error::{Error, ErrorKind},
    token::{ClientIdentity, Generation, OfTenant, TenantId},
};

/// Of the envelopes in grants without an identity.
const FORMAT: &str = "tower-oauth2-client/envelope/1";
/// Of the envelopes in grants with an identity.
const FORMAT_WITH_IDENTITY: &str = "tower-oauth2-client/envelope/2";

/// The grant and the field that an envelope is bound to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binding<'a> {
    pub(super) client: &'a str,
    pub(super) tenant: &'a TenantId,
    pub(super) identity: Option<&'a ClientIdentity>,
    pub(super) generation: Generation,
    pub(super) field: Field<'a>,
}

/// The kind of token, the name of a kept value, or the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    AccessToken,
    RefreshToken,
    Value(&'a str),
    DpopKey,
}

/// Encrypts a token with a new nonce.
pub(super) fn seal(
    key: &EncryptionKey,
    binding: Binding<'_>,
    secret: &str,
) -> Result<String, Error> {
    seal_with(key, binding, secret, sealed::nonce()?)
}

fn seal_with(
    key: &EncryptionKey,
    binding: Binding<'_>,
    secret: &str,
    nonce: [u8; NONCE],
) -> Result<String, Error> {
    sealed::seal(key, &binding.bytes(key.id()), secret, nonce).ok_or_else(|| {
        binding.fails("cannot be encrypted: it is too long; check the provider's token response")
    })
}

/// Decrypts an envelope that [`seal`] made with the same binding.
pub(super) fn open(
    keys: &EncryptionKeys,
    binding: Binding<'_>,
    envelope: &str,
) -> Result<Zeroizing<String>, Error> {
    sealed::open(keys, |id| binding.bytes(id), envelope).map_err(|why| match why {
        OpenError::NotSealed => binding.fails(
            "is not encrypted; to read grants from before encryption, use \
             `accept_plaintext(true)`, which requires that none of the grant's tokens is encrypted",
        ),
        OpenError::OtherVersion => binding.fails(
            "cannot be decrypted: it has another version of the format; use the version of this \
             crate that wrote it",
        ),
        OpenError::Damaged => binding.fails(
            "cannot be decrypted: it is damaged; restore it, or delete the grant and let the \
             customer consent again",
        ),
        OpenError::UnknownKey(id) => binding.fails(format_args!(
            "cannot be decrypted: the key \"{id}\" is missing; add it by `with_decryption_key`"
        )),
        OpenError::Refused(id) => binding.fails(format_args!(
            "cannot be decrypted with the key \"{id}\" of this process; if other grants cannot be \
             decrypted either, this is not the key \"{id}\" that encrypted them, or the store has \
             another client name: correct that, and delete nothing; if they can, this one is \
             damaged, or moved from another tenant, client, identity or generation: restore it, or \
             delete it and let the customer consent again"
        )),
    })
}

impl Binding<'_> {
    /// The authenticated bytes, unique to the binding.
    fn bytes(self, key_id: &str) -> Vec<u8> {
        let generation = self.generation.as_u64().to_be_bytes();
        let common: [&[u8]; 5] = [
            key_id.as_bytes(),
            self.client.as_bytes(),
            self.tenant.as_str().as_bytes(),
            &generation,
            self.field.name().as_bytes(),
        ];
        let mut parts = Vec::new();
        match self.identity {
            None => parts.push(FORMAT.as_bytes()),
            Some(identity) => {
                parts.push(FORMAT_WITH_IDENTITY.as_bytes());
                parts.extend(identity.parts().map(str::as_bytes));
            }
        }
        parts.extend(common);
        if let Field::Value(name) = self.field {
            parts.push(name.as_bytes());
        }
        sealed::associated_data(&parts)
    }

    pub(super) fn fails(self, detail: impl fmt::Display) -> Error {
        let message = format!(
            "the stored {} of generation {} {detail} (tenant in the error source)",
            self.field.name(),
            self.generation,
        );
        Error::new(ErrorKind::Store, message).with_source(OfTenant::new(self.tenant, None))
    }
}

impl Field<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::AccessToken => "access token",
            Self::RefreshToken => "refresh token",
            Self::Value(_) => "kept value",
            Self::DpopKey => "DPoP key",
        }
    }
}

#[cfg(test)]
mod tests;
