//! The shares of the callers: how many token requests each class has in flight at most.
//!
//! Each class has permits of its own, so none can take those of another. A grant has one token
//! request in flight, and each share is at least two permits, so no single tenant takes a share.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, ErrorKind};

/// Why a token request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A refresh that a request waits for, or a call of the program.
    Awaited,
    /// A refresh that no request waits for.
    Background,
    /// A code exchange: a customer waits for it, but any browser can cause one.
    CodeExchange,
    /// A pushed authorization request, which any browser can cause.
    PushedAuthorization,
    /// A poll of a device authorization. There may be many, for as long as users take.
    DevicePoll,
}

/// The permits of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) permits: usize,
    /// How many of them grants in trouble may hold, so that they leave some to the others.
    pub(super) degraded: usize,
}

impl Class {
    pub(super) const fn size(self) -> Size {
        match self {
            Self::Awaited => Size {
                permits: 4,
                degraded: 3,
            },
            Self::Background => Size {
                permits: 2,
                degraded: 1,
            },
            // There is no grant yet that could be in trouble.
            Self::CodeExchange | Self::PushedAuthorization | Self::DevicePoll => Size {
                permits: 2,
                degraded: 2,
            },
        }
    }

    /// Whether an outcome of this class changes the circuit breaker.
    ///
    /// A code is chosen by the browser. Codes that the provider never issued must neither open the
    /// breaker for the refreshes, nor keep it closed. Only a token set proves something. A poll is
    /// refused until the user has decided.
    pub(super) fn is_evidence(self, is_success: bool) -> bool {
        match self {
            Self::Awaited | Self::Background => true,
            Self::CodeExchange | Self::DevicePoll => is_success,
            // It goes to another endpoint.
            Self::PushedAuthorization => false,
        }
    }
}

/// The permits of all classes.
pub(super) struct Shares {
    awaited: Share,
    background: Share,
    code_exchange: Share,
    pushed_authorization: Share,
    device_poll: Share,
}

struct Share {
    permits: Arc<Semaphore>,
    degraded: Arc<Semaphore>,
}

/// The permit of one token request, and a permit for grants in trouble.
pub(crate) struct SharePermit {
    _permit: OwnedSemaphorePermit,
    _degraded: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// Waits for a permit, in order of arrival.
    pub(super) async fn acquire(
        &self,
        class: Class,
        is_degraded: bool,
    ) -> Result<SharePermit, Error> {
        let share = match class {
            Class::Awaited => &self.awaited,
            Class::Background => &self.background,
            Class::CodeExchange => &self.code_exchange,
            Class::PushedAuthorization => &self.pushed_authorization,
            Class::DevicePoll => &self.device_poll,
        };
        let degraded = if is_degraded {
            Some(acquire(&share.degraded).await?)
        } else {
            None
        };
        Ok(SharePermit {
            _permit: acquire(&share.permits).await?,
            _degraded: degraded,
        })
    }
}

impl Default for Shares {
    fn default() -> Self {
        let share = |class: Class| {
            let Size { permits, degraded } = class.size();
            Share {
                permits: Arc::new(Semaphore::new(permits)),
                degraded: Arc::new(Semaphore::new(degraded)),
            }
        };
        Self {
            awaited: share(Class::Awaited),
            background: share(Class::Background),
            code_exchange: share(Class::CodeExchange),
            pushed_authorization: share(Class::PushedAuthorization),
            device_poll: share(Class::DevicePoll),
        }
    }
}

async fn acquire(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Error> {
    let permit = Arc::clone(semaphore).acquire_owned().await;
    // The semaphores are never closed.
    permit
        .map_err(|error| Error::new(ErrorKind::Interrupted, "limiter is closed").with_source(error))
}
