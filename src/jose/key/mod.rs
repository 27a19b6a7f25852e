//! Keys in memory.

use std::{error::Error as StdError, fmt};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
        ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
        KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
        RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac_sha256::Hash as Sha256;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Algorithm, Signer};
use crate::error::{Error, ErrorKind};

/// A private key in memory: a [`Signer`] for RSA, ECDSA and Ed25519.
///
/// ```
/// use tower_oauth2_client::jose::{Algorithm, SigningKey};
///
/// let key = SigningKey::generate_es256()?;
/// // Register this JSON Web Key Set at the provider.
/// let key_set = format!(r#"{{"keys":[{}]}}"#, key.public_jwk());
///
/// // Keep the key where secrets are kept, and load it when the program starts.
/// let pem = key.to_pem()?;
/// let loaded = SigningKey::from_pem(&pem)?;
/// assert_eq!(loaded.public_jwk(), key.public_jwk());
/// # assert!(key_set.contains(r#""alg":"ES256""#));
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
///
/// `Debug` does not print the private key, which is wiped from memory when it is dropped. A
/// signature takes about 20 microseconds with ECDSA or Ed25519, and about a millisecond with RSA.
pub struct SigningKey {
    pair: Pair,
    algorithm: Algorithm,
    key_id: Option<String>,
    certificate_thumbprint: Option<String>,
}

enum Pair {
    Rsa(rsa::KeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Generates a key for [`ES256`](Algorithm::Es256).
    ///
    /// # Errors
    ///
    /// [`Interrupted`](ErrorKind::Interrupted) if the operating system returns no random bytes.
    pub fn generate_es256() -> Result<Self, Error> {
        match EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING) {
            Ok(pair) => Ok(Self::of(Pair::Ecdsa(pair), Algorithm::Es256)),
            Err(error) => Err(Error::new(
                ErrorKind::Interrupted,
                "signing key: could not be generated: see the source",
            )
            .with_source(error)),
        }
    }

    /// Reads the first private key of a PEM text: PKCS #8 (`PRIVATE KEY`), PKCS #1
    /// (`RSA PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`), without a password.
    ///
    /// An RSA key of 2,048 bits or more signs with [`RS256`](Algorithm::Rs256) unless
    /// [`with_algorithm`](Self::with_algorithm) says otherwise. The other keys have one algorithm
    /// each.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) if the text contains no such key.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let mut key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| {
            Error::configuration(
                "signing key: the text contains no private key; pass a PEM file with a section \
                 PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY, without a password",
            )
        })?;
        let pair = match &key {
            PrivateKeyDer::Pkcs8(der) => Pair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => {
                let pair = rsa::KeyPair::from_der(der.secret_pkcs1_der());
                pair.ok().map(|pair| (Pair::Rsa(pair), Algorithm::Rs256))
            }
            PrivateKeyDer::Sec1(der) => Pair::ecdsa(|curve| {
                EcdsaKeyPair::from_private_key_der(curve, der.secret_sec1_der())
            }),
            _ => None,
        };
        key.zeroize();
        Self::of_supported(pair)
    }

    /// Reads a private key in PKCS #8 (DER).
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) as for [`from_pem`](Self::from_pem).
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, Error> {
        Self::of_supported(Pair::from_pkcs8(der))
    }

    /// Sets the algorithm of an RSA key. Every other key has only one.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) if the key cannot be used with the algorithm.
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Result<Self, Error> {
        let is_rsa = matches!(self.pair, Pair::Rsa(_)) && padding(algorithm).is_some();
        if !is_rsa && algorithm != self.algorithm {
            return Err(Error::configuration(format!(
                "signing key: the key cannot sign with {algorithm}; use {} or another key",
                self.algorithm
            )));
        }
        self.algorithm = algorithm;
        Ok(self)
    }

    /// Sets the name under which the provider knows the key. Defaults to none.
    #[must_use]
    pub fn with_key_id(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = Some(key_id.into());
        self
    }

    /// Sets the certificate of the key. Signatures then carry its
    /// [thumbprint](Signer::certificate_thumbprint).
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) if the text contains no certificate.
    pub fn with_certificate_pem(mut self, pem: &str) -> Result<Self, Error> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| {
            Error::configuration(
                "signing key: the text contains no certificate; pass a PEM file with a section \
                 CERTIFICATE",
            )
        })?;
        let thumbprint = BASE64_URL_SAFE_NO_PAD.encode(Sha256::hash(&certificate));
        self.certificate_thumbprint = Some(thumbprint);
        Ok(self)
    }

    /// The private key in PKCS #8, as PEM. Keep it where secrets are kept.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) for an RSA key: keep the file that it came from.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, Error> {
        let der = self.to_pkcs8_der()?;
        let base64 = Zeroizing::new(base64::prelude::BASE64_STANDARD.encode(&*der));
        let length = base64.len().saturating_mul(2).saturating_add(64);
        let mut pem = Zeroizing::new(String::with_capacity(length));
        pem.push_str("-----BEGIN PRIVATE KEY-----\n");
        for line in base64.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|&byte| char::from(byte)));
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        Ok(pem)
    }

    /// The private key in PKCS #8 (DER).
    ///
    /// # Errors
    ///
    /// As for [`to_pem`](Self::to_pem).
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let document = match &self.pair {
            Pair::Ecdsa(pair) => pair.to_pkcs8v1().ok(),
            Pair::Ed25519(pair) => pair.to_pkcs8v1().ok(),
            Pair::Rsa(_) => None,
        };
        document
            .map(|document| Zeroizing::new(document.as_ref().to_vec()))
            .ok_or_else(|| {
                Error::configuration(
                    "signing key: only ECDSA and Ed25519 keys can be written; keep the file that \
                     the key came from",
                )
            })
    }

    /// The public key as a JSON Web Key (RFC 7517), with the algorithm, the use and the key id, for
    /// the registration at the provider.
    #[must_use]
    pub fn public_jwk(&self) -> String {
        let mut jwk = self.public_members();
        jwk.push(("alg", self.algorithm.as_str().to_owned()));
        if let Some(key_id) = &self.key_id {
            jwk.push(("kid", key_id.clone()));
        }
        jwk.push(("use", "sig".to_owned()));
        to_json(&jwk)
    }

    /// The SHA-256 thumbprint of the public key in base64url (RFC 7638).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(Sha256::hash(self.required_jwk().as_bytes()))
    }

    /// The members that RFC 7638 section 3.2 requires, in its order.
    pub(crate) fn required_jwk(&self) -> String {
        to_json(&self.public_members())
    }

    fn public_members(&self) -> Vec<(&'static str, String)> {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                vec![
                    (
                        "e",
                        encode(public.exponent().big_endian_without_leading_zero()),
                    ),
                    ("kty", "RSA".to_owned()),
                    (
                        "n",
                        encode(public.modulus().big_endian_without_leading_zero()),
                    ),
                ]
            }
            Pair::Ecdsa(pair) => {
                // An uncompressed point: 4, x, y (SEC 1 section 2.3.3).
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                let curve = match self.algorithm {
                    Algorithm::Es384 => "P-384",
                    Algorithm::Es512 => "P-521",
                    _ => "P-256",
                };
                vec![
                    ("crv", curve.to_owned()),
                    ("kty", "EC".to_owned()),
                    ("x", encode(x)),
                    ("y", encode(y)),
                ]
            }
            Pair::Ed25519(pair) => vec![
                ("crv", "Ed25519".to_owned()),
                ("kty", "OKP".to_owned()),
                ("x", encode(pair.public_key().as_ref())),
            ],
        }
    }

    /// Signs at once.
    pub(crate) fn sign_now(
        &self,
        message: &[u8],
    ) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding = padding(self.algorithm).ok_or(aws_lc_rs::error::Unspecified)?;
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.try_sign(message)?.as_ref().to_vec()),
        }
    }

    /// Signs at once with ES256, without an allocation of its own.
    #[cfg(feature = "dpop")]
    pub(crate) fn sign_es256(
        &self,
        message: &[u8],
    ) -> Result<[u8; 64], aws_lc_rs::error::Unspecified> {
        match &self.pair {
            Pair::Ecdsa(pair) if self.algorithm == Algorithm::Es256 => {
                let signature = pair.sign(&SystemRandom::new(), message)?;
                let signature = signature.as_ref().try_into();
                signature.map_err(|_| aws_lc_rs::error::Unspecified)
            }
            _ => Err(aws_lc_rs::error::Unspecified),
        }
    }

    fn of_supported(pair: Option<(Pair, Algorithm)>) -> Result<Self, Error> {
        let Some((pair, algorithm)) = pair else {
            return Err(Error::configuration(
                "signing key: the private key is damaged or of another kind; use an RSA key of \
                 2048 bits or more, an EC key on P-256, P-384 or P-521, or an Ed25519 key",
            ));
        };
        Ok(Self::of(pair, algorithm))
    }

    fn of(pair: Pair, algorithm: Algorithm) -> Self {
        Self {
            pair,
            algorithm,
            key_id: None,
            certificate_thumbprint: None,
        }
    }
}

impl Pair {
    fn from_pkcs8(der: &[u8]) -> Option<(Self, Algorithm)> {
        if let Some(pair) = Self::ecdsa(|curve| EcdsaKeyPair::from_pkcs8(curve, der)) {
            return Some(pair);
        }
        if let Ok(pair) = rsa::KeyPair::from_pkcs8(der) {
            return Some((Self::Rsa(pair), Algorithm::Rs256));
        }
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
        Some((Self::Ed25519(pair), Algorithm::EdDsa))
    }

    /// The key on the curve on which it can be read.
    fn ecdsa<E>(
        read: impl Fn(&'static EcdsaSigningAlgorithm) -> Result<EcdsaKeyPair, E>,
    ) -> Option<(Self, Algorithm)> {
        let curves: [(&'static EcdsaSigningAlgorithm, _); 3] = [
            (&ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::Es256),
            (&ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::Es384),
            (&ECDSA_P521_SHA512_FIXED_SIGNING, Algorithm::Es512),
        ];
        curves.into_iter().find_map(|(curve, algorithm)| {
            let pair = read(curve).ok()?;
            Some((Self::Ecdsa(pair), algorithm))
        })
    }
}

impl Signer for SigningKey {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    fn certificate_thumbprint(&self) -> Option<&str> {
        self.certificate_thumbprint.as_deref()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Box<dyn StdError + Send + Sync>> {
        Ok(self.sign_now(message)?)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// The padding of an RSA algorithm.
fn padding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
    Some(match algorithm {
        Algorithm::Rs256 => &RSA_PKCS1_SHA256,
        Algorithm::Rs384 => &RSA_PKCS1_SHA384,
        Algorithm::Rs512 => &RSA_PKCS1_SHA512,
        Algorithm::Ps256 => &RSA_PSS_SHA256,
        Algorithm::Ps384 => &RSA_PSS_SHA384,
        Algorithm::Ps512 => &RSA_PSS_SHA512,
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 | Algorithm::EdDsa => return None,
    })
}

/// A JSON object of texts, in their order and without white space, as thumbprints need it.
fn to_json(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{}:{}", quoted(name), quoted(value)))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
