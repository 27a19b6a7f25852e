//! The key of a grant, and the proofs that it signs.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Method, Uri};
use zeroize::Zeroizing;

use super::payload::Claims;
use crate::{
    error::{Error, ErrorKind},
    jose::{Algorithm, Signer as _, SigningKey},
    token::DpopKey,
};

/// A private key that is ready to sign.
pub(crate) struct GrantKey {
    key: DpopKey,
    signing_key: SigningKey,
    /// In base64url, with the dot after it. It contains the public key.
    header: Box<[u8]>,
    ids: Ids,
}

/// Identifiers of proofs: random bytes, so that no other process has the same, and a counter. RFC
/// 9449 section 4.2 asks for 96 bits.
struct Ids {
    prefix: [u8; PREFIX],
    next: AtomicU64,
}

const PREFIX: usize = 12;
/// Of the prefix and a counter in base64url.
const ID: usize = (PREFIX + 8) * 4 / 3 + 1;

/// A signature of ES256 in base64url.
const SIGNATURE: usize = 86;

impl GrantKey {
    /// Creates the key of a new grant.
    pub(crate) fn generate() -> Result<Self, Error> {
        let signing_key = SigningKey::generate_es256().map_err(Error::with_token_unused)?;
        let der = signing_key.to_pkcs8_der()?;
        let length = der.len().saturating_mul(2);
        let mut text = Zeroizing::new(String::with_capacity(length));
        BASE64_URL_SAFE_NO_PAD.encode_string(&*der, &mut text);
        Self::new(DpopKey::from(text), signing_key)
    }

    /// Reads the key of a stored grant.
    pub(crate) fn of(key: &DpopKey) -> Result<Self, Error> {
        // Decoding does not lengthen a text.
        let mut der = Zeroizing::new(Vec::with_capacity(key.expose().len()));
        let signing_key = BASE64_URL_SAFE_NO_PAD
            .decode_vec(key.expose(), &mut der)
            .ok()
            .and_then(|()| SigningKey::from_pkcs8_der(&der).ok())
            .filter(|key| key.algorithm() == Algorithm::Es256);
        let Some(signing_key) = signing_key else {
            return Err(Error::new(
                ErrorKind::Store,
                "the DPoP key of the stored grant is damaged; restore it, or delete the grant and \
                 let the customer consent again",
            )
            .with_token_unused());
        };
        Self::new(key.clone(), signing_key)
    }

    fn new(key: DpopKey, signing_key: SigningKey) -> Result<Self, Error> {
        let public_key = signing_key.required_jwk();
        let header = format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{public_key}}}"#);
        let mut header = BASE64_URL_SAFE_NO_PAD.encode(header);
        header.push('.');
        let mut prefix = [0; PREFIX];
        getrandom::fill(&mut prefix).map_err(|error| {
            let error = Error::new(
                ErrorKind::Interrupted,
                "operating system returned no random bytes: see the source",
            )
            .with_source(error);
            error.with_token_unused()
        })?;
        Ok(Self {
            key,
            signing_key,
            header: header.into_bytes().into(),
            ids: Ids {
                prefix,
                next: AtomicU64::new(0),
            },
        })
    }

    /// The key as it is stored.
    pub(crate) fn key(&self) -> &DpopKey {
        &self.key
    }

    /// The header of a new proof for one request, marked sensitive.
    ///
    /// Fails for a URI without an authority.
    pub(super) fn proof(
        &self,
        method: &Method,
        uri: &Uri,
        now: SystemTime,
        token_hash: Option<&str>,
        nonce: Option<&str>,
    ) -> Result<HeaderValue, Error> {
        if uri.authority().is_none() {
            return Err(Error::new(
                ErrorKind::Request,
                "request URI has no authority; use an absolute URI",
            ));
        }
        let claims = Claims {
            id: &self.ids.next(),
            method,
            uri,
            issued_at: now
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            token_hash,
            nonce,
        };
        let proof = claims.write(|claims| self.signed(claims));
        let value = proof.and_then(|proof| HeaderValue::from_maybe_shared(proof).ok());
        let mut value = value.ok_or_else(|| {
            Error::new(
                ErrorKind::Interrupted,
                "DPoP proof could not be signed; the system may be out of memory",
            )
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Header, claims and signature, in one allocation.
    fn signed(&self, claims: &[u8]) -> Option<Bytes> {
        let encoded = base64::encoded_len(claims.len(), false)?;
        let at_signature = self.header.len().checked_add(encoded)?;
        let length = at_signature.checked_add(1 + SIGNATURE)?;
        let mut proof = Vec::with_capacity(length);
        proof.extend_from_slice(&self.header);
        proof.resize(length, b'.');
        let (input, signature) = proof.split_at_mut_checked(at_signature)?;
        let room = input.get_mut(self.header.len()..)?;
        BASE64_URL_SAFE_NO_PAD.encode_slice(claims, room).ok()?;
        let signed = self.signing_key.sign_es256(input).ok()?;
        let room = signature.get_mut(1..)?;
        BASE64_URL_SAFE_NO_PAD.encode_slice(signed, room).ok()?;
        Some(proof.into())
    }
}

impl Ids {
    fn next(&self) -> [u8; ID] {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0; PREFIX + 8];
        let (prefix, counter) = bytes.split_at_mut(PREFIX);
        prefix.copy_from_slice(&self.prefix);
        counter.copy_from_slice(&number.to_be_bytes());
        let mut id = [b'-'; ID];
        // The lengths are constants that fit.
        let _ = BASE64_URL_SAFE_NO_PAD.encode_slice(bytes, &mut id);
        id
    }
}

impl fmt::Debug for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use serde_json::{Value, json};

    use super::*;

    const AT: u64 = 1_764_000_000;

    fn proof(key: &GrantKey, uri: &str) -> String {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(AT);
        let uri = uri.parse().unwrap();
        let value = key.proof(&Method::GET, &uri, now, Some("h1"), Some("n1"));
        let value = value.unwrap();
        assert!(value.is_sensitive());
        value.to_str().unwrap().to_owned()
    }

    fn decoded(part: &str) -> Value {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    /// Verifies the signature by the public key in the proof, and returns header and claims.
    fn verified(proof: &str) -> (Value, Value) {
        let (input, signature) = proof.rsplit_once('.').unwrap();
        let (header, claims) = input.split_once('.').unwrap();
        let (header, claims) = (decoded(header), decoded(claims));
        let mut point = vec![4];
        for coordinate in ["x", "y"] {
            let text = header["jwk"][coordinate].as_str().unwrap();
            point.extend(BASE64_URL_SAFE_NO_PAD.decode(text).unwrap());
        }
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(input.as_bytes(), &signature)
            .unwrap();
        (header, claims)
    }

    #[test]
    fn proof_is_verified_by_the_public_key_in_it() {
        let key = GrantKey::generate().unwrap();
        for length in [0, 1, 2, 3, 100, 1_000, 60_000] {
            let uri = format!("https://api.example.com/{}", "a".repeat(length));
            let proof = proof(&key, &uri);
            let (header, claims) = verified(&proof);
            assert_eq!(header["typ"], "dpop+jwt");
            assert_eq!(header["alg"], "ES256");
            let jwk = header["jwk"].as_object().unwrap();
            assert_eq!(jwk.keys().collect::<Vec<_>>(), ["crv", "kty", "x", "y"]);
            let id = claims["jti"].clone();
            assert_eq!(
                claims,
                json!({
                    "jti": id, "htm": "GET", "htu": uri, "iat": AT, "ath": "h1", "nonce": "n1",
                })
            );
        }
    }

    #[test]
    fn stored_key_makes_proofs_of_the_same_key() {
        let key = GrantKey::generate().unwrap();
        let stored = GrantKey::of(key.key()).unwrap();
        assert_eq!(stored.key(), key.key());
        let jwk = |key| verified(&proof(key, "https://a.example/")).0["jwk"].clone();
        assert_eq!(jwk(&stored), jwk(&key));
        assert_ne!(jwk(&GrantKey::generate().unwrap()), jwk(&key));
    }

    #[test]
    fn each_proof_has_an_identifier_of_its_own() {
        let key = GrantKey::generate().unwrap();
        let keys = [&key, &GrantKey::of(key.key()).unwrap()];
        let ids = keys.iter().flat_map(|key| (0..100).map(|_| key.ids.next()));
        let ids: BTreeSet<_> = ids.collect();
        assert_eq!(ids.len(), 200);
        assert!(ids.iter().flatten().all(u8::is_ascii_graphic));
    }

    #[test]
    fn damaged_key_is_an_error_that_does_not_show_it() {
        let rsa_free = SigningKey::from_pkcs8_der(b"seeded").unwrap_err();
        assert_eq!(rsa_free.kind(), ErrorKind::Configuration);
        let whole = GrantKey::generate().unwrap();
        let whole = whole.key().expose();
        for damaged in ["", "seeded", "+/+/", &whole[1..], &whole[..whole.len() - 4]] {
            let error = GrantKey::of(&DpopKey::new(damaged)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Store);
            assert!(error.is_token_unused());
            assert!(damaged.is_empty() || !format!("{error} {error:?}").contains(damaged));
        }
    }

    #[test]
    fn p21_debug_output_contains_no_key() {
        let key = GrantKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "GrantKey(***)");
    }

    #[test]
    fn request_without_an_authority_has_no_proof() {
        let key = GrantKey::generate().unwrap();
        let uri = Uri::from_static("/relative");
        let error = key.proof(&Method::GET, &uri, SystemTime::UNIX_EPOCH, None, None);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Request);
    }
}
