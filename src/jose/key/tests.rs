use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa::{KeyPair as RsaKeyPair, KeySize, PublicKeyComponents},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
        EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
        RsaParameters, UnparsedPublicKey,
    },
};
use serde_json::Value;

use super::*;

fn pem(section: &str, der: &[u8]) -> String {
    let base64 = base64::prelude::BASE64_STANDARD.encode(der);
    format!("-----BEGIN {section}-----\n{base64}\n-----END {section}-----\n")
}

fn rsa() -> Vec<u8> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    der.as_ref().to_vec()
}

fn member(jwk: &Value, name: &str) -> Vec<u8> {
    let text = jwk[name].as_str().unwrap();
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn jwk(key: &SigningKey) -> Value {
    serde_json::from_str(&key.public_jwk()).unwrap()
}

#[test]
fn ecdsa_signature_is_verified_by_the_published_key() {
    let curves: [(&EcdsaSigningAlgorithm, &EcdsaVerificationAlgorithm, _, _, _); 3] = [
        (
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &ECDSA_P256_SHA256_FIXED,
            "P-256",
            "ES256",
            64,
        ),
        (
            &ECDSA_P384_SHA384_FIXED_SIGNING,
            &ECDSA_P384_SHA384_FIXED,
            "P-384",
            "ES384",
            96,
        ),
        (
            &ECDSA_P521_SHA512_FIXED_SIGNING,
            &ECDSA_P521_SHA512_FIXED,
            "P-521",
            "ES512",
            132,
        ),
    ];
    for (signing, verification, curve, algorithm, length) in curves {
        let pair = EcdsaKeyPair::generate(signing).unwrap();
        let pem = pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref());
        let key = SigningKey::from_pem(&pem).unwrap();
        let jwk = jwk(&key);
        assert_eq!(jwk["crv"], curve);
        assert_eq!(jwk["alg"], algorithm);
        let signature = key.sign_now(b"message").unwrap();
        assert_eq!(signature.len(), length);
        let point = [vec![4], member(&jwk, "x"), member(&jwk, "y")].concat();
        let public = UnparsedPublicKey::new(verification, point);
        public.verify(b"message", &signature).unwrap();
        assert!(public.verify(b"another", &signature).is_err());
        let reloaded = SigningKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(reloaded.thumbprint(), key.thumbprint());
    }
}

#[test]
fn rsa_signature_is_verified_by_the_published_key() {
    let der = rsa();
    let verified: [(_, &RsaParameters); 2] = [
        (Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
        (Algorithm::Ps384, &RSA_PSS_2048_8192_SHA384),
    ];
    for (algorithm, parameters) in verified {
        let key = SigningKey::from_pkcs8_der(&der).unwrap();
        let key = key.with_algorithm(algorithm).unwrap();
        let jwk = jwk(&key);
        assert_eq!(jwk["alg"], algorithm.as_str());
        let public = PublicKeyComponents {
            n: member(&jwk, "n"),
            e: member(&jwk, "e"),
        };
        let signature = key.sign_now(b"message").unwrap();
        public.verify(parameters, b"message", &signature).unwrap();
        assert!(key.to_pem().is_err());
    }
}

#[test]
fn ed25519_signature_is_verified_by_the_published_key() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let documents = [pair.to_pkcs8v1().unwrap(), pair.to_pkcs8().unwrap()];
    for document in documents {
        let key = SigningKey::from_pkcs8_der(document.as_ref()).unwrap();
        let jwk = jwk(&key);
        assert_eq!((&jwk["kty"], &jwk["alg"]), (&"OKP".into(), &"EdDSA".into()));
        let public = UnparsedPublicKey::new(&ED25519, member(&jwk, "x"));
        let signature = key.sign_now(b"message").unwrap();
        public.verify(b"message", &signature).unwrap();
    }
}

#[test]
fn thumbprint_is_over_the_required_members_in_their_order() {
    // RFC 7638 section 3.1 shows the form, and its example has an RSA key.
    let required = to_json(&[
        ("e", "AQAB".to_owned()),
        ("kty", "RSA".to_owned()),
        ("n", "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw".to_owned()),
    ]);
    assert_eq!(
        BASE64_URL_SAFE_NO_PAD.encode(Sha256::hash(required.as_bytes())),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    let key = SigningKey::generate_es256().unwrap().with_key_id("k\"1");
    let required: Value = serde_json::from_str(&key.required_jwk()).unwrap();
    assert_eq!(required.as_object().unwrap().len(), 4);
    assert_eq!(jwk(&key)["kid"], "k\"1");
    assert_eq!(key.thumbprint().len(), 43);
}

#[test]
fn wrong_key_is_named_and_not_shown() {
    let der = rsa();
    let certificate = pem("CERTIFICATE", &der);
    let damaged = pem("PRIVATE KEY", der.get(..200).unwrap());
    for (text, problem) in [
        ("", "contains no private key"),
        ("not pem", "contains no private key"),
        (certificate.as_str(), "contains no private key"),
        (damaged.as_str(), "damaged or of another kind"),
        (
            &pem("ENCRYPTED PRIVATE KEY", &der),
            "contains no private key",
        ),
    ] {
        let error = SigningKey::from_pem(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(problem), "{text}: {error}");
    }
    let key = SigningKey::generate_es256().unwrap();
    let error = key.with_algorithm(Algorithm::Rs256).unwrap_err();
    assert!(error.to_string().contains("use ES256"), "{error}");
    let key = SigningKey::from_pkcs8_der(&der).unwrap();
    let error = key.with_algorithm(Algorithm::EdDsa).unwrap_err();
    assert!(error.to_string().contains("use RS256"), "{error}");
}

#[test]
fn certificate_is_named_by_its_thumbprint() {
    let key = SigningKey::generate_es256().unwrap();
    let key = key
        .with_certificate_pem(&pem("CERTIFICATE", b"certificate"))
        .unwrap();
    let expected = BASE64_URL_SAFE_NO_PAD.encode(Sha256::hash(b"certificate"));
    assert_eq!(key.certificate_thumbprint(), Some(expected.as_str()));
    assert!(key.with_certificate_pem("none").is_err());
}

#[test]
fn p21_debug_does_not_show_the_key() {
    let key = SigningKey::generate_es256().unwrap().with_key_id("k1");
    assert_eq!(
        format!("{key:?}"),
        "SigningKey { algorithm: Es256, key_id: Some(\"k1\"), .. }"
    );
}
