//! A strict provider: a refresh token is good once, and a second use of it ends the grant.

use std::time::Duration;

use tower_oauth2_client::{
    Error,
    cache::TokenSource,
    token::{RefreshToken, TokenSet},
};

use crate::{
    rules,
    step::{Fault, Loss, Turn},
    support::{DAY, HOUR, MINUTE, unavailable},
    world::{Fate, State, World, number_in},
};

pub(crate) const REFRESH_TOKEN_LIFETIME: Duration = DAY.saturating_mul(30);

/// How long a second use is forgiven, by a provider that does.
const FORGIVEN: Duration = MINUTE;

/// What the cache gives an exchange at least: the second one after a lost answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The provider as one process sees it.
pub(crate) struct Provider {
    pub(crate) world: World,
    pub(crate) process: u32,
}

enum Reply {
    Give(TokenSet),
    Refuse,
    Down,
    Lose(Loss),
}

impl Provider {
    fn finish(&self, number: usize, index: usize, fate: Fate) {
        let mut state = self.world.lock();
        if let Fate::Given(next) = fate {
            state.sets[next].answered = Some(state.times.now());
            state.sets[next].received_by = Some(self.process);
        } else {
            state.trouble = state.times.truth();
        }
        state.sets[number].uses[index].fate = fate;
    }
}

impl TokenSource for Provider {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let Some(number) = held.and_then(TokenSet::refresh_token).map(number) else {
            self.world.lock().violated("an exchange without a grant");
            return Err(unavailable());
        };
        let (index, delay, reply) = {
            let mut state = self.world.lock();
            let index = rules::presented(&mut state, self.process, number);
            let reply = state.answer(number);
            (index, state.delay, reply)
        };
        let mut call = Call {
            provider: self,
            number,
            index,
            ends: Some(Fate::Lost),
        };
        tokio::time::sleep(delay).await;
        match reply {
            Reply::Give(tokens) => {
                let next = tokens.refresh_token().map(self::number).unwrap();
                call.end(Fate::Given(next));
                Ok(tokens)
            }
            Reply::Down => {
                call.end(Fate::Unused);
                Err(unavailable())
            }
            Reply::Refuse => {
                let (can_look, can_store) = {
                    let mut state = self.world.lock();
                    let family = state.sets[number].family;
                    state.families[family].is_refused = true;
                    let shelf = &state.shelf;
                    // A slow store may fail later than now.
                    let is_fast = shelf.latency.is_zero();
                    let can_look = is_fast && !shelf.has(Fault::LoadsFail);
                    let can_store =
                        can_look && !shelf.has(Fault::SavesFail) && !shelf.has(Fault::SavesHang);
                    (can_look, can_store)
                };
                call.end(Fate::Refused {
                    can_look,
                    can_store,
                });
                Err(Error::invalid_grant())
            }
            Reply::Lose(Loss::Told) => {
                call.end(Fate::Lost);
                Err(Error::response_lost("lost: scripted"))
            }
            Reply::Lose(Loss::Hang) => std::future::pending().await,
            Reply::Lose(Loss::Panic) => {
                call.end(Fate::Lost);
                // As a panic, but without its message among the test's.
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
            state.families[family].is_dead = true;
        }
        Ok(())
    }

    fn refresh_token_lifetime(&self) -> Option<Duration> {
        Some(REFRESH_TOKEN_LIFETIME)
    }
}

impl State {
    fn answer(&mut self, number: usize) -> Reply {
        let family = self.sets[number].family;
        let turn = self.turn();
        match turn {
            Turn::Down => Reply::Down,
            Turn::Lost(loss, false) => Reply::Lose(loss),
            Turn::Give(lifetime) => self.judge(number, lifetime),
            Turn::Disconnect => {
                self.families[family].is_dead = true;
                Reply::Refuse
            }
            Turn::Lost(loss, true) => {
                self.judge(number, HOUR);
                Reply::Lose(loss)
            }
        }
    }

    fn judge(&mut self, number: usize, lifetime: Duration) -> Reply {
        let truth = self.times.truth();
        let set = &self.sets[number];
        let family = set.family;
        if self.families[family].is_dead {
            return Reply::Refuse;
        }
        let is_aged = truth >= set.born + REFRESH_TOKEN_LIFETIME;
        let is_reused = set
            .spent
            .is_some_and(|spent| !self.terms.forgives || truth > spent + FORGIVEN);
        if is_aged {
            rules::aged(self, number);
        }
        if is_aged || is_reused {
            self.families[family].is_dead = true;
            return Reply::Refuse;
        }
        self.sets[number].spent.get_or_insert(truth);
        let (_, tokens) = self.issue(family, Some(number), lifetime);
        Reply::Give(tokens)
    }
}

/// An exchange under way, which nobody may cut short.
struct Call<'a> {
    provider: &'a Provider,
    number: usize,
    index: usize,
    ends: Option<Fate>,
}

impl Call<'_> {
    fn end(&mut self, fate: Fate) {
        self.ends = None;
        self.provider.finish(self.number, self.index, fate);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Some(fate) = self.ends.take() else { return };
        let mut state = self.provider.world.lock();
        let began = state.sets[self.number].uses[self.index].began;
        if !state.is_over && state.times.now() < began + DEADLINE {
            state.violated("P4: an exchange was cut short");
        }
        drop(state);
        self.provider.finish(self.number, self.index, fate);
    }
}

fn number(token: &RefreshToken) -> usize {
    number_in(token.expose())
}
