//! Each rotation mode keeps its rules under any sequence of operations.

use std::{collections::HashSet, time::Duration};

use proptest::prelude::*;

use super::{
    access::Revocation,
    code::CodeExchange,
    consent::MAX_UNUSED_CODES,
    model::{Authority, AuthorizationRequest, IssuedTokens, RefreshTokenState, ResponseMode},
    prune::MIN_PRUNE_COUNT,
};
use crate::sandbox::{
    behavior::{Behavior, Replay, Rotation},
    client::ClientRegistration,
    scope::Scopes,
};

#[derive(Clone, Copy, Debug)]
enum Operation {
    Connect,
    /// Refreshes with one of the refresh tokens issued so far.
    Refresh(usize),
    /// Uses one of the access tokens issued so far.
    Use(usize),
    /// Revokes one of the refresh tokens issued so far.
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
        client_id: "client".to_owned(),
        redirect_uri: "http://127.0.0.1/".to_owned(),
        redirect_uri_sent: false,
        response_mode: ResponseMode::Query,
        scopes: Scopes::parse("payroll:read"),
        state: None,
        challenge: None,
        tenant: None,
    }
}

/// The state machine, and what a client knows about it.
struct Run {
    authority: Authority,
    behavior: Behavior,
    now: Duration,
    issued: Vec<IssuedTokens>,
    /// The refresh tokens used so far.
    used: HashSet<String>,
    /// The grants revoked so far.
    revoked: HashSet<u64>,
}

impl Run {
    fn new(rotation: Rotation) -> Self {
        let client = ClientRegistration::new("client", "secret");
        Self {
            authority: Authority::new(vec![client], fastrand::Rng::with_seed(1)),
            behavior: Behavior {
                rotation,
                ..Behavior::default()
            },
            now: Duration::ZERO,
            issued: Vec::new(),
            used: HashSet::new(),
            revoked: HashSet::new(),
        }
    }

    fn connect(&mut self) {
        let (code, _) = self
            .authority
            .allow(&request(), &self.behavior, self.now)
            .expect("a code");
        let exchange = CodeExchange {
            code: &code,
            client_id: "client",
            redirect_uri: None,
            verifier: None,
            key: None,
        };
        let issued = self
            .authority
            .exchange_code(&exchange, &self.behavior, self.now);
        self.issued.push(issued.expect("tokens"));
    }

    fn refresh(&mut self, index: usize) {
        let tokens = self.issued[index % self.issued.len()].clone();
        let token = tokens
            .refresh_token
            .expect("every response has a refresh token");
        let outcome = self
            .authority
            .refresh(&token, "client", None, &self.behavior, self.now);
        let reused = !self.used.insert(token);
        match outcome {
            Ok(issued) => {
                assert!(
                    !self.revoked.contains(&issued.grant),
                    "a revoked grant issued tokens"
                );
                let single_use = matches!(
                    self.behavior.rotation,
                    Rotation::SingleUse | Rotation::FamilyRevocation
                );
                assert!(
                    !(single_use && reused),
                    "a refresh token was accepted twice"
                );
                self.issued.push(issued);
            }
            Err(refusal) => {
                assert_eq!(refusal.error, "invalid_grant");
                let revoked = refusal.revoked_grant;
                self.revoked.extend(revoked);
                assert!(
                    revoked.is_none() || self.behavior.rotation != Rotation::SingleUse,
                    "single use revoked a grant"
                );
            }
        }
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Connect => self.connect(),
            Operation::Wait(seconds) => self.now += Duration::from_secs(seconds),
            _ if self.issued.is_empty() => {}
            Operation::Refresh(index) => self.refresh(index),
            Operation::Use(index) => {
                let tokens = &self.issued[index % self.issued.len()];
                let scopes = self
                    .authority
                    .use_access_token(&tokens.access_token, self.now);
                assert!(scopes.is_none() || !self.revoked.contains(&tokens.grant));
            }
            Operation::Revoke(index) => {
                let tokens = &self.issued[index % self.issued.len()];
                let token = tokens.refresh_token.as_deref().unwrap_or_default();
                let revoked = self.authority.revoke(token, "client", &self.behavior);
                assert_eq!(revoked, Revocation::Revoked);
                self.revoked.insert(tokens.grant);
            }
        }
    }

    /// The highest number of live refresh tokens of one grant.
    fn max_live_tokens(&self) -> usize {
        let live = |grant: u64| {
            let tokens = self.authority.refresh_tokens.values();
            tokens
                .filter(|token| {
                    token.grant == grant && matches!(token.state, RefreshTokenState::Live)
                })
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
    fn each_rotation_mode_keeps_its_rules(
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
            prop_assert!(
                siblings || run.max_live_tokens() <= 1,
                "two live refresh tokens in one grant"
            );
        }
    }

    #[test]
    fn a_replay_succeeds_in_lenient_modes_only(
        rotation in rotation(),
        replays in 1_usize..5,
    ) {
        let mut run = Run::new(rotation);
        run.connect();
        let token = run.issued[0].refresh_token.clone().unwrap_or_default();
        let mut refresh = || {
            run.authority.refresh(&token, "client", None, &run.behavior, run.now)
        };
        prop_assert!(refresh().is_ok());
        let lenient = !matches!(rotation, Rotation::SingleUse | Rotation::FamilyRevocation);
        for _ in 0..replays {
            prop_assert_eq!(refresh().is_ok(), lenient);
        }
    }
}

#[test]
fn pruning_removes_only_what_expired_30_days_ago() {
    let mut run = Run::new(Rotation::FamilyRevocation);
    run.connect();
    run.now += Duration::from_secs(59 * 24 * 60 * 60);
    run.connect();
    run.authority.prune(run.now);
    assert_eq!(run.authority.refresh_tokens.len(), 2);
    assert_eq!(
        run.authority.access_tokens.len(),
        1,
        "one expired 58 days ago"
    );
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
    assert_eq!(
        run.issued.last().expect("tokens").grant,
        3,
        "grant numbers are not reused"
    );
}

#[test]
fn years_of_refreshes_use_bounded_memory() {
    let mut run = Run::new(Rotation::FamilyRevocation);
    run.connect();
    for refresh in 0..20_000 {
        run.now += Duration::from_secs(60 * 60);
        run.refresh(refresh);
    }
    assert!(run.authority.refresh_tokens.len() <= 2 * MIN_PRUNE_COUNT);
    assert!(run.authority.access_tokens.len() <= 2 * MIN_PRUNE_COUNT);
    assert_eq!(run.authority.grants.len(), 1);
}

#[test]
fn abandoned_consents_are_removed() {
    let mut run = Run::new(Rotation::None);
    let abandoned = run.authority.start_consent(request(), run.now);
    run.now += Duration::from_secs(30 * 60);
    run.authority.start_consent(request(), run.now);
    assert_eq!(run.authority.pending_consents.len(), 2);
    run.now += Duration::from_secs(30 * 60);
    run.authority.start_consent(request(), run.now);
    assert_eq!(run.authority.pending_consents.len(), 2);
    assert!(!run.authority.pending_consents.contains_key(&abandoned));
}

#[test]
fn unused_codes_are_bounded_and_the_newest_stay() {
    let mut run = Run::new(Rotation::None);
    let behavior = run.behavior.clone();
    let mut newest = String::new();
    for _ in 0..3 * MAX_UNUSED_CODES {
        run.now += Duration::from_millis(1);
        let code = run.authority.allow(&request(), &behavior, run.now);
        newest = code.expect("a code").0;
        assert!(run.authority.codes.len() <= MAX_UNUSED_CODES);
    }
    assert!(run.authority.codes.contains_key(&newest));
}
