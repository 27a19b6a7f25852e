//! DPoP proofs (RFC 9449): how strictly they are checked, and the nonces that they need.

use std::collections::{HashSet, VecDeque};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac_sha256::Hash as Sha256;
use http::{HeaderMap, HeaderName, Uri, header::HOST, request::Parts, uri::Authority};
use serde_json::{Map, Value};

use super::jwt::Jwt;

/// Whether tokens are bound to keys by DPoP (RFC 9449).
///
/// Only the sandbox without a [`Persona`](super::Persona) checks proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dpop {
    /// Proofs are ignored, and all tokens are bearer tokens.
    Off,
    /// Each token request and each API request needs a valid proof. All tokens of a grant are bound
    /// to the key of its code exchange, also for a client with a secret.
    Required {
        /// The nonces of the token endpoint.
        token_endpoint: DpopNonce,
        /// The nonces of the API.
        api: DpopNonce,
    },
}

impl Dpop {
    /// Each request needs a proof, without a nonce.
    pub const REQUIRED: Self = Self::Required {
        token_endpoint: DpopNonce::None,
        api: DpopNonce::None,
    };

    fn nonce(self, server: Server) -> Option<DpopNonce> {
        match (self, server) {
            (Self::Off, _) => None,
            (Self::Required { token_endpoint, .. }, Server::TokenEndpoint) => Some(token_endpoint),
            (Self::Required { api, .. }, Server::Api) => Some(api),
        }
    }
}

/// Which nonce a proof needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DpopNonce {
    /// No nonce.
    None,
    /// All proofs share a nonce.
    Fixed,
    /// A nonce for each proof. Each response to a proof brings the next one.
    Rotating,
    /// No nonce is ever accepted: a server in a loop.
    Loop,
}

/// Which server checks a proof. Each has its own nonces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    TokenEndpoint,
    Api,
}

/// Why a proof is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProofError {
    /// `invalid_dpop_proof`, for this reason.
    Invalid(&'static str),
    /// `use_dpop_nonce`
    Nonce,
}

/// The nonces that were issued, and the proofs that were seen.
#[derive(Debug, Default)]
pub(super) struct ProofLog {
    nonces: VecDeque<String>,
    nonces_issued: u64,
    ids: HashSet<String>,
    newest_ids: VecDeque<String>,
}

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// How far `iat` may be from the sandbox's clock, in seconds.
const WINDOW: u64 = 60;

/// A bound for sandboxes that run for days.
const MAX_KEPT: usize = 100_000;

/// Members of private and symmetric keys (RFC 7518 section 6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

impl ProofLog {
    /// Checks the proof of a request, and returns the thumbprint of its key. `None` if no proof is
    /// needed. `token` is the access token of a request to the API, and `now` is in seconds since
    /// 1970.
    pub(super) fn check(
        &mut self,
        dpop: Dpop,
        server: Server,
        request: &Parts,
        token: Option<&str>,
        now: u64,
    ) -> Result<Option<String>, ProofError> {
        let Some(nonce) = dpop.nonce(server) else {
            return Ok(None);
        };
        let (key, claims) = verified(&request.headers)?;
        self.check_claims(&claims, request, token, now)?;
        let presented = claims.get("nonce").and_then(Value::as_str);
        let is_current = match nonce {
            DpopNonce::None => true,
            DpopNonce::Loop => false,
            DpopNonce::Fixed => presented == Some(fixed(server)),
            DpopNonce::Rotating => presented.is_some_and(|presented| self.spend(presented)),
        };
        if is_current {
            Ok(Some(key))
        } else {
            Err(ProofError::Nonce)
        }
    }

    /// The nonce of a response to a request with a proof.
    pub(super) fn next_nonce(&mut self, dpop: Dpop, server: Server) -> Option<String> {
        match dpop.nonce(server)? {
            DpopNonce::None => None,
            DpopNonce::Fixed => Some(fixed(server).to_owned()),
            DpopNonce::Rotating | DpopNonce::Loop => {
                self.nonces_issued += 1;
                let nonce = format!("nonce-{}", self.nonces_issued);
                self.nonces.push_back(nonce.clone());
                if self.nonces.len() > MAX_KEPT {
                    self.nonces.pop_front();
                }
                Some(nonce)
            }
        }
    }

    fn spend(&mut self, nonce: &str) -> bool {
        let at = self.nonces.iter().position(|issued| issued == nonce);
        at.is_some_and(|at| self.nonces.remove(at).is_some())
    }

    fn check_claims(
        &mut self,
        claims: &Map<String, Value>,
        request: &Parts,
        token: Option<&str>,
        now: u64,
    ) -> Result<(), ProofError> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("htm") != Some(request.method.as_str()) {
            return Err(ProofError::Invalid("htm is not the method of the request"));
        }
        if !text("htu").is_some_and(|target| is_target(target, request)) {
            return Err(ProofError::Invalid("htu is not the URI of the request"));
        }
        let issued_at = claims.get("iat").and_then(Value::as_u64);
        if issued_at.is_none_or(|issued_at| issued_at.abs_diff(now) > WINDOW) {
            return Err(ProofError::Invalid("iat is not the current time"));
        }
        if let Some(token) = token {
            let hash = URL_SAFE_NO_PAD.encode(Sha256::hash(token.as_bytes()));
            if text("ath") != Some(&hash) {
                return Err(ProofError::Invalid(
                    "ath is not the hash of the access token",
                ));
            }
        }
        let Some(id) = text("jti").filter(|id| (1..=256).contains(&id.len())) else {
            return Err(ProofError::Invalid("jti is missing, empty or too long"));
        };
        if !self.ids.insert(id.to_owned()) {
            return Err(ProofError::Invalid("the proof was used before"));
        }
        self.newest_ids.push_back(id.to_owned());
        if self.newest_ids.len() > MAX_KEPT
            && let Some(oldest) = self.newest_ids.pop_front()
        {
            self.ids.remove(&oldest);
        }
        Ok(())
    }
}

fn fixed(server: Server) -> &'static str {
    match server {
        Server::TokenEndpoint => "nonce-of-the-token-endpoint",
        Server::Api => "nonce-of-the-api",
    }
}

/// The thumbprint of the key and the claims of a proof with a valid signature.
fn verified(headers: &HeaderMap) -> Result<(String, Map<String, Value>), ProofError> {
    let invalid = ProofError::Invalid;
    let mut proofs = headers.get_all(DPOP).iter();
    let (Some(proof), None) = (proofs.next(), proofs.next()) else {
        return Err(invalid("the request needs exactly one DPoP header"));
    };
    let proof = proof.to_str().unwrap_or_default();
    let jwt: Jwt<'_, Map<String, Value>, Map<String, Value>> =
        Jwt::parse(proof).map_err(|_| invalid("the proof is not a JWT"))?;
    let (header, claims) = (jwt.header, jwt.claims);
    let is = |name: &str, text: &str| header.get(name).and_then(Value::as_str) == Some(text);
    if !is("typ", "dpop+jwt") {
        return Err(invalid("typ is not dpop+jwt"));
    }
    if !is("alg", "ES256") {
        return Err(invalid("alg is not ES256"));
    }
    let Some(Value::Object(key)) = header.get("jwk") else {
        return Err(invalid("jwk is missing"));
    };
    if PRIVATE.iter().any(|name| key.contains_key(*name)) {
        return Err(invalid("jwk contains a private key"));
    }
    let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
    let decoded = |name: &str| URL_SAFE_NO_PAD.decode(text(name)).unwrap_or_default();
    let (x, y) = (decoded("x"), decoded("y"));
    if text("kty") != "EC" || text("crv") != "P-256" || x.len() != 32 || y.len() != 32 {
        return Err(invalid("jwk is not a key on P-256"));
    }
    let point = [&[4], &x[..], &y[..]].concat();
    if UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(jwt.input.as_bytes(), &jwt.signature)
        .is_err()
    {
        return Err(invalid("the signature is wrong"));
    }
    // RFC 7638 section 3.
    let members = format!(
        r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
        text("x"),
        text("y")
    );
    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::hash(members.as_bytes()));
    Ok((thumbprint, claims))
}

/// Whether `htu` is the URI of a request, without query and fragment.
fn is_target(target: &str, request: &Parts) -> bool {
    let host = request
        .headers
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    let authority = request.uri.authority().map(Authority::as_str);
    let Some(own) = authority.or(host) else {
        return false;
    };
    let usual = |authority: &str| {
        let authority = authority.to_ascii_lowercase();
        authority
            .strip_suffix(":80")
            .unwrap_or(&authority)
            .to_owned()
    };
    !target.contains(['?', '#', '@'])
        && target.parse::<Uri>().is_ok_and(|target| {
            let authority = target.authority().map(Authority::as_str);
            target.scheme_str() == Some("http")
                && authority.is_some_and(|authority| usual(authority) == usual(own))
                && target.path() == request.uri.path()
        })
}
