//! Completes an authorization: exchanges the code, then saves the tokens.
//!
//! An authorization code can be used once, and no second one is issued without the customer. The
//! work therefore runs in a task that outlives its caller, and a save that fails is retried.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    error::Error,
    later::Later,
    oauth::{AcceptedCode, OAuthClient},
    token::TokenSet,
};

/// How long a save is retried.
const SAVE_DEADLINE: Duration = Duration::from_secs(30);
const SAVE_PAUSE: Duration = Duration::from_secs(1);

/// The step at which completing an authorization failed. In both cases the code is used up.
pub(crate) enum CompletionError {
    Exchange(Error),
    Save(Error),
}

impl CompletionError {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Exchange(error) | Self::Save(error) => error,
        }
    }
}

/// Call this in a task of its own: if its future is dropped, the tokens are lost.
pub(crate) async fn exchange_code_and_save<S: Future<Output = Result<(), Error>>>(
    oauth: &OAuthClient,
    code: AcceptedCode,
    save: impl Fn(TokenSet) -> S,
) -> Result<(), CompletionError> {
    // The client limits the time.
    let exchanged = oauth.exchange_code(code).await;
    let tokens =
        exchanged.map_err(|error| CompletionError::Exchange(error.without_refresh_token()))?;
    let deadline = Instant::now().later(SAVE_DEADLINE);
    loop {
        match save(tokens.clone()).await {
            Err(error) if error.is_transient() && Instant::now() < deadline => {
                sleep(SAVE_PAUSE).await;
            }
            outcome => return outcome.map_err(CompletionError::Save),
        }
    }
}
