//! Facts that all proofs of a cache or a client share.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Uri};

use super::{grant_key::GrantKey, nonces::Nonces};
use crate::{clock::Clock, error::Error};

/// The clock of proofs, and the nonces of the servers that they go to.
pub(crate) struct ProofContext {
    clock: Arc<dyn Clock>,
    nonces: Nonces,
}

impl ProofContext {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            nonces: Nonces::default(),
        }
    }

    /// A new proof for one attempt of a request. `token_hash` is that of its access token.
    pub(crate) fn proof(
        &self,
        key: &GrantKey,
        method: &Method,
        uri: &Uri,
        token_hash: Option<&str>,
    ) -> Result<HeaderValue, Error> {
        let nonce = self.nonces.of(uri);
        key.proof(method, uri, self.clock.wall(), token_hash, nonce.as_deref())
    }

    /// Learns the nonce of a response from a URI. Returns whether the response has one.
    pub(crate) fn learn(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        self.nonces.learn(uri, headers)
    }
}

impl fmt::Debug for ProofContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofContext").finish_non_exhaustive()
    }
}
