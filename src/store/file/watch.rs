//! The task that reads the log of saves for the subscribers of this process.
//!
//! It starts with the first subscription, and ends with the last clone of the store.

use std::{
    convert::Infallible,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

use super::log::LogReader;
use crate::store::announcer::{Announcer, Subscription};

/// The pause between two reads, which take microseconds.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(super) struct Watch {
    announcer: Announcer,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Watch {
    pub(super) fn subscribe(&self, directory: &Arc<Path>) -> Subscription {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let subscription = self.announcer.subscribe();
        // The task may have ended with its runtime.
        if task.as_ref().is_none_or(JoinHandle::is_finished)
            && let Ok(runtime) = Handle::try_current()
        {
            let announcing = Announcing(self.announcer.clone());
            let reader = LogReader::new(directory);
            *task = Some(runtime.spawn(async move {
                read_repeatedly(reader, &announcing.0).await;
            }));
        }
        subscription
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
        }
    }
}

/// Ends the subscriptions with the task, so that the subscribers start another one.
struct Announcing(Announcer);

impl Drop for Announcing {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn read_repeatedly(mut reader: LogReader, announcer: &Announcer) -> Option<Infallible> {
    loop {
        let read = spawn_blocking(move || {
            let appended = reader.read();
            (reader, appended)
        });
        // Fails only if the runtime shuts down.
        let (continued, appended) = read.await.ok()?;
        reader = continued;
        if appended.is_missed {
            announcer.missed();
        }
        for (tenant, generation) in appended.saves {
            announcer.saved(&tenant, generation);
        }
        sleep(PAUSE).await;
    }
}
