//! The whole model: replicas, store, provider and time, and every action that changes them.

use std::{
    cell::RefCell,
    fmt::{self, Write},
    hash::{BuildHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    properties::{Counts, Event, Known, Property, Violation},
    provider::Provider,
    replica::{Arrived, JobRun, Replica, reach_end},
    setting::{Budget, Setting, Start, access_number, refresh_number},
};
use crate::{
    cache::state::{
        Admission, Next, Reason,
        intent::{has_grace, replay_limit},
        schedule::Schedule,
    },
    error::{Error, ErrorKind, ResponseDetails},
    store::{LeaseOutcome, SaveOutcome},
    token::{Generation, Grant, GrantState, ReauthorizationReason, TokenSet},
};

/// An exception of [`Property::P10IntentIsKept`]: a replica that could not save the end of the
/// grant saves it in a later store check, without the lease. This may overwrite the intent of a
/// replica that presents the same refresh token, which the provider has rejected.
const END_IS_SAVED_WITHOUT_LEASE: bool = true;

/// An exception of [`Property::P13DeliveredTokensAreKept`]: if two replicas got two successors of
/// one refresh token, because the first was stopped until its lease had expired, the successor that
/// is saved first is kept, and the other one is dropped. The kept one may be the older one, which
/// is right only if the provider accepts it.
const FIRST_SAVED_SUCCESSOR_WINS: bool = true;

/// An exception of [`Property::P15ReasonOfEnd`]: a process that was stopped until its lease had
/// expired saves its token set over the intent of a later replay. If the response to that replay
/// was lost, the end is stored as `InvalidGrant`.
const LATE_SAVE_HIDES_LOSS: bool = true;

/// One change of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// A caller or the background task of an idle replica requests a refresh.
    Start(usize, Reason),
    /// A replica performs its pending step, and handles the result.
    Step(usize, How),
    /// A process crashes, before or after its pending step took effect, and starts again.
    Crash(usize, Effect),
    /// A process stops, before or after its pending step took effect.
    Stall(usize, Effect),
    /// A stopped process continues. It may extend its lease before it handles what arrived.
    Resume(usize, Extends),
    /// A replica follows an announcement: it loads the grant and adopts it, whatever else it does.
    Follow(usize),
    /// The customer ends the grant at the provider.
    EndAtProvider,
    /// Time passes until something may happen by itself.
    Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Extends {
    Afterwards,
    First,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    Without,
    With,
}

/// How a step ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum How {
    Succeeds,
    /// An operation of the store fails without effect.
    Fails,
    /// An operation of the store takes effect, and the replica gets an error.
    FailsAfterEffect,
    /// The token request does not reach the provider, and the connection breaks.
    LostBefore,
    /// The provider processes the token request, and the connection breaks.
    LostAfter,
    /// The token request does not reach the provider, and no response comes.
    HangsBefore,
    /// The provider processes the token request, and no response comes.
    HangsAfter,
    /// The connection is refused.
    NotSent,
    /// The provider responds with 503 and `Retry-After`.
    Unavailable,
}

/// The owner of the lease in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Replica(usize),
    /// A process that has crashed: its successor has another name.
    Crashed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct StoredLease {
    owner: Owner,
    until: u64,
}

/// The refresh token of one token set, as it was presented so far.
#[derive(Clone, Copy, Debug, Default, Hash)]
struct Presentations {
    outcome: Presented,
    /// How often it was presented again although the first response was lost.
    replays: u8,
    first_at: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Presented {
    /// Never, or each time with a response that proves that it was not processed.
    #[default]
    Unused,
    /// A replica waits for the response, or saves it.
    Open,
    /// The response was lost, or the replica crashed.
    Lost,
    /// A successor was stored.
    Replaced,
}

/// A state of the model.
#[derive(Clone)]
pub(super) struct World {
    replicas: Vec<Arc<Replica>>,
    /// The hashes of the replicas, so that only changed ones are hashed again.
    hashes: Vec<u64>,
    pub(super) now: u64,
    /// How many intents were begun at this moment. Each begins one nanosecond later, because their
    /// start times identify them.
    intents: u8,
    grant: Option<Arc<Grant>>,
    grant_hash: u64,
    lease: Option<StoredLease>,
    provider: Provider,
    /// By the number of the access token: without rotation, token sets share one refresh token.
    presentations: Vec<Presentations>,
    pub(super) budget: Budget,
    /// Whether a fault has happened after which a rotation may have been lost.
    may_have_lost: bool,
    /// How many token requests were sent. Only counted during a recovery, because it is part of
    /// the state.
    pub(super) requests: Option<u32>,
}

impl World {
    pub(super) fn new(setting: &Setting) -> Self {
        let tokens = setting.first_tokens();
        let mut provider = Provider::new(setting.rotation);
        let mut presentations = vec![Presentations::default(); 2];
        let state = match setting.start {
            Start::Intent {
                age, is_processed, ..
            } => {
                if is_processed {
                    drop(provider.present(1, setting, 0));
                }
                presentations[1].outcome = Presented::Lost;
                GrantState::Refreshing {
                    tokens,
                    since: setting.before(age),
                    is_replayed: false,
                }
            }
            Start::Expired | Start::Mandatory | Start::Advisory => GrantState::Active(tokens),
            Start::Rejected => {
                provider.rejected_access = 1;
                GrantState::Active(tokens)
            }
        };
        let grant = Grant::new(Generation::FIRST, state);
        let mut world = Self {
            replicas: Vec::new(),
            hashes: vec![0; setting.replicas],
            now: 0,
            intents: 0,
            grant_hash: hash_of(&grant),
            grant: Some(Arc::new(grant)),
            lease: None,
            provider,
            presentations,
            budget: setting.budget,
            may_have_lost: matches!(setting.start, Start::Intent { .. }),
            requests: None,
        };
        for _ in 0..setting.replicas {
            let mut replica = Replica::default();
            replica
                .state
                .adopt(world.grant.as_deref(), setting.moment(0));
            replica.state.held().mark_used();
            world.replicas.push(Arc::new(replica));
        }
        for index in 0..setting.replicas {
            world.tidy(index, setting);
            world.hashes[index] = hash_of(&world.replicas[index]);
        }
        world
    }

    pub(super) fn is_idle(&self) -> bool {
        self.replicas.iter().all(|replica| replica.job.is_none())
    }

    /// A key that is equal for worlds that differ only in the order of their replicas.
    pub(super) fn key(&self) -> u64 {
        let is_owner = |index| {
            let owner = self.lease.map(|lease| lease.owner);
            u64::from(owner == Some(Owner::Replica(index)))
        };
        let mut keys: Vec<u64> = (0..self.replicas.len())
            .map(|index| self.hashes[index].rotate_left(1) ^ is_owner(index))
            .collect();
        keys.sort_unstable();
        mixed(&(
            keys,
            (self.now, self.intents),
            self.grant_hash,
            self.lease
                .map(|lease| (lease.owner == Owner::Crashed, lease.until)),
            &self.provider,
            &self.presentations,
            self.budget,
            self.may_have_lost,
            self.requests,
        ))
    }

    /// As [`key`](Self::key), without the history that only properties need.
    pub(super) fn recovery_key(&self) -> u64 {
        let mut world = self.clone();
        world.budget = Budget::default();
        world.may_have_lost = true;
        world.presentations = Vec::new();
        world.requests = None;
        world.key()
    }

    /// The newest access token in the store.
    pub(super) fn stored_number(&self) -> u8 {
        let stored = self.grant.as_deref().and_then(Grant::tokens);
        stored.map(access_number).unwrap_or_default()
    }

    /// Whether the grant was refreshed since `before` was stored, or has ended, and every replica
    /// knows that.
    pub(super) fn is_recovered(&self, before: u8) -> bool {
        let Some(grant) = self.grant.as_deref() else {
            return false;
        };
        if !self.is_idle() {
            return false;
        }
        if !grant.state.is_refreshable() {
            let is_known = |replica: &Arc<Replica>| replica.state.held().ended().is_some();
            return self.replicas.iter().all(is_known);
        }
        let is_active = matches!(grant.state, GrantState::Active(_));
        let number = self.stored_number();
        is_active
            && number > before
            && self.replicas.iter().all(|replica| {
                let held = replica.state.held();
                held.tokens().map(access_number) == Some(number)
            })
    }

    /// Whether time may pass before the exploration ends.
    pub(super) fn may_tick(&self, setting: &Setting) -> bool {
        self.next_moment(setting)
            .is_some_and(|at| at <= setting.horizon)
    }

    /// Whether every job in flight waits.
    pub(super) fn is_waiting(&self) -> bool {
        self.replicas
            .iter()
            .all(|replica| replica.ready().is_none())
    }

    /// Every action that is possible now.
    pub(super) fn actions(&self, setting: &Setting, known: &mut Known, actions: &mut Vec<Action>) {
        actions.clear();
        if let Some(index) = self.sending() {
            let replica = &self.replicas[index];
            self.steps(index, replica, actions);
            self.accidents(index, replica, actions);
            return;
        }
        let mut is_busy = false;
        for (index, replica) in self.replicas.iter().enumerate() {
            if replica.ready().is_some() {
                is_busy = true;
                self.steps(index, replica, actions);
            }
            if replica.job.is_none() {
                let before = actions.len();
                self.starts(index, replica, setting, known, actions);
                let is_optional =
                    |action: &Action| matches!(action, Action::Start(_, Reason::Manual(_)));
                is_busy |= replica.is_awake && !actions[before..].iter().all(is_optional);
            }
            let stalled_at = replica.job.as_ref().and_then(|job| job.stalled_at);
            if stalled_at.is_some_and(|at| at < self.now || self.next_moment(setting).is_none()) {
                actions.push(Action::Resume(index, Extends::Afterwards));
                let may_extend = replica.job.as_ref().is_some_and(|job| {
                    job.must_release && !matches!(job.next, Some(Next::Done(_)))
                });
                if may_extend {
                    actions.push(Action::Resume(index, Extends::First));
                }
            }
            self.accidents(index, replica, actions);
            if setting.announces && !replica.is_stalled() && self.is_behind(replica) {
                actions.push(Action::Follow(index));
            }
        }
        if self.budget.ends > 0 && self.provider.is_alive {
            actions.push(Action::EndAtProvider);
        }
        if !is_busy && self.may_tick(setting) {
            actions.push(Action::Tick);
        }
    }

    /// Whether an announcement that the replica has not followed yet would make it load the grant.
    fn is_behind(&self, replica: &Replica) -> bool {
        replica.state.held().generation() < self.generation()
    }

    /// The replica that sends a token request. This happens right after the decision to send it,
    /// and no step of another replica depends on the order.
    fn sending(&self) -> Option<usize> {
        self.replicas.iter().position(|replica| {
            replica
                .ready()
                .is_some_and(|job| matches!(job.next, Some(Next::Fetch(_))))
        })
    }

    fn steps(&self, index: usize, replica: &Replica, actions: &mut Vec<Action>) {
        let Some(next) = replica.ready().and_then(|job| job.next.as_ref()) else {
            return;
        };
        let mut push = |how| actions.push(Action::Step(index, how));
        push(How::Succeeds);
        match next {
            Next::Load(_) if self.budget.store > 0 => push(How::Fails),
            Next::AcquireLease(_) if self.budget.store > 0 => {
                push(How::Fails);
                if self.is_lease_free_for(index) {
                    push(How::FailsAfterEffect);
                }
            }
            Next::Save(save) if self.budget.store > 0 => {
                push(How::Fails);
                if self.generation() == save.expected() {
                    push(How::FailsAfterEffect);
                }
            }
            Next::Persist(persist) if self.budget.store > 0 => {
                push(How::Fails);
                if self.generation() == persist.expected() {
                    push(How::FailsAfterEffect);
                }
            }
            Next::Done(_)
                if self.budget.store > 0
                    && replica.job.as_ref().is_some_and(|job| job.must_release) =>
            {
                push(How::Fails);
            }
            Next::Fetch(_) => {
                if self.budget.lost > 0 {
                    push(How::LostBefore);
                    push(How::LostAfter);
                    push(How::HangsBefore);
                    push(How::HangsAfter);
                }
                if self.budget.refusals > 0 {
                    push(How::NotSent);
                    push(How::Unavailable);
                }
            }
            _ => {}
        }
    }

    /// Crashes and stops. A crash without effect is one before the step, so it is left out if the
    /// step has no effect.
    fn accidents(&self, index: usize, replica: &Replica, actions: &mut Vec<Action>) {
        let Some(job) = &replica.job else { return };
        let has_effect = job.arrived.is_none()
            && !job.is_hanging
            && match &job.next {
                Some(Next::AcquireLease(_)) => self.is_lease_free_for(index),
                Some(Next::Save(save)) => self.generation() == save.expected(),
                Some(Next::Persist(persist)) => self.generation() == persist.expected(),
                Some(Next::Fetch(_)) => true,
                Some(Next::Done(_)) => job.must_release,
                _ => false,
            };
        if self.budget.crashes > 0 {
            actions.push(Action::Crash(index, Effect::Without));
            if has_effect && job.until.is_none() {
                actions.push(Action::Crash(index, Effect::With));
            }
        }
        if self.budget.stalls > 0 && !job.is_stalled() {
            // No time passes between the lease check and the arrival of the token request.
            let is_sending = matches!(job.next, Some(Next::Fetch(_))) && !job.is_hanging;
            if !is_sending {
                actions.push(Action::Stall(index, Effect::Without));
            }
            let is_loading = matches!(job.next, Some(Next::Load(_)));
            if (has_effect || is_loading) && job.until.is_none() {
                actions.push(Action::Stall(index, Effect::With));
            }
        }
    }

    /// The requests for which an idle replica starts a job. Leaves out store checks that would find
    /// nothing new.
    fn starts(
        &self,
        index: usize,
        replica: &Replica,
        setting: &Setting,
        known: &mut Known,
        actions: &mut Vec<Action>,
    ) {
        let m = setting.moment(self.now);
        let key = self.reasons_key(index);
        let starts = known.starts.entry(key).or_insert_with(|| {
            let mut starts = Vec::new();
            for reason in self.reasons(replica, setting) {
                if let Admission::Start(job, _) = replica.state.clone().request(reason, m) {
                    starts.push((reason, job.is_store_check()));
                }
            }
            starts
        });
        let is_up_to_date = || replica.state.held().grant() == self.grant.as_deref();
        for (reason, is_store_check) in starts {
            if !*is_store_check || !is_up_to_date() {
                actions.push(Action::Start(index, *reason));
            }
        }
    }

    /// A key of everything that the requests of a replica depend on.
    fn reasons_key(&self, index: usize) -> u64 {
        let has_manual = self.budget.manual > 0;
        let rejected = self.provider.rejected_access;
        mixed(&(self.hashes[index], self.now, has_manual, rejected))
    }

    /// Why a replica may request a refresh now.
    fn reasons(&self, replica: &Replica, setting: &Setting) -> Vec<Reason> {
        let m = setting.moment(self.now);
        let mut state = replica.state.clone();
        let mut reasons = state.plan(m).requests;
        if !reasons.contains(&Reason::Mandatory) {
            reasons.push(Reason::Mandatory);
        }
        let held = state.held();
        let is_rejected = held
            .tokens()
            .is_some_and(|tokens| access_number(tokens) <= self.provider.rejected_access);
        if let Some(generation) = held.generation() {
            if is_rejected {
                reasons.push(Reason::Rejected(generation));
            }
            if self.budget.manual > 0 {
                reasons.push(Reason::Manual(Some(generation)));
            }
        }
        reasons
    }

    /// When something may happen by itself again: the end of a wait, a deadline, the end of a lease
    /// that no process extends, a window of a token, or the end of a backoff.
    fn next_moment(&self, setting: &Setting) -> Option<u64> {
        let mut moments: Vec<u64> = Vec::new();
        for replica in self.replicas.iter().filter(|replica| !replica.is_stalled()) {
            moments.extend(replica.job.as_ref().and_then(|job| job.until));
            let held = replica.state.held();
            if let Some((_, schedule)) = held.token() {
                let windows = [
                    schedule.refresh_at,
                    schedule.mandatory_at,
                    schedule.last_resort_at,
                    schedule.expires,
                ];
                moments.extend(windows.into_iter().filter_map(|at| setting.until(at)));
            }
            let since = held.intent_since().and_then(|at| setting.until_wall(at));
            let m = setting.moment(self.now);
            let limit = u64::try_from(replay_limit(m).as_millis()).unwrap();
            moments.extend(since.map(|since| since + limit));
            if has_grace(m) {
                let paused = replica.state.until_replay(m).as_millis();
                moments.push(self.now + u64::try_from(paused).unwrap());
            }
            if replica.job.is_none() {
                moments.extend(self.retries(replica, setting));
            }
        }
        if let Some(lease) = self.lease
            && !self.is_extended(lease)
        {
            moments.push(lease.until);
        }
        moments.into_iter().filter(|at| *at > self.now).min()
    }

    /// The moments at which an idle replica may start another job.
    fn retries<'a>(
        &'a self,
        replica: &'a Replica,
        setting: &'a Setting,
    ) -> impl Iterator<Item = u64> + 'a {
        use crate::cache::state::backoff::Urgency;
        let state = &replica.state;
        let backoffs = [Urgency::Advisory, Urgency::Mandatory, Urgency::Blocking]
            .into_iter()
            .filter_map(|urgency| state.backoff.until(0, urgency));
        // A store check that would find nothing new is of no interest.
        let is_outdated = state.held().grant() != self.grant.as_deref();
        let store_checks = state
            .store_checked_at
            .filter(|_| is_outdated)
            .into_iter()
            .flat_map(|at| [1, 30].map(|seconds| at + Duration::from_secs(seconds)));
        backoffs
            .chain(store_checks)
            .filter_map(|at| setting.until(at))
    }

    pub(super) fn apply(
        &self,
        action: Action,
        setting: &Setting,
        counts: &mut Counts,
    ) -> Result<Self, Violation> {
        let mut world = self.clone();
        match action {
            Action::Start(index, reason) => world.start(index, reason, setting),
            Action::Step(index, how) => {
                world.spend(how);
                if let Some(arrived) = world.perform(index, how, setting, counts)? {
                    world.handle(index, arrived, setting, counts)?;
                }
            }
            Action::Crash(index, effect) => world.crash(index, effect, setting, counts)?,
            Action::Stall(index, effect) => {
                world.budget.stalls -= 1;
                let arrived = match effect {
                    Effect::Without => None,
                    Effect::With => world.perform(index, How::Succeeds, setting, counts)?,
                };
                let now = world.now;
                let job = world.job(index);
                job.stalled_at = Some(now);
                job.has_stalled = true;
                job.arrived = arrived;
                world.may_have_lost = true;
            }
            Action::Resume(index, extends) => {
                if extends == Extends::First {
                    world.extend(index, setting, counts);
                }
                let job = world.job(index);
                job.stalled_at = None;
                if let Some(arrived) = job.arrived.take() {
                    world.handle(index, arrived, setting, counts)?;
                } else {
                    world.wake(index, setting, counts)?;
                }
            }
            Action::Follow(index) => {
                let (stored, m) = (world.grant.clone(), setting.moment(world.now));
                world.replica(index).state.adopt(stored.as_deref(), m);
                counts.reach(Event::AnnouncementAdopted);
                let is_held = !world.is_behind(&world.replicas[index]);
                counts.check(Property::P12AnnouncedSaveIsHeld, is_held, || {
                    format!("replica {index}")
                })?;
            }
            Action::EndAtProvider => {
                world.budget.ends -= 1;
                world.provider.end();
            }
            Action::Tick => world.tick(setting, counts)?,
        }
        for index in 0..world.replicas.len() {
            world.run(index, setting, counts);
            let has_changed = !Arc::ptr_eq(&world.replicas[index], &self.replicas[index]);
            if has_changed || action == Action::Tick {
                world.tidy(index, setting);
                world.hash(index, self, action, counts);
                world.check(index, setting, counts)?;
            }
        }
        Ok(world)
    }

    fn start(&mut self, index: usize, reason: Reason, setting: &Setting) {
        let now = self.now;
        let replica = self.replica(index);
        let m = setting.moment(now);
        if reason == Reason::Mandatory {
            replica.state.held().mark_used();
        }
        if let Admission::Start(job, demand) = replica.state.request(reason, m) {
            replica.start(job, reason, demand.is_urgent, setting, now);
        }
        if let Reason::Manual(_) = reason {
            self.budget.manual -= 1;
        }
    }

    fn spend(&mut self, how: How) {
        let budget = &mut self.budget;
        match how {
            How::Succeeds => {}
            How::Fails | How::FailsAfterEffect => {
                budget.store -= 1;
                self.may_have_lost = true;
            }
            How::LostBefore | How::LostAfter | How::HangsBefore | How::HangsAfter => {
                budget.lost -= 1;
                self.may_have_lost = true;
            }
            How::NotSent | How::Unavailable => budget.refusals -= 1,
        }
    }

    /// Performs the pending step in the store or at the provider. Returns what the replica gets.
    /// `None` if that does not come.
    fn perform(
        &mut self,
        index: usize,
        how: How,
        setting: &Setting,
        counts: &mut Counts,
    ) -> Result<Option<Arrived>, Violation> {
        let replica = Arc::clone(&self.replicas[index]);
        let job = replica.job.as_ref().unwrap();
        let failure = || Error::store("failed");
        let arrived = match job.next.as_ref().unwrap() {
            Next::Load(_) => Arrived::Loaded(match how {
                How::Fails => Err(failure()),
                _ => Ok(self.grant.as_deref().cloned()),
            }),
            Next::AcquireLease(_) => {
                let m = setting.moment(self.now);
                if !job.is_counted {
                    self.job(index).is_counted = true;
                    self.replica(index).state.begin_lease_use();
                }
                let outcome = match how {
                    How::Fails => Err(failure()),
                    _ => Ok(self.acquire(index, setting, counts)),
                };
                let outcome = match how {
                    How::FailsAfterEffect => Err(failure()),
                    _ => outcome,
                };
                if let Ok(outcome) = outcome {
                    self.replica(index).state.lease_acquired(outcome, m);
                }
                if !matches!(outcome, Ok(LeaseOutcome::HeldByAnother)) {
                    self.job(index).must_release = true;
                }
                Arrived::Acquired(outcome)
            }
            Next::Save(save) => {
                let saved =
                    self.save(index, save.expected(), save.grant(), how, setting, counts)?;
                Arrived::Saved(saved)
            }
            Next::Persist(persist) => {
                let (expected, grant) = (persist.expected(), persist.grant());
                Arrived::Saved(self.save(index, expected, grant, how, setting, counts)?)
            }
            Next::Fetch(fetch) => {
                let tokens = fetch.tokens().unwrap();
                let response = self.present(index, tokens, how, setting, counts)?;
                if let How::HangsBefore | How::HangsAfter = how {
                    let until =
                        self.now + u64::try_from(setting.policy.fetch_timeout.as_millis()).unwrap();
                    let job = self.job(index);
                    job.is_hanging = true;
                    job.until = Some(until);
                    return Ok(None);
                }
                Arrived::Fetched(response)
            }
            Next::Done(_) => {
                if job.is_counted {
                    self.replica(index).state.end_lease_use(0);
                }
                let is_used = self.replicas[index].state.is_lease_used();
                let has_failed = how == How::Fails;
                if job.must_release && !is_used && !has_failed && self.is_leased_by(index) {
                    self.lease = None;
                }
                self.job(index).is_counted = false;
                Arrived::Released { has_failed }
            }
            next => unreachable!("{next:?}"),
        };
        Ok(Some(arrived))
    }

    /// The replica handles the result of its pending step.
    fn handle(
        &mut self,
        index: usize,
        arrived: Arrived,
        setting: &Setting,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        let mut m = setting.moment(self.now);
        let next = self.job(index).next.take().unwrap();
        let begins_intent = matches!(next, Next::Load(_)) && next.excludes_commands();
        if begins_intent {
            m.wall += Duration::from_nanos(self.intents.into());
        }
        let replica = self.replica(index);
        let state = &mut replica.state;
        let job = replica.job.as_mut().unwrap();
        job.until = None;
        job.is_hanging = false;
        job.has_paused = false;
        let next = match (next, arrived) {
            (Next::Load(load), Arrived::Loaded(result)) => {
                let loaded = result.as_ref().ok().cloned();
                let next = load.loaded(result, state, m);
                let is_waiting = matches!(&next, Next::Wait(wait) if wait.ends_on_store_change());
                job.loaded = loaded.filter(|_| is_waiting);
                let has_begun = begins_intent && matches!(next, Next::Save(_));
                job.next = Some(next);
                self.intents += u8::from(has_begun);
                return Ok(());
            }
            (Next::AcquireLease(acquire), Arrived::Acquired(outcome)) => {
                let is_acquired = outcome
                    .as_ref()
                    .is_ok_and(|outcome| *outcome == LeaseOutcome::Acquired);
                if is_acquired {
                    job.lease_wait = None;
                }
                job.loaded = None;
                acquire.acquired(outcome)
            }
            (Next::Save(save), Arrived::Saved(outcome)) => save.saved(outcome, state, m),
            (Next::Persist(persist), Arrived::Saved(outcome)) => {
                let is_conflict = matches!(
                    &outcome,
                    Ok(SaveOutcome::Superseded(found)) if found.as_ref() != Some(persist.grant())
                );
                let next = persist.saved(outcome, job.is_urgent, false, state, m);
                if matches!(&next, Next::Persist(persist) if persist.is_used()) {
                    counts.reach(Event::UsedUnsaved);
                }
                if is_conflict {
                    counts.reach(match next {
                        Next::Persist(_) => Event::ConflictOverwritten,
                        _ => Event::ConflictAdopted,
                    });
                }
                next
            }
            (Next::Fetch(fetch), Arrived::Fetched(response)) => {
                let number = access_number(fetch.tokens().unwrap());
                match &response {
                    Ok(tokens) => {
                        replica.unsaved = Some(access_number(tokens));
                    }
                    Err(_) => replica.presenting = None,
                }
                let next = fetch.fetched(response.clone(), state, m);
                self.settle(number, &response);
                self.job(index).next = Some(next);
                return Ok(());
            }
            (Next::Done(done), Arrived::Released { has_failed }) => {
                let must_release = job.must_release && !has_failed;
                if job.must_release {
                    state.lease_released();
                }
                state.finish(&done, m);
                reach_end(job, &done, counts);
                replica.job = None;
                if let Some(number) = replica.presenting.take() {
                    // The stored token set of another replica replaces its own.
                    self.presentations[usize::from(number)].outcome = Presented::Replaced;
                }
                let is_left = must_release && self.is_leased_by(index);
                counts.check(Property::LeaseIsReleased, !is_left, || {
                    format!("replica {index}")
                })?;
                return Ok(());
            }
            (next, arrived) => unreachable!("{next:?} {arrived:?}"),
        };
        self.job(index).next = Some(next);
        Ok(())
    }

    /// Records the outcome of a presentation, as its replica knows it.
    fn settle(&mut self, number: u8, response: &Result<TokenSet, Error>) {
        let presentations = &mut self.presentations[usize::from(number)];
        match response {
            Ok(_) => {}
            Err(error) if error.is_response_lost() || presentations.replays > 0 => {
                presentations.outcome = Presented::Lost;
            }
            Err(_) => presentations.outcome = Presented::Unused,
        }
    }

    fn save(
        &mut self,
        index: usize,
        expected: Option<Generation>,
        grant: &Grant,
        how: How,
        setting: &Setting,
        counts: &mut Counts,
    ) -> Result<Result<SaveOutcome, Error>, Violation> {
        let failure = || Error::store("failed");
        if how == How::Fails {
            return Ok(Err(failure()));
        }
        if self.generation() != expected {
            let stored = self.grant.as_deref().cloned();
            return Ok(Ok(SaveOutcome::Superseded(stored)));
        }
        self.commit(index, grant, setting, counts)?;
        Ok(match how {
            How::FailsAfterEffect => Err(failure()),
            _ => Ok(SaveOutcome::Committed),
        })
    }

    fn commit(
        &mut self,
        index: usize,
        grant: &Grant,
        setting: &Setting,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        let new = grant.tokens().unwrap();
        if let Some(old) = &self.grant {
            self.check_overwritten(index, old, grant, counts)?;
            let (before, after) = (access_number(old.tokens().unwrap()), access_number(new));
            let has_ended = !old.state.is_refreshable();
            // An end is saved again if the API has rejected the access token, which then serves no
            // longer.
            let is_end = !grant.state.is_refreshable();
            let is_newer = after > before || (after == before && (!has_ended || is_end));
            counts.check(Property::P12StoredTokensNeverGoBack, is_newer, || {
                format!("replica {index} saves a{after} over a{before}")
            })?;
        }
        match &grant.state {
            GrantState::ReauthorizationRequired { reason, .. } => {
                self.check_end(*reason, new, setting, counts)?;
            }
            GrantState::Active(tokens) => {
                let stored = self.grant.as_deref().and_then(Grant::tokens);
                if stored == Some(tokens) {
                    counts.reach(Event::Restored);
                }
            }
            _ => {}
        }
        let number = access_number(new);
        if self.replicas[index].unsaved == Some(number) {
            let replica = self.replica(index);
            if let Some(presented) = replica.presenting.take() {
                self.presentations[usize::from(presented)].outcome = Presented::Replaced;
            }
        }
        for other in 0..self.replicas.len() {
            if self.replicas[other]
                .unsaved
                .is_some_and(|unsaved| unsaved <= number)
            {
                self.replica(other).unsaved = None;
            }
        }
        self.grant_hash = hash_of(grant);
        self.grant = Some(Arc::new(grant.clone()));
        Ok(())
    }

    /// Checks that no save replaces the intent of another replica whose token request is in flight.
    fn check_overwritten(
        &self,
        index: usize,
        old: &Grant,
        new: &Grant,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        let is_intent = matches!(old.state, GrantState::Refreshing { .. });
        let presented = old.tokens().map(access_number);
        let presenter = self
            .replicas
            .iter()
            .enumerate()
            .position(|(other, replica)| {
                other != index
                    && replica.presenting == presented
                    && replica.job.as_ref().is_some_and(|job| !job.has_stalled)
            });
        let has_stalled = self.replicas[index]
            .job
            .as_ref()
            .is_some_and(|job| job.has_stalled);
        let is_end = !new.state.is_refreshable();
        let is_overwritten = is_intent && presenter.is_some() && !has_stalled;
        if is_overwritten && is_end && END_IS_SAVED_WITHOUT_LEASE {
            counts.reach(Event::EndSavedDuringRequest);
            return Ok(());
        }
        counts.check(Property::P10IntentIsKept, !is_overwritten, || {
            format!("replica {index} overwrites the intent of {presenter:?} with {new:?}")
        })
    }

    /// Checks the end of the grant before it is stored.
    fn check_end(
        &self,
        reason: ReauthorizationReason,
        ended: &TokenSet,
        setting: &Setting,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        let stored = self.grant.as_deref().and_then(Grant::tokens);
        let persisting = self
            .replicas
            .iter()
            .filter_map(|replica| replica.persisting());
        let living = stored
            .into_iter()
            .chain(persisting)
            .map(refresh_number)
            .find(|number| self.provider.accepts(*number, self.now));
        counts.check(Property::P12LiveGrantIsNotEnded, living.is_none(), || {
            format!("r{} is valid", living.unwrap_or_default())
        })?;
        let is_rotation_lost = self.provider.newest() > refresh_number(ended);
        let is_right = match reason {
            ReauthorizationReason::RotationLost => self.may_have_lost,
            ReauthorizationReason::InvalidGrant => {
                let has_stalled = self.budget.stalls < setting.budget.stalls;
                !is_rotation_lost || (LATE_SAVE_HIDES_LOSS && has_stalled)
            }
            ReauthorizationReason::RefreshTokenExpired | ReauthorizationReason::NoRefreshToken => {
                false
            }
        };
        counts.reach(match reason {
            ReauthorizationReason::RotationLost => Event::EndedRotationLost,
            _ => Event::EndedInvalidGrant,
        });
        counts.check(Property::P15ReasonOfEnd, is_right, || {
            format!(
                "{reason:?} for r{}, while r{} is the newest",
                refresh_number(ended),
                self.provider.newest()
            )
        })
    }

    /// The token request arrives at the provider, or is lost on its way.
    fn present(
        &mut self,
        index: usize,
        tokens: &TokenSet,
        how: How,
        setting: &Setting,
        counts: &mut Counts,
    ) -> Result<Result<TokenSet, Error>, Violation> {
        let (number, refresh) = (access_number(tokens), refresh_number(tokens));
        self.check_presentation(index, tokens, setting, counts)?;
        let reason = self.replicas[index].job.as_ref().map(|job| job.reason);
        let is_awaited = !matches!(reason, Some(Reason::Advisory | Reason::KeepAlive(_)));
        counts.check(
            Property::P13OnlyAwaitedRequests,
            setting.is_staying || is_awaited,
            || format!("replica {index} for {reason:?}"),
        )?;
        while self.presentations.len() <= usize::from(number) {
            self.presentations.push(Presentations::default());
        }
        let now = self.now;
        let presentations = &mut self.presentations[usize::from(number)];
        if presentations.outcome == Presented::Unused {
            presentations.first_at = now;
        } else {
            let is_again = presentations.replays > 0;
            presentations.replays = presentations.replays.saturating_add(1);
            if has_grace(setting.moment(now)) {
                // The number depends on the time only.
                presentations.replays = 1;
                if is_again {
                    counts.reach(Event::ReplayedAgain);
                }
            } else {
                presentations.first_at = 0;
            }
            counts.reach(Event::Replayed);
        }
        presentations.outcome = Presented::Open;
        let replica = self.replica(index);
        replica.presenting = Some(number);
        replica.last_sent = Some(now);
        if let Some(requests) = &mut self.requests {
            *requests += 1;
        }
        let lost = || Error::response_lost("lost");
        match how {
            How::LostBefore | How::HangsBefore => return Ok(Err(lost())),
            How::NotSent => return Ok(Err(Error::unavailable("refused"))),
            How::Unavailable => {
                let error = Error::new(ErrorKind::Unavailable, "503");
                return Ok(Err(error.with_response(ResponseDetails {
                    status: Some(http::StatusCode::SERVICE_UNAVAILABLE),
                    retry_after: Some(Duration::from_secs(5)),
                    ..ResponseDetails::default()
                })));
            }
            _ => {}
        }
        let was_alive = self.provider.is_alive;
        let was_newest = refresh == self.provider.newest();
        let response = self.provider.present(refresh, setting, now);
        if was_alive && !self.provider.is_alive {
            counts.reach(Event::FamilyEndedByReuse);
            let has_lost = self.may_have_lost;
            counts.check(Property::P11NoReuseWithoutFault, has_lost, || {
                format!("r{refresh}")
            })?;
        }
        if response.is_ok() && !was_newest {
            counts.reach(Event::ReuseGraceUsed);
        }
        let response = response.map(|new| new.with_omitted_from(tokens));
        Ok(match how {
            How::LostAfter | How::HangsAfter => Err(lost()),
            _ => response,
        })
    }

    fn check_presentation(
        &self,
        index: usize,
        tokens: &TokenSet,
        setting: &Setting,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        let now = self.now;
        let number = refresh_number(tokens);
        let replica = &self.replicas[index];
        let intent = match self.grant.as_deref().map(|grant| &grant.state) {
            Some(GrantState::Refreshing {
                tokens: stored,
                is_replayed,
                ..
            }) if stored == tokens => Some(*is_replayed),
            Some(GrantState::ReauthorizationRequired { tokens: stored, .. })
                if END_IS_SAVED_WITHOUT_LEASE && stored == tokens =>
            {
                Some(true)
            }
            _ => None,
        };
        let newer = self
            .grant
            .as_deref()
            .and_then(Grant::tokens)
            .map(refresh_number)
            .filter(|stored| *stored > number);
        counts.check(Property::P11NotAfterSuccessor, newer.is_none(), || {
            format!(
                "replica {index} presents r{number}, and r{} is stored",
                newer.unwrap_or_default()
            )
        })?;
        counts.check(Property::P10IntentBeforeRequest, intent.is_some(), || {
            format!("replica {index} presents r{number}")
        })?;
        let is_leased =
            self.is_leased_by(index) && self.lease.is_some_and(|lease| lease.until > now);
        counts.check(Property::P10LeaseBeforeRequest, is_leased, || {
            format!("replica {index} presents r{number}")
        })?;
        let is_apart = replica.last_sent.is_none_or(|last| now >= last + 1_000);
        counts.check(Property::P16MinimumInterval, is_apart, || {
            format!("replica {index} presents r{number}")
        })?;
        let presented = access_number(tokens);
        let in_flight = self.replicas.iter().position(|other| {
            other.presenting == Some(presented)
                && other.job.as_ref().is_some_and(|job| !job.has_stalled)
        });
        counts.check(Property::P11NotTwiceInFlight, in_flight.is_none(), || {
            format!("replica {index} presents r{number}")
        })?;
        let before = self
            .presentations
            .get(usize::from(presented))
            .copied()
            .unwrap_or_default();
        let is_recorded = intent == Some(true);
        let job = replica.job.as_ref().unwrap();
        let is_last_resort = self.is_last_resort(job.reason, tokens, setting);
        let is_replay = if has_grace(setting.moment(now)) {
            // As the provider counts, from when it got the refresh token first.
            let grace = setting.policy.reuse_grace.unwrap_or_default();
            Duration::from_millis(now.saturating_sub(before.first_at)) <= grace
        } else {
            before.replays == 0
                && now <= before.first_at + 30_000
                && setting.policy.lost_response == crate::cache::state::LostResponse::RetryOnce
        };
        let is_permitted = match before.outcome {
            Presented::Unused => true,
            Presented::Open | Presented::Lost => is_recorded && (is_replay || is_last_resort),
            Presented::Replaced => false,
        };
        if before.outcome == Presented::Lost && !is_replay {
            counts.reach(Event::LastResort);
        }
        counts.check(Property::P11PresentedOnce, is_permitted, || {
            format!(
                "replica {index} presents r{number} for {:?} after {before:?}, intent {intent:?}",
                job.reason
            )
        })
    }

    /// Whether a refresh token may be presented again although its replay was lost.
    fn is_last_resort(&self, reason: Reason, tokens: &TokenSet, setting: &Setting) -> bool {
        use crate::cache::state::LostResponse;
        let m = setting.moment(self.now);
        let schedule = Schedule::of_stored(tokens, m.now, m.wall, m.jitter, m.policy);
        match (reason, setting.policy.lost_response) {
            (Reason::Rejected(_) | Reason::Manual(_), _) => true,
            (_, LostResponse::RetryOnce) => m.now >= schedule.last_resort_at,
            (_, LostResponse::Defer) => m.now >= schedule.expires,
        }
    }

    fn crash(
        &mut self,
        index: usize,
        effect: Effect,
        setting: &Setting,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        self.budget.crashes -= 1;
        self.may_have_lost = true;
        if effect == Effect::With {
            self.perform(index, How::Succeeds, setting, counts)?;
        }
        let presenting = self.replicas[index].presenting;
        self.replicas[index] = Arc::new(Replica::default());
        if let Some(number) = presenting {
            let is_open = self
                .replicas
                .iter()
                .any(|other| other.presenting == presenting);
            if !is_open {
                self.presentations[usize::from(number)].outcome = Presented::Lost;
            }
        }
        if self.is_leased_by(index)
            && let Some(lease) = &mut self.lease
        {
            lease.owner = Owner::Crashed;
        }
        Ok(())
    }

    /// Advances the time. Processes that run have extended their leases meanwhile.
    fn tick(&mut self, setting: &Setting, counts: &mut Counts) -> Result<(), Violation> {
        self.now = self.next_moment(setting).unwrap();
        self.intents = 0;
        for index in 0..self.replicas.len() {
            let is_extending = self.replicas[index]
                .job
                .as_ref()
                .is_some_and(|job| job.must_release && !job.is_stalled());
            if is_extending {
                // In time, as often as it was necessary.
                let outcome = self.acquire(index, setting, counts);
                let m = setting.moment(self.now);
                self.replica(index).state.lease_acquired(outcome, m);
            }
        }
        for index in 0..self.replicas.len() {
            self.wake(index, setting, counts)?;
        }
        Ok(())
    }

    fn extend(&mut self, index: usize, setting: &Setting, counts: &mut Counts) {
        let outcome = self.acquire(index, setting, counts);
        let m = setting.moment(self.now);
        self.replica(index).state.lease_extended(outcome, m);
    }

    /// A hanging token request fails at its deadline.
    fn wake(
        &mut self,
        index: usize,
        setting: &Setting,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        let now = self.now;
        let is_late = self.replicas[index].job.as_ref().is_some_and(|job| {
            job.is_hanging && !job.is_stalled() && job.until.is_some_and(|until| until <= now)
        });
        if is_late {
            let error = Error::response_lost("late");
            return self.handle(index, Arrived::Fetched(Err(error)), setting, counts);
        }
        Ok(())
    }

    fn run(&mut self, index: usize, setting: &Setting, counts: &mut Counts) {
        let is_free = self.is_lease_free_for(index);
        let replica = &self.replicas[index];
        if replica.is_due(setting, self.now, self.grant.as_deref(), is_free) {
            let (now, grant) = (self.now, self.grant.clone());
            self.replica(index)
                .run(setting, now, grant.as_deref(), is_free, counts);
        }
    }

    /// Removes times that no decision depends on any more, and hashes a replica that has changed.
    fn tidy(&mut self, index: usize, setting: &Setting) {
        let now = self.now;
        let m = setting.moment(now);
        let replica = self.replica(index);
        let state = &mut replica.state;
        let passed = |at: Instant| m.now.saturating_duration_since(at);
        state.refresh_started_at = state.refresh_started_at.filter(|at| {
            let is_grace = has_grace(m) && state.held.intent_since().is_some();
            is_grace || passed(*at) <= m.policy.min_refresh_interval
        });
        state.store_checked_at = state
            .store_checked_at
            .filter(|at| passed(*at) <= Duration::from_secs(30));
        replica.last_sent = replica.last_sent.filter(|at| now <= at + 1_000);
        drop(replica.state.take_events());
        replica.state.held().mark_used();
    }

    /// Hashes a replica that `action` has changed. Only the first time that the same action changes
    /// the same replica under the same conditions, because this takes most of the time.
    fn hash(&mut self, index: usize, before: &Self, action: Action, counts: &mut Counts) {
        let own = match action {
            Action::Start(of, reason) if of == index => Action::Start(0, reason),
            Action::Step(of, how) if of == index => Action::Step(0, how),
            Action::Crash(of, effect) if of == index => Action::Crash(0, effect),
            Action::Stall(of, effect) if of == index => Action::Stall(0, effect),
            Action::Resume(of, extends) if of == index => Action::Resume(0, extends),
            Action::Tick => Action::Tick,
            _ => Action::EndAtProvider,
        };
        let conditions = |world: &Self| {
            let is_free = world.is_lease_free_for(index);
            let is_owner = world.is_leased_by(index);
            (
                world.now,
                world.intents,
                world.grant_hash,
                is_free,
                is_owner,
            )
        };
        let job = before.replicas[index].job.as_ref();
        let is_sending = job.is_some_and(|job| matches!(job.next, Some(Next::Fetch(_))));
        let key = mixed(&(
            before.hashes[index],
            own,
            conditions(before),
            conditions(self),
            is_sending.then_some(&before.provider),
        ));
        let replica = &self.replicas[index];
        let hash = *counts
            .known
            .hashes
            .entry(key)
            .or_insert_with(|| hash_of(replica));
        debug_assert_eq!(hash, hash_of(replica), "{action:?} depends on more");
        self.hashes[index] = hash;
    }

    /// Checks the properties of a replica that has changed.
    fn check(&self, index: usize, setting: &Setting, counts: &mut Counts) -> Result<(), Violation> {
        let replica = &self.replicas[index];
        let stored = self.grant.as_deref().and_then(Grant::tokens);
        let is_sibling_valid = FIRST_SAVED_SUCCESSOR_WINS
            && stored.is_some_and(|tokens| self.provider.accepts(refresh_number(tokens), self.now));
        if !replica.keeps_unsaved() && is_sibling_valid {
            counts.reach(Event::SuccessorDropped);
        }
        counts.check(
            Property::P13DeliveredTokensAreKept,
            replica.keeps_unsaved() || is_sibling_valid,
            || {
                format!(
                    "replica {index} had a{} and is at {}",
                    replica.unsaved.unwrap_or_default(),
                    replica.step()
                )
            },
        )?;
        let is_counted = replica.state.is_idle() == replica.job.is_none()
            && replica.state.is_lease_used()
                == replica.job.as_ref().is_some_and(|job| job.is_counted);
        counts.check(Property::WorkIsCounted, is_counted, || {
            format!("replica {index} is at {}", replica.step())
        })?;
        let Some(job) = &replica.job else {
            return Ok(());
        };
        if job.is_store_check {
            return Ok(());
        }
        let key = self.reasons_key(index);
        if !counts.known.checked.insert(key) {
            return Ok(());
        }
        let m = setting.moment(self.now);
        for reason in self.reasons(replica, setting) {
            let admission = replica.state.clone().request(reason, m);
            let starts = matches!(&admission, Admission::Start(job, _) if !job.is_store_check());
            counts.check(Property::P03OneRefreshPerReplica, !starts, || {
                format!("replica {index} starts another refresh for {reason:?}")
            })?;
        }
        Ok(())
    }

    fn acquire(&mut self, index: usize, setting: &Setting, counts: &mut Counts) -> LeaseOutcome {
        if !self.is_lease_free_for(index) {
            return LeaseOutcome::HeldByAnother;
        }
        if self
            .lease
            .is_some_and(|lease| lease.owner != Owner::Replica(index))
        {
            counts.reach(Event::LeaseTakenOver);
        }
        let duration = u64::try_from(setting.policy.lease.as_millis()).unwrap();
        self.lease = Some(StoredLease {
            owner: Owner::Replica(index),
            until: self.now + duration,
        });
        LeaseOutcome::Acquired
    }

    /// Whether the store would let the replica acquire or extend the lease.
    fn is_lease_free_for(&self, index: usize) -> bool {
        self.lease
            .is_none_or(|lease| lease.owner == Owner::Replica(index) || lease.until <= self.now)
    }

    fn is_leased_by(&self, index: usize) -> bool {
        self.lease
            .is_some_and(|lease| lease.owner == Owner::Replica(index))
    }

    /// Whether the owner of the lease runs, and extends it.
    fn is_extended(&self, lease: StoredLease) -> bool {
        match lease.owner {
            Owner::Crashed => false,
            Owner::Replica(index) => self.replicas[index]
                .job
                .as_ref()
                .is_some_and(|job| job.must_release && !job.is_stalled()),
        }
    }

    fn generation(&self) -> Option<Generation> {
        self.grant.as_deref().map(|grant| grant.generation)
    }

    fn replica(&mut self, index: usize) -> &mut Replica {
        Arc::make_mut(&mut self.replicas[index])
    }

    fn job(&mut self, index: usize) -> &mut JobRun {
        self.replica(index).job.as_mut().unwrap()
    }
}

/// One line for a trace.
impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grant = match self.grant.as_deref() {
            None => "nothing".to_owned(),
            Some(grant) => {
                let scope = grant.tokens().and_then(TokenSet::scope).unwrap_or_default();
                let state = match &grant.state {
                    GrantState::Active(_) => "active".to_owned(),
                    GrantState::Refreshing {
                        is_replayed: false, ..
                    } => "intent".to_owned(),
                    GrantState::Refreshing { .. } => "replay".to_owned(),
                    GrantState::ReauthorizationRequired { reason, .. } => format!("{reason:?}"),
                    GrantState::Revoked { .. } => "revoked".to_owned(),
                };
                format!("g{} {scope} {state}", grant.generation)
            }
        };
        let seconds = self.now / 1_000;
        let millis = self.now % 1_000;
        write!(f, "{seconds}.{millis:03} s | stored {grant}")?;
        if let Some(lease) = self.lease {
            write!(f, ", leased by {:?} until {}", lease.owner, lease.until)?;
        }
        let provider = if self.provider.is_alive {
            "alive"
        } else {
            "ended"
        };
        write!(f, " | provider {provider} r{} |", self.provider.newest())?;
        for replica in &self.replicas {
            let held = replica.state.held().generation();
            let held = held.map_or(0, Generation::as_u64);
            write!(f, " [g{held} {}]", replica.step())?;
        }
        Ok(())
    }
}

fn mixed(value: &impl Hash) -> u64 {
    foldhash::quality::FixedState::with_seed(1).hash_one(value)
}

/// Hashes the debug output, which shows every field.
fn hash_of(value: &dyn fmt::Debug) -> u64 {
    thread_local! {
        static TEXT: RefCell<String> = RefCell::new(String::with_capacity(1 << 16));
    }
    TEXT.with_borrow_mut(|text| {
        text.clear();
        write!(text, "{value:?}").unwrap();
        let mut hasher = foldhash::quality::FixedState::with_seed(1).build_hasher();
        hasher.write(text.as_bytes());
        hasher.finish()
    })
}
