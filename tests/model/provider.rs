//! A strict provider: a refresh token is valid once, and a second use ends the grant.

use std::time::Duration;

use tower_oauth2_client::{
    Error,
    cache::TokenSource,
    token::{RefreshToken, TokenSet},
};

use crate::{
    rules,
    step::{Fault, Handling, Loss},
    support::{DAY, HOUR, MINUTE, unavailable},
    world::{Outcome, State, World, number_in},
};

pub(crate) const REFRESH_TOKEN_LIFETIME: Duration = DAY.saturating_mul(30);

/// The reuse grace of a provider that has one.
const REUSE_GRACE: Duration = MINUTE;

/// The shortest deadline of a token request: that of the replay after a lost response.
const DEADLINE: Duration = Duration::from_secs(10);

/// The provider as one process sees it.
pub(crate) struct Provider {
    pub(crate) world: World,
    pub(crate) process: u32,
}

enum Reply {
    Issue(TokenSet),
    Refuse,
    Fail,
    Lose(Loss),
}

impl Provider {
    fn finish(&self, number: usize, index: usize, outcome: Outcome) {
        let mut state = self.world.lock();
        if let Outcome::Tokens(next) = outcome {
            state.sets[next].received_at = Some(state.times.now());
            state.sets[next].received_by = Some(self.process);
        } else {
            state.trouble = state.times.truth();
        }
        state.sets[number].uses[index].outcome = outcome;
    }
}

impl TokenSource for Provider {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let Some(number) = held.and_then(TokenSet::refresh_token).map(number) else {
            self.world.lock().violated("a refresh without a grant");
            return Err(unavailable());
        };
        let (index, delay, reply) = {
            let mut state = self.world.lock();
            let index = rules::refresh_token_sent(&mut state, self.process, number);
            let reply = state.reply(number);
            (index, state.delay, reply)
        };
        let mut call = Call {
            provider: self,
            number,
            index,
            ends: Some(Outcome::Lost),
        };
        tokio::time::sleep(delay).await;
        match reply {
            Reply::Issue(tokens) => {
                let next = tokens.refresh_token().map(self::number).unwrap();
                call.end(Outcome::Tokens(next));
                Ok(tokens)
            }
            Reply::Fail => {
                call.end(Outcome::Unused);
                Err(unavailable())
            }
            Reply::Refuse => {
                let (can_look, can_store) = {
                    let mut state = self.world.lock();
                    let family = state.sets[number].family;
                    state.families[family].is_rejected = true;
                    let store = &state.store;
                    // A slow store may fail later.
                    let is_fast = store.latency.is_zero();
                    let can_look = is_fast && !store.has(Fault::LoadsFail);
                    let can_store =
                        can_look && !store.has(Fault::SavesFail) && !store.has(Fault::SavesHang);
                    (can_look, can_store)
                };
                call.end(Outcome::Rejected {
                    can_look,
                    can_store,
                });
                Err(Error::invalid_grant())
            }
            Reply::Lose(Loss::Reported) => {
                call.end(Outcome::Lost);
                Err(Error::response_lost("lost: scripted"))
            }
            Reply::Lose(Loss::Unproven) => {
                call.end(Outcome::Lost);
                Err(Error::store("a vault failed: scripted"))
            }
            Reply::Lose(Loss::Hang) => std::future::pending().await,
            Reply::Lose(Loss::Panic) => {
                call.end(Outcome::Lost);
                // As a panic, but without a message in the test's output.
                std::panic::resume_unwind(Box::new("scripted panic"))
            }
        }
    }

    async fn revoke(&self, held: &TokenSet) -> Result<(), Error> {
        let mut state = self.world.lock();
        if state.revocations_fail {
            return Err(unavailable());
        }
        if let Some(token) = held.refresh_token() {
            let family = state.sets[number(token)].family;
            state.families[family].has_ended = true;
        }
        Ok(())
    }
}

impl State {
    fn reply(&mut self, number: usize) -> Reply {
        let family = self.sets[number].family;
        let handling = self.handling();
        match handling {
            Handling::Fail => Reply::Fail,
            Handling::Lost(loss, false) => Reply::Lose(loss),
            Handling::Issue(lifetime) => self.judge(number, lifetime),
            Handling::Disconnect => {
                self.families[family].has_ended = true;
                Reply::Refuse
            }
            Handling::Lost(loss, true) => {
                self.judge(number, HOUR);
                Reply::Lose(loss)
            }
        }
    }

    fn judge(&mut self, number: usize, lifetime: Duration) -> Reply {
        let truth = self.times.truth();
        let set = &self.sets[number];
        let family = set.family;
        if self.families[family].has_ended {
            return Reply::Refuse;
        }
        let is_aged = truth >= set.born + REFRESH_TOKEN_LIFETIME;
        let is_reused = set
            .spent
            .is_some_and(|spent| !self.terms.has_reuse_grace || truth > spent + REUSE_GRACE);
        if is_aged {
            rules::aged(self, number);
        }
        if is_aged || is_reused {
            self.families[family].has_ended = true;
            return Reply::Refuse;
        }
        self.sets[number].spent.get_or_insert(truth);
        let (_, tokens) = self.issue(family, Some(number), lifetime);
        Reply::Issue(tokens)
    }
}

/// A token request in flight, which must not be aborted.
struct Call<'a> {
    provider: &'a Provider,
    number: usize,
    index: usize,
    ends: Option<Outcome>,
}

impl Call<'_> {
    fn end(&mut self, outcome: Outcome) {
        self.ends = None;
        self.provider.finish(self.number, self.index, outcome);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Some(outcome) = self.ends.take() else {
            return;
        };
        let mut state = self.provider.world.lock();
        let began = state.sets[self.number].uses[self.index].began;
        if !state.is_over && state.times.now() < began + DEADLINE {
            state.violated("P4: a refresh was aborted");
        }
        drop(state);
        self.provider.finish(self.number, self.index, outcome);
    }
}

fn number(token: &RefreshToken) -> usize {
    number_in(token.expose())
}
