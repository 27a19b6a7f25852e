//! The task of a store that receives the announcements of all processes.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
};

use tokio::{runtime::Handle, task::JoinHandle};

use super::announcer::{Announcer, Subscription};

/// Starts with the first subscription, and ends with this value.
#[derive(Debug, Default)]
pub(super) struct Listening {
    announcer: Announcer,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Listening {
    pub(super) fn subscribe(&self) -> Subscription {
        self.announcer.subscribe()
    }

    /// Starts the task in the current runtime, if there is one, unless it is running. It may have
    /// ended with its runtime or by a panic.
    pub(super) fn ensure_running<F>(&self, listen: impl FnOnce(Announcer) -> F)
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            let end = EndSubscriptions(self.announcer.clone());
            let listening = listen(self.announcer.clone());
            *task = Some(runtime.spawn(async move {
                let _end = end;
                drop(listening.await);
            }));
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
        }
    }
}

/// Ends the subscriptions with the task, so that the subscribers start another one.
struct EndSubscriptions(Announcer);

impl Drop for EndSubscriptions {
    fn drop(&mut self) {
        self.0.end();
    }
}
