//! A limit on the time for which a response is waited for.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Sleep, sleep},
};

/// A limit from when it is first needed. Most responses are there at once, and need no timer.
pub(super) struct TimeLimit {
    duration: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl TimeLimit {
    pub(super) fn new(duration: Duration) -> Self {
        Self {
            duration,
            deadline: None,
        }
    }

    /// Becomes ready at the limit. The time begins with the first call.
    pub(super) fn poll_reached(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Without a runtime there is no timer, and so no time.
        if self.deadline.is_none() && Handle::try_current().is_ok() {
            self.deadline = Some(Box::pin(sleep(self.duration)));
        }
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(cx),
            None => Poll::Ready(()),
        }
    }
}
