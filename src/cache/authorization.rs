//! Completes an authorization: exchanges the code, then saves the tokens.
//!
//! An authorization code can be used once, and no second one is issued without the customer. The
//! work therefore runs in a task that outlives its caller, and a save that fails is retried.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    error::Error,
    later::Later,
    oauth::{AcceptedCode, OAuthClient, TokenResponse},
};

/// How long a save is retried.
const SAVE_DEADLINE: Duration = Duration::from_secs(30);
const SAVE_PAUSE: Duration = Duration::from_secs(1);

/// Call this in a task of its own: if its future is dropped, the tokens are lost.
pub(crate) async fn exchange_code(
    oauth: &OAuthClient,
    code: AcceptedCode,
) -> Result<TokenResponse, Error> {
    // The client limits the time.
    let exchanged = oauth.exchange_code_with_members(code).await;
    exchanged.map_err(|error| error.without_refresh_token())
}

/// Retries a save that fails. Call this in a task of its own, as [`exchange_code`].
pub(crate) async fn save_with_retries<S: Future<Output = Result<(), Error>>>(
    save: impl Fn() -> S,
) -> Result<(), Error> {
    let deadline = Instant::now().later(SAVE_DEADLINE);
    loop {
        match save().await {
            Err(error) if error.is_transient() && Instant::now() < deadline => {
                sleep(SAVE_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}
