//! Whatever is presented in whatever order, the promises of each rotation mode hold.

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;

use super::{Authority, AuthorizationRequest, Issued, Redemption, RefreshState, Revocation};
use crate::sandbox::behavior::{Behavior, Replay, Rotation};
use crate::sandbox::client::ClientRegistration;
use crate::sandbox::scope::Scopes;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Connect,
    /// Presents one of the refresh tokens known so far.
    Refresh(usize),
    /// Uses one of the access tokens known so far.
    Use(usize),
    /// Revokes one of the refresh tokens known so far.
    Revoke(usize),
    Wait(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        1 => Just(Operation::Connect),
        8 => any::<usize>().prop_map(Operation::Refresh),
        4 => any::<usize>().prop_map(Operation::Use),
        1 => any::<usize>().prop_map(Operation::Revoke),
        2 => (0_u64..100_000).prop_map(Operation::Wait),
    ]
}

fn rotation() -> impl Strategy<Value = Rotation> {
    let window = Duration::from_secs(30);
    prop::sample::select(vec![
        Rotation::None,
        Rotation::SingleUse,
        Rotation::FamilyRevocation,
        Rotation::Grace {
            window,
            replay: Replay::SamePair,
        },
        Rotation::Grace {
            window,
            replay: Replay::Sibling,
        },
        Rotation::Deferred,
    ])
}

fn request() -> AuthorizationRequest {
    AuthorizationRequest {
        client_id: "app".to_owned(),
        redirect_uri: "http://127.0.0.1/".to_owned(),
        redirect_uri_sent: false,
        scopes: Scopes::parse("payroll:read"),
        state: None,
        challenge: None,
    }
}

/// What a client has seen, and the state machine it has seen it from.
struct Run {
    authority: Authority,
    behavior: Behavior,
    now: Duration,
    seen: Vec<Issued>,
    refreshed: HashSet<String>,
    dead: HashSet<u64>,
}

impl Run {
    fn new(rotation: Rotation) -> Self {
        let app = ClientRegistration::new("app", "secret");
        Self {
            authority: Authority::new(vec![app], fastrand::Rng::with_seed(1)),
            behavior: Behavior {
                rotation,
                ..Behavior::default()
            },
            now: Duration::ZERO,
            seen: Vec::new(),
            refreshed: HashSet::new(),
            dead: HashSet::new(),
        }
    }

    fn connect(&mut self) {
        let (code, _) = self
            .authority
            .allow(&request(), &self.behavior, self.now)
            .expect("a code");
        let redemption = Redemption {
            code: &code,
            client_id: "app",
            redirect_uri: None,
            verifier: None,
        };
        let issued = self.authority.redeem(&redemption, &self.behavior, self.now);
        self.seen.push(issued.expect("tokens"));
    }

    fn refresh(&mut self, index: usize) {
        let held = self.seen[index % self.seen.len()].clone();
        let token = held
            .refresh_token
            .expect("every answer has a refresh token");
        let outcome = self
            .authority
            .refresh(&token, "app", None, &self.behavior, self.now);
        let again = !self.refreshed.insert(token);
        match outcome {
            Ok(issued) => {
                assert!(
                    !self.dead.contains(&issued.grant),
                    "a dead grant gave tokens"
                );
                let once = matches!(
                    self.behavior.rotation,
                    Rotation::SingleUse | Rotation::FamilyRevocation
                );
                assert!(!(once && again), "a token was good twice");
                self.seen.push(issued);
            }
            Err(refused) => {
                assert_eq!(refused.error, "invalid_grant");
                self.dead.extend(refused.killed);
                assert!(
                    refused.killed.is_none() || self.behavior.rotation != Rotation::SingleUse,
                    "single use ended a grant"
                );
            }
        }
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Connect => self.connect(),
            Operation::Wait(seconds) => self.now += Duration::from_secs(seconds),
            _ if self.seen.is_empty() => {}
            Operation::Refresh(index) => self.refresh(index),
            Operation::Use(index) => {
                let held = &self.seen[index % self.seen.len()];
                let opened = self
                    .authority
                    .use_access_token(&held.access_token, self.now);
                assert!(opened.is_none() || !self.dead.contains(&held.grant));
            }
            Operation::Revoke(index) => {
                let held = &self.seen[index % self.seen.len()];
                let token = held.refresh_token.as_deref().unwrap_or_default();
                let revoked = self.authority.revoke(token, "app", &self.behavior);
                assert_eq!(revoked, Revocation::Done);
                self.dead.insert(held.grant);
            }
        }
    }

    /// How many refresh tokens of each grant could be used next.
    fn live_most(&self) -> usize {
        let live = |grant: u64| {
            let tokens = self.authority.refresh_tokens.values();
            tokens
                .filter(|held| held.grant == grant && matches!(held.state, RefreshState::Live))
                .count()
        };
        self.authority
            .grants
            .keys()
            .map(|grant| live(*grant))
            .max()
            .unwrap_or_default()
    }
}

proptest! {
    #[test]
    fn the_promises_of_each_mode_hold(
        rotation in rotation(),
        operations in prop::collection::vec(operation(), 1..60),
    ) {
        let mut run = Run::new(rotation);
        for operation in operations {
            run.apply(operation);
            let siblings = matches!(
                rotation,
                Rotation::Deferred | Rotation::Grace { replay: Replay::Sibling, .. }
            );
            prop_assert!(siblings || run.live_most() <= 1, "two live tokens in one family");
        }
    }

    #[test]
    fn a_lost_answer_costs_nothing_where_the_server_is_lenient(
        rotation in rotation(),
        losses in 1_usize..5,
    ) {
        let mut run = Run::new(rotation);
        run.connect();
        let token = run.seen[0].refresh_token.clone().unwrap_or_default();
        let mut present = || {
            run.authority.refresh(&token, "app", None, &run.behavior, run.now)
        };
        prop_assert!(present().is_ok());
        let lenient = !matches!(rotation, Rotation::SingleUse | Rotation::FamilyRevocation);
        for _ in 0..losses {
            prop_assert_eq!(present().is_ok(), lenient);
        }
    }
}

#[test]
fn what_is_dead_for_long_is_forgotten_and_nothing_else() {
    let mut run = Run::new(Rotation::FamilyRevocation);
    run.connect();
    run.now += Duration::from_secs(59 * 24 * 60 * 60);
    run.connect();
    run.authority.prune(run.now);
    assert_eq!(run.authority.refresh_tokens.len(), 2);
    assert_eq!(run.authority.access_tokens.len(), 1, "one is 58 days dead");
    assert_eq!(
        (run.authority.codes.len(), run.authority.grants.len()),
        (1, 2)
    );
    run.now += Duration::from_secs(24 * 60 * 60);
    run.authority.prune(run.now);
    assert_eq!(run.authority.refresh_tokens.len(), 1);
    assert_eq!(run.authority.grants.len(), 1);
    run.refresh(1);
    run.connect();
    assert_eq!(run.seen.last().expect("tokens").grant, 3, "no number twice");
}

#[test]
fn a_sandbox_that_runs_for_years_holds_what_lives() {
    let mut run = Run::new(Rotation::FamilyRevocation);
    run.connect();
    for refreshed in 0..20_000 {
        run.now += Duration::from_secs(60 * 60);
        run.refresh(refreshed);
    }
    assert!(run.authority.refresh_tokens.len() <= 2 * super::FEWEST_PRUNED);
    assert!(run.authority.access_tokens.len() <= 2 * super::FEWEST_PRUNED);
    assert_eq!(run.authority.grants.len(), 1);
}

#[test]
fn abandoned_consents_are_forgotten() {
    let mut run = Run::new(Rotation::None);
    let abandoned = run.authority.wait(request(), run.now);
    run.now += Duration::from_secs(30 * 60);
    run.authority.wait(request(), run.now);
    assert_eq!(run.authority.waiting.len(), 2);
    run.now += Duration::from_secs(30 * 60);
    run.authority.wait(request(), run.now);
    assert_eq!(run.authority.waiting.len(), 2);
    assert!(!run.authority.waiting.contains_key(&abandoned));
}
