//! Public keys of clients, which verify signatures.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

/// The algorithms that are verified.
pub(super) const ALGORITHMS: [&str; 10] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
];

/// A JSON Web Key (RFC 7517), with the members of all types (RFC 7518, section 6).
#[derive(Deserialize)]
pub(super) struct PublicKey {
    kty: String,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl PublicKey {
    pub(super) fn parse(jwk: &str) -> Option<Self> {
        serde_json::from_str(jwk).ok()
    }

    /// Whether the key may verify a signature with this key id and algorithm.
    pub(super) fn fits(&self, kid: Option<&str>, alg: &str) -> bool {
        (kid.is_none() || self.kid.as_deref() == kid)
            && self.alg.as_deref().is_none_or(|own| own == alg)
    }

    /// Whether the signature is that of the message, by this algorithm.
    pub(super) fn verifies(&self, alg: &str, message: &[u8], signature: &[u8]) -> bool {
        let (kty, crv) = (self.kty.as_str(), self.crv.as_deref());
        let verify = |algorithm: &'static dyn VerificationAlgorithm, key: Option<Vec<u8>>| {
            key.is_some_and(|key| {
                let key = UnparsedPublicKey::new(algorithm, key);
                key.verify(message, signature).is_ok()
            })
        };
        match (alg, kty, crv) {
            ("ES256", "EC", Some("P-256")) => verify(&ECDSA_P256_SHA256_FIXED, self.point()),
            ("ES384", "EC", Some("P-384")) => verify(&ECDSA_P384_SHA384_FIXED, self.point()),
            ("ES512", "EC", Some("P-521")) => verify(&ECDSA_P521_SHA512_FIXED, self.point()),
            ("EdDSA", "OKP", Some("Ed25519")) => verify(&ED25519, decoded(self.x.as_ref())),
            (_, "RSA", _) => self.verifies_by_rsa(alg, message, signature),
            _ => false,
        }
    }

    fn verifies_by_rsa(&self, alg: &str, message: &[u8], signature: &[u8]) -> bool {
        let parameters = match alg {
            "RS256" => &RSA_PKCS1_2048_8192_SHA256,
            "RS384" => &RSA_PKCS1_2048_8192_SHA384,
            "RS512" => &RSA_PKCS1_2048_8192_SHA512,
            "PS256" => &RSA_PSS_2048_8192_SHA256,
            "PS384" => &RSA_PSS_2048_8192_SHA384,
            "PS512" => &RSA_PSS_2048_8192_SHA512,
            _ => return false,
        };
        let (Some(n), Some(e)) = (decoded(self.n.as_ref()), decoded(self.e.as_ref())) else {
            return false;
        };
        let key = RsaPublicKeyComponents { n, e };
        key.verify(parameters, message, signature).is_ok()
    }

    /// The point on the curve, uncompressed (SEC 1, section 2.3.3).
    fn point(&self) -> Option<Vec<u8>> {
        let mut point = vec![4];
        point.extend(decoded(self.x.as_ref())?);
        point.extend(decoded(self.y.as_ref())?);
        Some(point)
    }
}

fn decoded(member: Option<&String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(member?).ok()
}
