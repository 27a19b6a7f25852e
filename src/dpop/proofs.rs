//! The proofs that accompany one access token.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac_sha256::Hash as Sha256;
use http::{HeaderMap, HeaderValue, Method, Uri};

use super::{context::ProofContext, grant_key::GrantKey};
use crate::{
    error::Error,
    token::{DpopKey, TokenSet},
};

/// Makes the proofs of requests with one access token. It is made with each snapshot, and shared by
/// all copies of the token.
pub(crate) struct Proofs {
    key: DpopKey,
    /// Parsed for the first request: most grants of a store serve none.
    parsed: OnceLock<Result<GrantKey, Error>>,
    /// `ath` of RFC 9449 section 4.2.
    token_hash: String,
    context: Arc<ProofContext>,
}

impl Proofs {
    /// `None` if the tokens are not bound to a key.
    pub(crate) fn of(tokens: &TokenSet, context: &Arc<ProofContext>) -> Option<Arc<Self>> {
        let key = tokens.dpop_key()?.clone();
        let token = tokens.access_token().expose();
        Some(Arc::new(Self {
            key,
            parsed: OnceLock::new(),
            token_hash: BASE64_URL_SAFE_NO_PAD.encode(Sha256::hash(token.as_bytes())),
            context: Arc::clone(context),
        }))
    }

    /// The header of a new proof, for one attempt of a request with the token.
    pub(crate) fn header(&self, method: &Method, uri: &Uri) -> Result<HeaderValue, Error> {
        match self.parsed.get_or_init(|| GrantKey::of(&self.key)) {
            Ok(key) => {
                let token_hash = Some(self.token_hash.as_str());
                self.context.proof(key, method, uri, token_hash)
            }
            Err(error) => Err(error.clone()),
        }
    }

    /// Learns the nonce of a response from a URI. Returns whether the response has one.
    pub(crate) fn learn(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        self.context.learn(uri, headers)
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proofs").finish_non_exhaustive()
    }
}
