//! Assertions: JWTs that the sandbox accepts as grants (RFC 7523).

use std::{fmt, sync::Arc};

use hmac_sha256::HMAC;
use serde_json::{Map, Value};

use super::jwt::Jwt;

/// Gets the signed bytes and the signature.
type Verify = dyn Fn(&[u8], &[u8]) -> bool + Send + Sync;

/// An issuer of assertions that the sandbox trusts, registered by
/// [`SandboxBuilder::trusted_issuer`](super::SandboxBuilder::trusted_issuer).
///
/// An assertion is accepted once, as a JWT of this issuer and algorithm, with `sub`, `iat` and
/// `jti`. Its `aud` is the URL of the token endpoint or the issuer of the sandbox, and its `exp` at
/// most an hour ahead.
#[derive(Clone)]
pub struct TrustedIssuer {
    issuer: String,
    algorithm: String,
    verify: Arc<Verify>,
}

impl TrustedIssuer {
    /// An issuer whose assertions have this `alg`. `verify` gets the signed bytes and the
    /// signature, and returns whether the signature is valid.
    pub fn new(
        issuer: impl Into<String>,
        algorithm: impl Into<String>,
        verify: impl Fn(&[u8], &[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            algorithm: algorithm.into(),
            verify: Arc::new(verify),
        }
    }

    /// An issuer that signs by HMAC with SHA-256 and this secret (`HS256`).
    pub fn hs256(issuer: impl Into<String>, secret: impl Into<Vec<u8>>) -> Self {
        let secret = secret.into();
        Self::new(issuer, "HS256", move |message, signature| {
            HMAC::mac(message, &secret) == signature
        })
    }
}

impl fmt::Debug for TrustedIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustedIssuer")
            .field("issuer", &self.issuer)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// The facts of a valid assertion.
#[derive(Debug)]
pub(super) struct Assertion {
    /// Issuer and `jti`.
    pub(super) id: String,
    /// In seconds from now.
    pub(super) expires_in: u64,
}

/// Checks an assertion for one of these audiences at this time, in seconds since 1970. Fails with
/// the problem.
pub(super) fn check(
    assertion: &str,
    issuers: &[TrustedIssuer],
    audiences: &[&str],
    now: i64,
) -> Result<Assertion, &'static str> {
    let jwt: Jwt<'_, Map<String, Value>, Value> =
        Jwt::parse(assertion).map_err(|_| "the assertion is not a signed JWT")?;
    let claims = &jwt.claims;
    let text = |name: &str| claims[name].as_str().filter(|text| !text.is_empty());
    let issuer = text("iss").ok_or("iss is missing")?;
    let trusted = issuers.iter().find(|trusted| trusted.issuer == issuer);
    let trusted = trusted.ok_or("the issuer is not trusted")?;
    if jwt.header.get("alg").and_then(Value::as_str) != Some(&trusted.algorithm) {
        return Err("alg is not that of the issuer");
    }
    if !(trusted.verify)(jwt.input.as_bytes(), &jwt.signature) {
        return Err("the signature is wrong");
    }
    text("sub").ok_or("sub is missing")?;
    let is_own = |named: &Value| audiences.iter().any(|audience| named == audience);
    let is_audience = match &claims["aud"] {
        Value::Array(named) => named.iter().any(is_own),
        named => is_own(named),
    };
    if !is_audience {
        return Err("aud is neither the token endpoint nor the issuer");
    }
    let issued_at = claims["iat"].as_i64().ok_or("iat is missing")?;
    let expires_at = claims["exp"].as_i64().ok_or("exp is missing")?;
    let not_before = claims["nbf"].as_i64().unwrap_or(issued_at);
    if issued_at > now.saturating_add(LEEWAY) || not_before > now.saturating_add(LEEWAY) {
        return Err("the assertion is not valid yet");
    }
    let expires_in = expires_at.saturating_sub(now);
    if expires_in <= 0 {
        return Err("the assertion has expired");
    }
    if expires_in > LONGEST_LIFETIME {
        return Err("the assertion expires in more than an hour");
    }
    let id = text("jti").ok_or("jti is missing")?;
    Ok(Assertion {
        id: format!("{issuer}\n{id}"),
        expires_in: expires_in.unsigned_abs(),
    })
}

/// How far the clocks may be apart, in seconds.
const LEEWAY: i64 = 10;
/// How far ahead an assertion may expire, in seconds.
const LONGEST_LIFETIME: i64 = 60 * 60;

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    const AUDIENCE: &str = "http://localhost/oauth/token";
    const SERVER: &str = "http://localhost";
    const NOW: i64 = 1_000_000;

    fn signed(header: &Value, claims: &Value, secret: &str) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(HMAC::mac(message.as_bytes(), secret));
        format!("{message}.{signature}")
    }

    #[test]
    fn each_wrong_claim_is_named() {
        let issuers = [TrustedIssuer::hs256("issuer", "secret")];
        let good = json!({
            "iss": "issuer", "sub": "s", "aud": AUDIENCE, "jti": "1",
            "iat": NOW, "exp": NOW + 300,
        });
        let header = json!({"alg": "HS256"});
        let checked = |header: &Value, claims: &Value, secret: &str| {
            check(
                &signed(header, claims, secret),
                &issuers,
                &[AUDIENCE, SERVER],
                NOW,
            )
        };
        let accepted = checked(&header, &good, "secret").unwrap();
        assert_eq!(
            (accepted.id.as_str(), accepted.expires_in),
            ("issuer\n1", 300)
        );
        for (name, value, problem) in [
            ("iss", json!("other"), "not trusted"),
            ("iss", json!(null), "iss is missing"),
            ("sub", json!(""), "sub is missing"),
            ("aud", json!("http://localhost/other"), "aud is neither"),
            ("aud", json!([]), "aud is neither"),
            ("iat", json!(NOW + 60), "not valid yet"),
            ("iat", json!(null), "iat is missing"),
            ("nbf", json!(NOW + 60), "not valid yet"),
            ("exp", json!(NOW), "has expired"),
            ("exp", json!(NOW + 3_601), "more than an hour"),
            ("exp", json!(i64::MAX), "more than an hour"),
            ("exp", json!(null), "exp is missing"),
            ("jti", json!(null), "jti is missing"),
        ] {
            let mut claims = good.clone();
            claims[name] = value;
            let error = checked(&header, &claims, "secret").unwrap_err();
            assert!(error.contains(problem), "{name}: {error}");
        }
        for audience in [json!(["other", AUDIENCE]), json!(SERVER)] {
            let mut claims = good.clone();
            claims["aud"] = audience;
            assert!(checked(&header, &claims, "secret").is_ok());
        }
        assert!(
            checked(&header, &good, "other")
                .unwrap_err()
                .contains("signature")
        );
        let none = json!({"alg": "none"});
        assert!(checked(&none, &good, "secret").unwrap_err().contains("alg"));
        for text in ["", "a.b", "a.b.c", "..", "e30.e30.!"] {
            assert!(
                check(text, &issuers, &[AUDIENCE, SERVER], NOW).is_err(),
                "{text}"
            );
        }
    }
}
