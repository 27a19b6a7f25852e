//! Limits how long a call of the program's code takes.

use std::{future::Future, time::Duration};

use crate::{
    caught::{Panicked, caught},
    error::{Error, ErrorKind},
};

/// Limits a call to `deadline`, after which it fails with the error that `late` returns. Also turns
/// a panic into an error, so that the work goes on: it still has to release a lease, for example.
pub(super) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, Error>>,
    late: impl FnOnce() -> Error,
) -> Result<T, Error> {
    match tokio::time::timeout(deadline, caught(call)).await {
        Ok(Ok(result)) => result,
        Ok(Err(Panicked)) => Err(Error::new(
            ErrorKind::Interrupted,
            "the token source or store panicked",
        )),
        Err(_) => Err(late()),
    }
}
