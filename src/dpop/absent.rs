//! Stand-ins without the feature `dpop`: there are no proofs.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::{
    clock::Clock,
    error::Error,
    token::{DpopKey, TokenSet},
};

pub(crate) enum GrantKey {}

impl GrantKey {
    pub(crate) fn generate() -> Result<Self, Error> {
        Err(Error::configuration(
            "dpop: the feature `dpop` of this crate is off; turn it on",
        ))
    }

    pub(crate) fn of(_: &DpopKey) -> Result<Self, Error> {
        Self::generate()
    }

    pub(crate) fn key(&self) -> &DpopKey {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) struct ProofContext;

#[expect(clippy::unused_self, reason = "of the same form as with the feature")]
impl ProofContext {
    pub(crate) fn new(_: Arc<dyn Clock>) -> Self {
        Self
    }

    pub(crate) fn proof(
        &self,
        key: &GrantKey,
        _: &Method,
        _: &Uri,
        _: Option<&str>,
    ) -> Result<HeaderValue, Error> {
        match *key {}
    }

    pub(crate) fn learn(&self, _: &Uri, _: &HeaderMap) -> bool {
        false
    }
}

#[derive(Debug)]
pub(crate) enum Proofs {}

impl Proofs {
    pub(crate) fn of(_: &TokenSet, _: &Arc<ProofContext>) -> Option<Arc<Self>> {
        None
    }

    pub(crate) fn header(&self, _: &Method, _: &Uri) -> Result<HeaderValue, Error> {
        match *self {}
    }

    pub(crate) fn learn(&self, _: &Uri, _: &HeaderMap) -> bool {
        match *self {}
    }
}
