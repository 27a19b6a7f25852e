//! The compact serialization (RFC 7515 section 7.1): header, payload and signature in base64url.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;
use zeroize::Zeroizing;

use super::AnySigner;
use crate::{
    error::{Error, ErrorKind},
    token::SecretBuffer,
};

/// The protected header of a signature.
#[derive(Serialize)]
pub(crate) struct Header<'a> {
    pub(crate) alg: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) typ: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kid: Option<&'a str>,
    #[serde(rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    pub(crate) x5t_s256: Option<&'a str>,
}

/// Enough for most headers and payloads.
const CAPACITY: usize = 1024;

/// A signed JSON Web Token. Such a token authenticates its bearer, so it is a secret.
pub(crate) async fn signed(
    signer: &AnySigner,
    typ: &str,
    claims: &impl Serialize,
) -> Result<Zeroizing<String>, Error> {
    let header = Header {
        alg: signer.algorithm().as_str(),
        typ: Some(typ),
        kid: signer.key_id(),
        x5t_s256: signer.certificate_thumbprint(),
    };
    let input = signing_input(&header, claims)?;
    let signature = signer.sign(input.as_bytes()).await.map_err(|error| {
        let message = "signer failed, so nothing was sent: see the source";
        let error = Error::new(ErrorKind::Unavailable, message).with_source(error);
        error.with_token_unused()
    })?;
    Ok(with_signature(&input, &signature))
}

/// Header and payload: what is signed.
pub(crate) fn signing_input(
    header: &Header<'_>,
    payload: &impl Serialize,
) -> Result<Zeroizing<String>, Error> {
    let mut input = Zeroizing::new(String::with_capacity(2 * CAPACITY));
    append(&mut input, header)?;
    push(&mut input, ".");
    append(&mut input, payload)?;
    Ok(input)
}

/// A signing input with its signature.
pub(crate) fn with_signature(input: &str, signature: &[u8]) -> Zeroizing<String> {
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
    let length = input
        .len()
        .saturating_add(signature.len())
        .saturating_add(1);
    let mut token = Zeroizing::new(String::with_capacity(length));
    token.push_str(input);
    token.push('.');
    token.push_str(&signature);
    token
}

fn append(input: &mut Zeroizing<String>, part: &impl Serialize) -> Result<(), Error> {
    let mut json = SecretBuffer::with_capacity(CAPACITY);
    serde_json::to_writer(&mut json, part).map_err(|error| {
        let message = "claims cannot be written as JSON: see the source";
        Error::new(ErrorKind::Configuration, message).with_source(error)
    })?;
    let encoded = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(&*json.into_vec()));
    push(input, &encoded);
    Ok(())
}

/// Appends, without memory that is freed unwiped.
fn push(input: &mut Zeroizing<String>, text: &str) {
    let length = input.len().saturating_add(text.len());
    if length > input.capacity() {
        let mut longer = Zeroizing::new(String::with_capacity(length.saturating_mul(2)));
        longer.push_str(input);
        *input = longer;
    }
    input.push_str(text);
}

#[cfg(test)]
mod tests {
    use std::error::Error as StdError;

    use serde_json::{Value, json};

    use super::*;
    use crate::jose::{Algorithm, Signer};

    struct Fixed;

    impl Signer for Fixed {
        fn algorithm(&self) -> Algorithm {
            Algorithm::Es256
        }

        fn key_id(&self) -> Option<&str> {
            Some("k1")
        }

        async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Box<dyn StdError + Send + Sync>> {
            assert_eq!(message.split(|&byte| byte == b'.').count(), 2);
            Ok(vec![0xff; 3])
        }
    }

    struct Broken;

    impl Signer for Broken {
        fn algorithm(&self) -> Algorithm {
            Algorithm::Rs256
        }

        async fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Box<dyn StdError + Send + Sync>> {
            Err("key service is down".into())
        }
    }

    fn part(text: &str) -> Value {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn token_has_a_header_a_payload_and_a_signature() {
        for length in [1, 5_000] {
            let claims = json!({ "iss": "x".repeat(length) });
            let signer = AnySigner::new(Fixed);
            let token = signed(&signer, "JWT", &claims).await.unwrap();
            let [header, payload, signature] =
                token.split('.').collect::<Vec<_>>().try_into().unwrap();
            assert_eq!(
                part(header),
                json!({ "alg": "ES256", "typ": "JWT", "kid": "k1" })
            );
            assert_eq!(part(payload), claims);
            assert_eq!(signature, "____");
        }
    }

    #[tokio::test]
    async fn error_of_a_signer_is_the_source() {
        let error = signed(&AnySigner::new(Broken), "JWT", &json!({})).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().starts_with("signer failed"), "{error}");
        assert_eq!(error.source().unwrap().to_string(), "key service is down");
        assert!(!error.is_response_lost());
    }
}
