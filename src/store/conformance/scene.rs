//! What every rule is looked at with: a few handles, calls that end, and the report.

use std::{collections::BTreeSet, error::Error as _, future::Future, sync::Arc, time::Duration};

use tokio::{sync::Barrier, task::JoinSet};

use super::{Report, Rule, samples::difference};
use crate::{
    error::Error,
    store::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore},
    token::{Generation, Grant, TenantId},
};

/// Longer than any store takes that works.
const DEADLINE: Duration = Duration::from_secs(10);

/// How many ask at once, where many do.
pub(super) const MANY: usize = 32;

/// A lease that lasts longer than what is done with it.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// There is nothing more to see of a rule: it is broken, or what it needs is. The report says so already.
pub(super) struct Stop;

pub(super) type Step<T = ()> = Result<T, Stop>;

/// Why a call came to nothing.
pub(super) enum Trouble {
    Hung(&'static str),
    Failed(&'static str, Error),
}

/// Gives every call the time it needs, and no more.
pub(super) async fn within<T>(
    call: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done.map_err(|error| Trouble::Failed(call, error)),
        Err(_) => Err(Trouble::Hung(call)),
    }
}

pub(super) struct Scene<S> {
    pub(super) handles: Vec<Arc<S>>,
    pub(super) report: Report,
    /// Whose grants were committed, but for those of which many were written at once.
    pub(super) saved: BTreeSet<TenantId>,
    /// Stands in the name of every tenant, so that a store need not be empty.
    tag: String,
    rule: Rule,
    hung: BTreeSet<&'static str>,
}

impl<S: TokenStore> Scene<S> {
    pub(super) fn new() -> Self {
        Self {
            handles: Vec::new(),
            report: Report::default(),
            saved: BTreeSet::new(),
            tag: format!("{:020}", fastrand::u64(..)),
            rule: Rule::Opens,
            hung: BTreeSet::new(),
        }
    }

    pub(super) async fn open(&mut self, work: impl Future<Output = Result<S, Error>>) -> Step {
        let opened = within("open", work).await;
        let handle = self.judge(opened)?;
        self.handles.push(Arc::new(handle));
        Ok(())
    }

    /// From here on, what is broken is `rule`. Ends at once if one that it rests on is broken: that has been told then, and
    /// this one could only tell it again.
    pub(super) fn begin(&mut self, rule: Rule, rests_on: &[Rule]) -> Step {
        self.rule = rule;
        if rests_on.iter().any(|rule| self.report.has(*rule)) {
            return Err(Stop);
        }
        Ok(())
    }

    pub(super) fn tenant(&self, word: &str) -> TenantId {
        self.named(&format!("conformance-@-{word}"))
    }

    /// With the tag in the place of `@`.
    #[expect(clippy::expect_used, reason = "the names that are asked for are legal")]
    pub(super) fn named(&self, name: &str) -> TenantId {
        TenantId::new(name.replace('@', &self.tag)).expect("a legal name")
    }

    pub(super) fn violated(&mut self, seen: impl Into<String>) -> Stop {
        self.violated_another(self.rule, seen)
    }

    pub(super) fn violated_another(&mut self, rule: Rule, seen: impl Into<String>) -> Stop {
        self.report.add(rule, seen.into());
        Stop
    }

    pub(super) fn judge<T>(&mut self, done: Result<T, Trouble>) -> Step<T> {
        match done {
            Ok(value) => Ok(value),
            Err(Trouble::Hung(call)) => {
                self.hung.insert(call);
                let seen = format!("{call} was not ready after {} seconds", DEADLINE.as_secs());
                Err(self.violated_another(Rule::CallsEnd, seen))
            }
            Err(Trouble::Failed(call, error)) => {
                let seen = format!("{call} failed: {}", with_causes(&error));
                Err(self.violated(seen))
            }
        }
    }

    /// Nobody waits a second time for what has never come.
    pub(super) fn comes_back(&self, call: &'static str) -> Step {
        if self.hung.contains(call) {
            return Err(Stop);
        }
        Ok(())
    }

    pub(super) async fn load(&mut self, handle: usize, tenant: &TenantId) -> Step<Option<Grant>> {
        self.comes_back("load")?;
        let loaded = within("load", self.handles[handle].load(tenant)).await;
        self.judge(loaded)
    }

    pub(super) async fn save(
        &mut self,
        handle: usize,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Step<SaveOutcome> {
        self.comes_back("save")?;
        let work = self.handles[handle].save(tenant, expected, grant);
        let saved = within("save", work).await;
        let outcome = self.judge(saved)?;
        if outcome == SaveOutcome::Committed {
            self.saved.insert(tenant.clone());
        }
        Ok(outcome)
    }

    pub(super) async fn list(
        &mut self,
        handle: usize,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Step<Vec<TenantId>> {
        self.comes_back("tenants")?;
        let listed = within("tenants", self.handles[handle].tenants(after, limit)).await;
        self.judge(listed)
    }

    pub(super) async fn acquire(
        &mut self,
        handle: usize,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Step<LeaseOutcome> {
        self.comes_back("acquire")?;
        let work = self.handles[handle].acquire(tenant, owner, duration);
        let acquired = within("acquire", work).await;
        self.judge(acquired)
    }

    pub(super) async fn release(
        &mut self,
        handle: usize,
        tenant: &TenantId,
        owner: &LeaseOwner,
    ) -> Step {
        self.comes_back("release")?;
        let released = within("release", self.handles[handle].release(tenant, owner)).await;
        self.judge(released)
    }

    /// Saves where that must succeed.
    pub(super) async fn commit(
        &mut self,
        handle: usize,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Step {
        match self.save(handle, tenant, expected, grant).await? {
            SaveOutcome::Committed => Ok(()),
            SaveOutcome::Superseded(held) => Err(self.violated(format!(
                "a save of generation {} that expected {}, which was there, was told of {}",
                grant.generation,
                in_words(expected),
                in_words(held.map(|held| held.generation)),
            ))),
        }
    }

    /// Loads what must be there.
    pub(super) async fn finds(
        &mut self,
        handle: usize,
        tenant: &TenantId,
        stored: Option<&Grant>,
    ) -> Step {
        let loaded = self.load(handle, tenant).await?;
        match difference(stored, loaded.as_ref()) {
            None => Ok(()),
            Some(seen) => Err(self.violated(format!("a load brought {seen}"))),
        }
    }

    /// Asks for a lease where nobody else may get it.
    pub(super) async fn is_held(&mut self, handle: usize, tenant: &TenantId, why: &str) -> Step {
        let other = LeaseOwner::random();
        match self.acquire(handle, tenant, &other, LONG).await? {
            LeaseOutcome::HeldByAnother => Ok(()),
            LeaseOutcome::Acquired => {
                Err(self.violated(format!("another owner has got the lease: {why}")))
            }
        }
    }

    /// Asks for a lease where it must be had.
    pub(super) async fn takes(
        &mut self,
        handle: usize,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
        why: &str,
    ) -> Step {
        match self.acquire(handle, tenant, owner, duration).await? {
            LeaseOutcome::Acquired => Ok(()),
            LeaseOutcome::HeldByAnother => {
                Err(self.violated(format!("the lease was refused: {why}")))
            }
        }
    }
}

/// Begins all of them in one moment, each in a task of its own, so that a runtime with several threads runs them at once.
pub(super) async fn at_once<T, W>(work: impl IntoIterator<Item = W>) -> Vec<T>
where
    T: Send + 'static,
    W: Future<Output = T> + Send + 'static,
{
    let work: Vec<W> = work.into_iter().collect();
    let start = Arc::new(Barrier::new(work.len()));
    let mut tasks = JoinSet::new();
    for one in work {
        let start = Arc::clone(&start);
        tasks.spawn(async move {
            start.wait().await;
            one.await
        });
    }
    tasks.join_all().await
}

pub(super) fn in_words(generation: Option<Generation>) -> String {
    match generation {
        Some(generation) => format!("generation {generation}"),
        None => "nothing".into(),
    }
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
