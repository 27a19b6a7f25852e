//! Until when a refresh token may be sent again after a lost response.
//!
//! The cache knows the limit before it calls its token source. But the request is sent later, after
//! a signature and perhaps retries. So the limit is a task-local value of the call, which also
//! reaches a client inside of another source.

use std::{future::Future, sync::Arc, time::SystemTime};

use crate::{
    clock::Clock,
    error::{Error, ErrorKind},
};

tokio::task_local! {
    static LIMIT: Option<(SystemTime, Arc<dyn Clock>)>;
}

/// Makes a call in which no request is sent after `until` by the wall clock. `None` for no limit.
pub(crate) async fn sending_until<T>(
    until: Option<SystemTime>,
    clock: &Arc<dyn Clock>,
    call: impl Future<Output = T>,
) -> T {
    let limit = until.map(|until| (until, Arc::clone(clock)));
    LIMIT.scope(limit, call).await
}

/// Fails if a request must no longer be sent.
pub(super) fn check() -> Result<(), Error> {
    let is_over = LIMIT.try_with(|limit| {
        let limit = limit.as_ref();
        limit.is_some_and(|(until, clock)| clock.wall() > *until)
    });
    if !is_over.unwrap_or(false) {
        return Ok(());
    }
    let message = "the response to the last refresh was lost, and the request could not be signed \
                   and sent again in time; check how long the signer and the endpoint take";
    Err(Error::new(ErrorKind::Unavailable, message).with_local_failure())
}
