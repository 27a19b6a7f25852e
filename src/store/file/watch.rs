//! The task that reads the log of saves for the subscribers of this process.
//!
//! It starts with the first subscription, and ends with the last clone of the store.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::{task::spawn_blocking, time::sleep};

use super::{location::Location, log::LogReader};
use crate::store::{
    announcer::{Announcer, Subscription},
    listening::Listening,
};

/// The pause between two reads, which take microseconds.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(super) struct Watch(Listening);

impl Watch {
    pub(super) fn subscribe(&self, location: &Arc<Location>) -> Subscription {
        let subscription = self.0.subscribe();
        let location = Arc::clone(location);
        self.0
            .ensure_running(|announcer| read_repeatedly(LogReader::new(location), announcer));
        subscription
    }
}

async fn read_repeatedly(mut reader: LogReader, announcer: Announcer) -> Option<Infallible> {
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
