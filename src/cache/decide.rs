//! How the program decides about a consent that brings no refresh token.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::caught::{Panicked, caught};
use crate::token::{ConsentDecision, TokenSet};

/// For the program, which may call the API. Without a decision by then, the consent is rejected.
const DEADLINE: Duration = Duration::from_secs(30);

/// Decides about the token set of a consent that would drop the stored refresh token.
pub(crate) trait Decide: Send + Sync + 'static {
    /// The decision, if it is the same for every stored grant.
    fn always(&self) -> Option<ConsentDecision> {
        None
    }

    fn decide(
        &self,
        tokens: TokenSet,
    ) -> Pin<Box<dyn Future<Output = ConsentDecision> + Send + '_>>;
}

impl Decide for ConsentDecision {
    fn always(&self) -> Option<ConsentDecision> {
        Some(*self)
    }

    fn decide(&self, _: TokenSet) -> Pin<Box<dyn Future<Output = ConsentDecision> + Send + '_>> {
        Box::pin(std::future::ready(*self))
    }
}

/// Asks the program. Without a decision, nothing changes.
pub(super) async fn decide(program: &Arc<dyn Decide>, tokens: &TokenSet) -> ConsentDecision {
    let decision = caught(program.decide(tokens.clone()));
    match timeout(DEADLINE, decision).await {
        Ok(Ok(decision)) => decision,
        Ok(Err(Panicked)) | Err(_) => ConsentDecision::Reject,
    }
}
