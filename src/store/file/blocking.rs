//! Work on tokio's threads for blocking tasks.

use crate::error::{Error, ErrorKind};

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(
            ErrorKind::Interrupted,
            "token file access was interrupted: the runtime is shutting down or the task panicked; \
             see the source",
        )
        .with_source(error)
    })?
}
