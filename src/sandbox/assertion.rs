//! Client assertions (RFC 7523), which are verified strictly.

use std::time::Duration;

use hmac_sha256::HMAC;
use serde::Deserialize;
use subtle::ConstantTimeEq;

#[cfg(feature = "signing")]
use super::public_key::PublicKey;
use super::{
    behavior::ClientAuthentication,
    client::ClientRegistration,
    jwt::{Jwt, Malformed},
};

/// The value of `client_assertion_type` (RFC 7523, section 2.2).
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An assertion that is not verified yet.
pub(super) struct Assertion<'a>(Jwt<'a, Header, Claims>);

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    /// One audience: a list would let another server use the assertion.
    aud: String,
    exp: u64,
    iat: u64,
    nbf: Option<u64>,
    jti: String,
}

impl<'a> Assertion<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let jwt: Jwt<'a, Header, Claims> = Jwt::parse(text).map_err(|malformed| match malformed {
            Malformed::Parts => "client_assertion is not three parts in base64url",
            Malformed::Header => {
                "the header of the assertion has no alg, or members of a wrong type"
            }
            Malformed::Claims => {
                "the assertion needs iss, sub, exp, iat, jti and one aud, each once, as texts and \
                 numbers"
            }
        })?;
        if jwt.header.crit.is_some() {
            return Err("the assertion has a critical header, and none is known");
        }
        let is_jwt = |typ: &String| typ.eq_ignore_ascii_case("JWT");
        if !jwt.header.typ.as_ref().is_none_or(is_jwt) {
            return Err("the assertion is of another type than JWT");
        }
        Ok(Self(jwt))
    }

    /// The client that the assertion names.
    pub(super) fn client_id(&self) -> &str {
        &self.0.claims.sub
    }

    /// The id, which is accepted once.
    pub(super) fn id(&self) -> &str {
        &self.0.claims.jti
    }

    /// How long the assertion is valid, at the most, from this second on.
    pub(super) fn remaining(&self, now: u64) -> Duration {
        Duration::from_secs(self.0.claims.exp.saturating_sub(now))
    }

    /// Checks the signature by the secret or a key of its client.
    pub(super) fn verify(
        &self,
        client: &ClientRegistration,
        method: ClientAuthentication,
    ) -> Result<(), &'static str> {
        if method == ClientAuthentication::ClientSecretJwt {
            if self.0.header.alg != "HS256" {
                return Err("the assertion is not signed with HS256");
            }
            let is_signed_with = |secret: &str| {
                let mac = HMAC::mac(self.0.input.as_bytes(), secret.as_bytes());
                bool::from(mac.ct_eq(&self.0.signature))
            };
            return if client.secrets().any(is_signed_with) {
                Ok(())
            } else {
                Err("the signature of the assertion is wrong")
            };
        }
        self.verify_by_key(client)
    }

    #[cfg(feature = "signing")]
    fn verify_by_key(&self, client: &ClientRegistration) -> Result<(), &'static str> {
        let (alg, kid) = (self.0.header.alg.as_str(), self.0.header.kid.as_deref());
        let keys = client.public_keys.iter();
        let mut keys = keys
            .filter_map(|jwk| PublicKey::parse(jwk))
            .filter(|key| key.fits(kid, alg))
            .peekable();
        if keys.peek().is_none() {
            return Err("the client has no public key with this kid and alg");
        }
        if keys.any(|key| key.verifies(alg, self.0.input.as_bytes(), &self.0.signature)) {
            Ok(())
        } else {
            Err("the signature of the assertion is wrong")
        }
    }

    #[cfg(not(feature = "signing"))]
    fn verify_by_key(&self, _: &ClientRegistration) -> Result<(), &'static str> {
        let _ = &self.0.header.kid;
        Err("the client has no public key with this kid and alg")
    }

    /// Checks the claims at this second.
    pub(super) fn check(&self, audience: &str, now: u64) -> Result<(), &'static str> {
        let Claims {
            iss,
            sub,
            aud,
            exp,
            iat,
            nbf,
            jti,
        } = &self.0.claims;
        let latest_start = now.saturating_add(CLOCK_TOLERANCE);
        if iss != sub {
            Err("iss and sub of the assertion differ")
        } else if aud != audience {
            Err("the assertion has another aud")
        } else if now >= *exp {
            Err("the assertion has expired")
        } else if *exp > now.saturating_add(LONGEST) {
            Err("the assertion is valid for more than five minutes")
        } else if *iat > latest_start || nbf.is_some_and(|nbf| nbf > latest_start) {
            Err("the assertion is not valid yet")
        } else if iat.saturating_add(LONGEST) < now {
            Err("the assertion was issued more than five minutes ago")
        } else if jti.is_empty() || jti.len() > LONGEST_ID {
            Err("the jti of the assertion is empty or longer than 255 bytes")
        } else {
            Ok(())
        }
    }
}

/// How many seconds the clock of a client may be ahead.
const CLOCK_TOLERANCE: u64 = 5;

/// How many seconds an assertion may be valid.
const LONGEST: u64 = 5 * 60;

const LONGEST_ID: usize = 255;
