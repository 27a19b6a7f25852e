//! Runs a life step by step, and checks the state after each step.

use std::{future::Future, time::Duration};

use http::StatusCode;
use tokio::{task::JoinSet, time::timeout};
use tower_oauth2_client::{
    Error, ErrorKind,
    cache::{BearerToken, TokenCache},
    token::Generation,
};

use crate::{
    api::Api,
    callers::{self, MAX_WAIT, called, limited, run_tasks, token_of_call},
    step::{Case, Step},
    support::HOUR,
    world::{Revoked, World},
};

pub(crate) struct Run {
    pub(crate) world: World,
    pub(crate) tokens: TokenCache,
    pub(crate) api: Api,
    seed: u64,
    /// Callers that continue during later steps.
    callers: JoinSet<()>,
    generation: Option<Generation>,
    /// Whether a revocation may be running without a caller.
    is_revoking: bool,
}

impl Run {
    pub(crate) async fn begin(case: &Case) -> Self {
        let world = World::new(case.has_reuse_grace, case.defers);
        let (tokens, api) = callers::process(&world, case.seed);
        let mut run = Self {
            world,
            tokens,
            api,
            seed: case.seed,
            callers: JoinSet::new(),
            generation: None,
            is_revoking: false,
        };
        run.set_tokens(HOUR).await;
        run.check();
        run
    }

    pub(crate) async fn step(&mut self, step: &Step) {
        match *step {
            Step::Token => drop(self.token().await),
            Step::TokenDropped(after) => self.leave(after, {
                let (world, tokens) = (self.world.clone(), self.tokens.clone());
                async move { token_of_call(&world, || tokens.token()).await }
            }),
            Step::Tokens(callers) => {
                self.at_once(callers, |run| {
                    let (world, tokens) = (run.world.clone(), run.tokens.clone());
                    async move { drop(token_of_call(&world, || tokens.token()).await) }
                })
                .await;
            }
            Step::Call => drop(self.call().await),
            Step::CallDropped(after) => {
                let call = called(self.world.clone(), self.api.clone());
                self.leave(after, call);
            }
            Step::Calls(callers) => {
                self.at_once(callers, |run| {
                    let call = called(run.world.clone(), run.api.clone());
                    async move { drop(call.await) }
                })
                .await;
            }
            Step::RefreshNow => {
                self.asks();
                let tokens = self.tokens.clone();
                let _ = limited(token_of_call(&self.world, || tokens.refresh_now())).await;
            }
            Step::RefreshDropped(after) => {
                self.asks();
                let (world, tokens) = (self.world.clone(), self.tokens.clone());
                self.leave(after, async move {
                    token_of_call(&world, || tokens.refresh_now()).await
                });
            }
            Step::Invalidate => {
                self.tokens.invalidate();
                self.world.lock().invalidated();
            }
            Step::Replace(lifetime) => self.set_tokens(lifetime).await,
            Step::Revoke => self.revoke(MAX_WAIT).await,
            Step::RevokeDropped => self.revoke(Duration::ZERO).await,
            Step::Pass(time) => {
                // While its store is down, a cache behaves the same all day long.
                let is_down = !self.world.lock().store.faults.is_empty();
                tokio::time::sleep(if is_down { time.min(HOUR) } else { time }).await;
            }
            Step::Restart => self.restart().await,
            Step::SetWall(by) => self.world.times.set_wall(by),
            Step::Suspend(seconds) => self.world.times.suspend(seconds),
            _ => self.world.lock().arrange(step),
        }
        self.check();
    }

    fn asks(&self) {
        let mut state = self.world.lock();
        state.asked_at = Some(state.times.now());
    }

    pub(crate) async fn token(&self) -> Result<BearerToken, Error> {
        let serves = self.world.lock().serves();
        let began = self.world.times.now();
        let result = limited(token_of_call(&self.world, || self.tokens.token())).await;
        let waited = self.world.times.now() - began;
        if serves && (result.is_err() || !waited.is_zero()) {
            let what = format!("P5: a held token does not serve: {result:?} after {waited:?}");
            self.world.lock().violated(what);
        }
        result
    }

    /// Sends a request through the layer. Returns its status, or why there was no token.
    pub(crate) async fn call(&self) -> Result<StatusCode, Error> {
        limited(called(self.world.clone(), self.api.clone())).await
    }

    pub(crate) async fn set_tokens(&mut self, lifetime: Duration) {
        self.wait_for_revocation().await;
        let (number, tokens, before) = {
            let mut state = self.world.lock();
            let (number, tokens) = state.consent(lifetime);
            state.sets[number].received_at = Some(state.times.now());
            // Requests may use the new tokens from here on.
            let before = std::mem::replace(&mut state.revoked, Revoked::Unclear);
            (number, tokens, before)
        };
        let result = limited(self.tokens.set_tokens(tokens.clone())).await;
        let mut state = self.world.lock();
        if result.is_ok() {
            state.family = state.sets[number].family;
            state.seen = Some(number);
            state.sets[number].received_by = Some(state.process);
            state.revoked = Revoked::No;
        } else if !state.sets[number].is_committed {
            state.revoked = before;
        }
        if let Err(error) = &result
            && error.kind() != ErrorKind::Store
        {
            state.violated(format!("a consent fails: {error:?}"));
        }
    }

    /// Ends the grant, and waits at most this long.
    async fn revoke(&mut self, patience: Duration) {
        {
            let mut state = self.world.lock();
            if state.revoked == Revoked::No {
                state.revoked = Revoked::Unclear;
            }
        }
        let result = timeout(patience, self.tokens.revoke()).await;
        assert!(
            result.is_ok() || patience.is_zero(),
            "no caller waits so long"
        );
        // It has started, in a task of its own.
        run_tasks().await;
        self.is_revoking |= result.is_err();
        self.world.lock().revoked = Revoked::Yes;
    }

    /// Waits, because the order of two simultaneous commands is not guaranteed.
    async fn wait_for_revocation(&mut self) {
        if std::mem::take(&mut self.is_revoking) {
            tokio::time::sleep(MAX_WAIT).await;
        }
    }

    async fn restart(&mut self) {
        self.wait_for_revocation().await;
        self.callers.shutdown().await;
        {
            let mut state = self.world.lock();
            state.process += 1;
            if state.revoked != Revoked::No {
                // The process that revoked a grant does not keep alive what was stored since then,
                // by a consent whose save failed for the program.
                state.trouble = state.times.truth();
            }
            state.revoked = Revoked::No;
            state.seen = None;
        }
        self.seed = self.seed.wrapping_add(1);
        (self.tokens, self.api) = callers::process(&self.world, self.seed);
        self.generation = None;
    }

    /// Starts a caller that gives up after a while, during which other steps run.
    fn leave<T>(&mut self, after: Duration, call: impl Future<Output = T> + Send + 'static) {
        self.callers.spawn(async move {
            let _ = timeout(after, call).await;
        });
    }

    async fn at_once<F>(&mut self, callers: u8, call: impl Fn(&Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut at_once = JoinSet::new();
        for _ in 0..callers {
            at_once.spawn(call(self));
        }
        limited(at_once.join_all()).await;
    }

    pub(crate) fn check(&mut self) {
        let status = self.tokens.status();
        let mut state = self.world.lock();
        if status.generation < self.generation {
            state.violated("a generation goes back");
        }
        self.generation = status.generation;
        state.compare(&status);
        assert!(state.violations.is_empty(), "{:#?}", state.violations);
    }
}
