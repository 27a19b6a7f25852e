//! The background tasks: one looks after those who are held, one sweeps for those who are not.
//!
//! Both hold the tenants weakly, and so end with the last handle, or with the runtime they were begun in; the next load begins
//! others.

use std::sync::{Arc, Weak};

use tokio::{
    runtime::Handle,
    task::{JoinHandle, yield_now},
    time::sleep,
};

use super::{Shared, sweep};
use crate::error::{Error, ErrorKind};

/// How many are looked after before others may have the worker.
const IN_A_ROW: usize = 128;

/// Who looks after the tenants.
#[derive(Default)]
pub(super) struct Attendant {
    tasks: Vec<JoinHandle<()>>,
    is_shut_down: bool,
}

impl Attendant {
    /// Sees to it that both tasks run.
    pub(super) fn attend(&mut self, shared: &Arc<Shared>) -> Result<(), Error> {
        if self.is_shut_down {
            return Err(Error::new(
                ErrorKind::Interrupted,
                "the tenants were shut down: no more of them are read from the store",
            ));
        }
        if self.tasks.is_empty() || self.tasks.iter().any(JoinHandle::is_finished) {
            let runtime = Handle::try_current().map_err(|_| Error::outside_of_a_runtime())?;
            self.stop();
            self.tasks = vec![
                runtime.spawn(rounds(Arc::downgrade(shared))),
                runtime.spawn(sweep::sweeps(Arc::downgrade(shared))),
            ];
        }
        Ok(())
    }

    /// Ends them for good.
    pub(super) fn shut_down(&mut self) {
        self.is_shut_down = true;
        self.stop();
    }

    fn stop(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn rounds(shared: Weak<Shared>) {
    loop {
        let Some(strong) = shared.upgrade() else {
            return;
        };
        let (turn, pause) = strong.residents.round(strong.settings.clock.monotonic());
        drop(strong);
        for some in turn.chunks(IN_A_ROW) {
            for tokens in some {
                tokens.look_after();
            }
            yield_now().await;
        }
        drop(turn);
        sleep(pause).await;
    }
}
