//! Panics of code that the program supplies: sources, stores, clocks, listeners.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

/// The pause of a background task after a panic of the program's clock or listener.
pub(crate) const PAUSE_AFTER_PANIC: Duration = Duration::from_secs(30);

/// The code panicked. Its message was printed by the panic hook, and may contain secrets.
pub(crate) struct Panicked;

/// Runs a future until it completes or panics.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        // A future that has panicked is not polled again.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

/// Calls a function that shares only values which stay valid, whatever it has done before a panic.
pub(crate) fn caught_call<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| Panicked)
}
