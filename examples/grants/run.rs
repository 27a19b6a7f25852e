//! A run over all tenants of a store, for commands that change each grant: progress, grants that
//! are busy and tried again, and Ctrl-C.

use std::{collections::VecDeque, time::Duration};

use indicatif::ProgressBar;
use tokio::time::{Instant, sleep};
use tower_oauth2_client::{
    Error,
    store::{AnyStore, TokenStore as _},
    token::TenantId,
};

use crate::{
    interrupt::Interrupt,
    pages::{Pages, count},
    progress,
};

/// The pause between two tries of the grants that are busy.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Run {
    pages: Option<Pages>,
    next: VecDeque<TenantId>,
    busy: Vec<TenantId>,
    wait: Duration,
    /// Until when busy grants are tried again, once all others are done.
    until: Option<Instant>,
    interrupt: Interrupt,
    is_interrupted: bool,
    progress: ProgressBar,
}

/// The outcome of one grant.
pub(crate) enum Step {
    Done,
    /// Another process has its lease.
    Busy(TenantId),
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) busy: Vec<TenantId>,
    pub(crate) is_interrupted: bool,
}

impl Ended {
    pub(crate) fn is_complete(&self) -> bool {
        self.busy.is_empty() && !self.is_interrupted
    }
}

impl Run {
    pub(crate) async fn start(store: AnyStore, wait: Duration) -> Result<Self, Error> {
        let total = count(&store).await?;
        Ok(Self {
            pages: Some(Pages::new(store)),
            next: VecDeque::new(),
            busy: Vec::new(),
            wait,
            until: None,
            interrupt: Interrupt::listen(),
            is_interrupted: false,
            progress: progress::bar(total),
        })
    }

    /// The next tenant: of the store, and then those that were busy, until the wait is over.
    pub(crate) async fn next(&mut self) -> Result<Option<TenantId>, Error> {
        loop {
            if self.interrupt.is_requested() {
                self.is_interrupted = true;
                return Ok(None);
            }
            if let Some(tenant) = self.next.pop_front() {
                return Ok(Some(tenant));
            }
            if let Some(pages) = &mut self.pages {
                match pages.next().await? {
                    Some(page) => self.next.extend(page),
                    None => self.pages = None,
                }
                continue;
            }
            if self.busy.is_empty() {
                return Ok(None);
            }
            let now = Instant::now();
            let until = *self.until.get_or_insert(now + self.wait);
            if now >= until {
                return Ok(None);
            }
            sleep(PAUSE.min(until - now)).await;
            self.next.extend(self.busy.drain(..));
        }
    }

    /// Records the outcome of the last tenant.
    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Done => self.progress.inc(1),
            Step::Busy(tenant) => self.busy.push(tenant),
        }
    }

    /// Prints a line about a grant on the standard error output.
    pub(crate) fn report(&self, line: &str) {
        self.progress.suspend(|| eprintln!("{line}"));
    }

    pub(crate) fn end(mut self) -> Ended {
        self.progress.finish_and_clear();
        if self.until.is_some() {
            // Those that were about to be tried again.
            self.busy.extend(self.next.drain(..));
        }
        Ended {
            busy: self.busy,
            is_interrupted: self.is_interrupted,
        }
    }
}

/// Whether an error concerns one grant: fails if the store does not respond.
pub(crate) async fn is_reachable(store: &AnyStore) -> Result<(), Error> {
    store.tenants(None, 1).await.map(drop)
}
