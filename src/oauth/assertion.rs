//! Assertions: JSON Web Tokens by which a client proves its identity (RFC 7523).

use std::time::{Duration, SystemTime};

use hmac_sha256::HMAC;
use serde::Serialize;
use zeroize::Zeroizing;

use super::random::random_text;
use crate::{
    error::Error,
    jose::{self, AnySigner, Header},
    token::ClientSecret,
};

/// How long an assertion is valid. It is used at once, and only once.
pub(super) const LIFETIME: Duration = Duration::from_secs(60);

/// The value of `client_assertion_type` (RFC 7523 section 2.2).
pub(super) const CLIENT_ASSERTION_TYPE: &str =
    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const TYP: &str = "JWT";

/// The claims of an assertion (RFC 7523 section 3).
#[derive(Serialize)]
pub(super) struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: u64,
    iat: u64,
    /// Servers accept each id once.
    jti: Zeroizing<String>,
}

impl<'a> Claims<'a> {
    /// The claims of one attempt: `issuer` says something about `subject` to `audience`.
    pub(super) fn new(
        issuer: &'a str,
        subject: &'a str,
        audience: &'a str,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH);
        let issued_at = since_epoch.unwrap_or_default();
        Ok(Self {
            iss: issuer,
            sub: subject,
            aud: audience,
            exp: issued_at.saturating_add(LIFETIME).as_secs(),
            iat: issued_at.as_secs(),
            jti: random_text()?,
        })
    }

    /// The assertion, signed with a private key.
    pub(super) async fn signed_by(&self, signer: &AnySigner) -> Result<Zeroizing<String>, Error> {
        jose::signed(signer, TYP, self).await
    }

    /// The assertion, signed with a client secret by HMAC with SHA-256 (RFC 7518 section 3.2).
    pub(super) fn signed_with(&self, secret: &ClientSecret) -> Result<Zeroizing<String>, Error> {
        let header = Header {
            alg: "HS256",
            typ: Some(TYP),
            kid: None,
            x5t_s256: None,
        };
        let input = jose::signing_input(&header, self)?;
        let signature = HMAC::mac(input.as_bytes(), secret.expose().as_bytes());
        Ok(jose::with_signature(&input, &signature))
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use serde_json::{Value, json};

    use super::*;

    fn part(text: &str) -> Value {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    }

    #[test]
    fn assertion_has_the_claims_of_rfc_7523_and_a_fresh_id() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut ids = Vec::new();
        for (now, iat, exp) in [
            (at(1_700_000_000), 1_700_000_000_u64, 1_700_000_060_u64),
            (at(0) - Duration::from_secs(5), 0, 60),
        ] {
            let claims = Claims::new("client", "client", "https://id.example.com", now).unwrap();
            let token = claims.signed_with(&ClientSecret::new("secret")).unwrap();
            let [header, payload, signature] =
                token.split('.').collect::<Vec<_>>().try_into().unwrap();
            assert_eq!(part(header), json!({ "alg": "HS256", "typ": "JWT" }));
            let mut payload = part(payload);
            ids.push(payload["jti"].take());
            let expected = json!({
                "iss": "client", "sub": "client", "aud": "https://id.example.com",
                "exp": exp, "iat": iat, "jti": null,
            });
            assert_eq!(payload, expected);
            let (input, _) = token.rsplit_once('.').unwrap();
            let mac = HMAC::mac(input.as_bytes(), b"secret");
            assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap(), mac);
        }
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[0].as_str().map(str::len), Some(43));
    }
}
