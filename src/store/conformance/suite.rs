//! The store under test: several handles to it, and calls that panic with the name of the rule.

use std::{error::Error as _, fmt::Display, future::Future, sync::Arc, time::Duration};

use tokio::{sync::Barrier, task::JoinSet};

use super::samples::{difference, in_words, plain};
use crate::{
    error::Error,
    store::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore},
    token::{Generation, Grant, TenantId},
};

/// A usual number of replicas.
const HANDLES: usize = 4;

/// Longer than any call to a working store takes.
const DEADLINE: Duration = Duration::from_secs(10);

/// How many tasks a race has.
pub(super) const MANY: usize = 32;

/// A lease that outlasts any test.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// How many findings a message lists.
const MOST_FINDINGS: usize = 8;

/// Four handles to the store under test, for one rule.
///
/// [`store_conformance_tests!`](crate::store_conformance_tests) opens a suite for each test.
#[derive(Debug)]
pub struct Suite<S> {
    rule: &'static str,
    /// Part of the name of every tenant, so that a store need not be empty.
    tag: String,
    pub(super) handles: Vec<Arc<S>>,
}

impl<S: TokenStore> Suite<S> {
    /// Opens the handles. `rule` is the name that starts each panic message.
    ///
    /// # Panics
    ///
    /// If `open` is not ready after 10 seconds.
    pub async fn open(rule: &'static str, open: impl AsyncFn() -> S) -> Self {
        let mut suite = Self {
            rule,
            tag: format!("{:020}", fastrand::u64(..)),
            handles: Vec::new(),
        };
        for _ in 0..HANDLES {
            let opened = within("open", async { Ok(open().await) }).await;
            let handle = suite.unwrap(opened);
            suite.handles.push(Arc::new(handle));
        }
        suite
    }

    #[expect(clippy::panic, reason = "a broken rule is a failed test")]
    pub(super) fn fail(&self, finding: impl Display) -> ! {
        panic!("{}: {finding}", self.rule)
    }

    /// Fails with a list, unless it is empty.
    pub(super) fn fail_if_any(&self, mut findings: Vec<String>) {
        if !findings.is_empty() {
            findings.truncate(MOST_FINDINGS);
            self.fail(findings.join("; "));
        }
    }

    pub(super) fn unwrap<T>(&self, result: Result<T, String>) -> T {
        result.unwrap_or_else(|finding| self.fail(finding))
    }

    pub(super) fn tenant(&self, word: &str) -> TenantId {
        self.named(&format!("conformance-@-{word}"))
    }

    /// The tenant of this name, with the suite's tag in place of `@`.
    pub(super) fn named(&self, name: &str) -> TenantId {
        let tenant = TenantId::new(name.replace('@', &self.tag));
        tenant.unwrap_or_else(|error| self.fail(error))
    }

    /// The name of an internal lease, with the suite's tag in place of `@`.
    pub(super) fn reserved(&self, name: &str) -> TenantId {
        TenantId::reserved(&name.replace('@', &self.tag))
    }

    pub(super) async fn load(&self, handle: usize, tenant: &TenantId) -> Option<Grant> {
        self.unwrap(within("load", self.handles[handle].load(tenant)).await)
    }

    pub(super) async fn try_save(
        &self,
        handle: usize,
        tenant: &TenantId,
        expected: Option<u64>,
        grant: &Grant,
    ) -> Result<SaveOutcome, String> {
        let expected = expected.map(Generation::from_u64);
        within("save", self.handles[handle].save(tenant, expected, grant)).await
    }

    pub(super) async fn save(
        &self,
        handle: usize,
        tenant: &TenantId,
        expected: Option<u64>,
        grant: &Grant,
    ) -> SaveOutcome {
        self.unwrap(self.try_save(handle, tenant, expected, grant).await)
    }

    pub(super) async fn acquire(
        &self,
        handle: usize,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> LeaseOutcome {
        let work = self.handles[handle].acquire(tenant, owner, duration);
        self.unwrap(within("acquire", work).await)
    }

    pub(super) async fn release(&self, handle: usize, tenant: &TenantId, owner: &LeaseOwner) {
        self.unwrap(within("release", self.handles[handle].release(tenant, owner)).await);
    }

    pub(super) async fn list(
        &self,
        handle: usize,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Vec<TenantId> {
        self.unwrap(within("tenants", self.handles[handle].tenants(after, limit)).await)
    }

    /// Saves over the generation that is stored.
    pub(super) async fn commit(
        &self,
        handle: usize,
        tenant: &TenantId,
        expected: Option<u64>,
        grant: &Grant,
    ) {
        if let SaveOutcome::Superseded(found) = self.save(handle, tenant, expected, grant).await {
            self.fail(format_args!(
                "expected Committed from a save of generation {} over {}, which is stored; got \
                 Superseded with {}",
                grant.generation,
                in_words(expected),
                in_words(found.map(|found| found.generation)),
            ));
        }
    }

    /// Saves over a generation that is not stored. Returns the grant of `Superseded`.
    pub(super) async fn refused(
        &self,
        tenant: &TenantId,
        wrong: Option<u64>,
        rival: u64,
        stored: Option<&Grant>,
    ) -> Option<Grant> {
        let (wrong_in_words, rival) = (in_words(wrong), plain(rival, "rival"));
        match self.save(0, tenant, wrong, &rival).await {
            SaveOutcome::Committed => self.fail(format_args!(
                "expected Superseded from a save over {wrong_in_words}, while {} is stored; got \
                 Committed",
                in_words(stored.map(|stored| stored.generation)),
            )),
            SaveOutcome::Superseded(found) => {
                if let Some(finding) = difference(stored, self.load(0, tenant).await.as_ref()) {
                    self.fail(format_args!(
                        "a save over {wrong_in_words} returned Superseded, and yet the grant has \
                         changed: {finding}"
                    ));
                }
                found
            }
        }
    }

    /// As [`Self::refused`], and `Superseded` contains the stored grant.
    pub(super) async fn superseded(
        &self,
        tenant: &TenantId,
        wrong: Option<u64>,
        rival: u64,
        stored: Option<&Grant>,
    ) {
        let found = self.refused(tenant, wrong, rival, stored).await;
        if let Some(finding) = difference(stored, found.as_ref()) {
            self.fail(format_args!(
                "Superseded must contain the stored grant: {finding}"
            ));
        }
    }

    pub(super) async fn loads(&self, handle: usize, tenant: &TenantId, stored: Option<&Grant>) {
        if let Some(finding) = difference(stored, self.load(handle, tenant).await.as_ref()) {
            self.fail(format_args!(
                "a load must return the saved grant: {finding}"
            ));
        }
    }

    /// Acquires a lease that is free, or the owner's.
    pub(super) async fn acquires(
        &self,
        handle: usize,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
        why: &str,
    ) {
        if self.acquire(handle, tenant, owner, duration).await == LeaseOutcome::HeldByAnother {
            self.fail(format_args!(
                "expected Acquired, as {why}; got HeldByAnother"
            ));
        }
    }

    /// Asks for a lease that another owner has.
    pub(super) async fn is_held(&self, handle: usize, tenant: &TenantId, why: &str) {
        let other = LeaseOwner::random();
        if self.acquire(handle, tenant, &other, LONG).await == LeaseOutcome::Acquired {
            self.fail(format_args!(
                "expected HeldByAnother, as {why}; got Acquired"
            ));
        }
    }

    /// Runs `work` in [`MANY`] tasks that start at the same moment, spread over the handles.
    pub(super) async fn race<T, W>(&self, work: impl Fn(usize, Arc<S>) -> W) -> Vec<T>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        let start = Arc::new(Barrier::new(MANY));
        let mut tasks = JoinSet::new();
        for (number, handle) in self.handles.iter().cycle().take(MANY).enumerate() {
            let (start, work) = (Arc::clone(&start), work(number, Arc::clone(handle)));
            tasks.spawn(async move {
                start.wait().await;
                work.await
            });
        }
        tasks.join_all().await
    }
}

/// Awaits a call that must succeed before the deadline. The error says what happened instead.
pub(super) async fn within<T>(
    call: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(result) => result.map_err(|error| format!("{call} failed: {}", with_sources(&error))),
        Err(_) => Err(format!(
            "{call} was not ready after {} s",
            DEADLINE.as_secs()
        )),
    }
}

fn with_sources(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
