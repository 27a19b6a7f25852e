//! The background tasks of [`Tenants`](super::Tenants), and when they are started and stopped.

use tokio::{runtime::Handle, task::JoinHandle};

use crate::error::{Error, ErrorKind};

/// Starts the background tasks in a runtime.
type Start = Box<dyn Fn(&Handle) -> Vec<JoinHandle<()>> + Send>;

pub(super) struct Maintenance {
    start: Start,
    tasks: Vec<JoinHandle<()>>,
    is_shut_down: bool,
}

impl Maintenance {
    pub(super) fn new(start: Start) -> Self {
        Self {
            start,
            tasks: Vec::new(),
            is_shut_down: false,
        }
    }

    /// Starts the tasks in this runtime, unless they are running. They may have ended with the
    /// runtime that they were started in.
    pub(super) fn ensure_running(&mut self, runtime: Option<Handle>) -> Result<(), Error> {
        if self.is_shut_down {
            return Err(Error::new(
                ErrorKind::Interrupted,
                "the tenants are shut down: no further tenant is loaded",
            ));
        }
        if self.tasks.is_empty() || self.tasks.iter().any(JoinHandle::is_finished) {
            let runtime = runtime.ok_or_else(Error::outside_of_a_runtime)?;
            self.stop();
            self.tasks = (self.start)(&runtime);
        }
        Ok(())
    }

    /// Stops the tasks, and prevents that they are started again.
    pub(super) fn shut_down(&mut self) {
        self.is_shut_down = true;
        self.stop();
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.is_shut_down
    }

    fn stop(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.stop();
    }
}
