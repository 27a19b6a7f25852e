//! Ctrl-C: the grant at hand is finished, and the command reports how far it came.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::signal;

pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on. A second Ctrl-C ends the process at once.
    pub(crate) fn listen() -> Self {
        let requested = Arc::new(AtomicBool::new(false));
        let request = Arc::clone(&requested);
        tokio::spawn(async move {
            while signal::ctrl_c().await.is_ok() {
                if request.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            }
        });
        Self(requested)
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
