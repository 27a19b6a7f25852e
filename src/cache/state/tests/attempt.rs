//! The steps of one refresh: each step, with each result.
//!
//! `given` names the step that is next after the usual results. `then` lists its result, and before
//! it what happens meanwhile. `next` is the step that follows:
//!
//! * `save 2 intent over 2` saves a grant, if the store holds the second generation,
//! * `fetch r2` sends a refresh token, with this deadline,
//! * `persist 3 over 2 after 50 ms` saves a new token set, and `; …` is a report to the waiters,
//! * `token 3` or an error is the end.
//!
//! Unless stated otherwise, a waiting request in the mandatory window started the refresh.

use std::time::Duration;

use super::{
    super::{CacheState, LostResponse, Moment, Next, Policy, Reason, Report},
    DEFER, LIFETIME, POLICY, SECOND, active, age, at, cases, down, duration, earlier, ended,
    events, generation, grant, grant_name, grid, held, holding, invalid_client, issued, lost, name,
    refreshing, revoked, start, store_down, tokens, with_policy, yes_no,
};
use crate::{
    error::Error,
    store::{LeaseOutcome, SaveOutcome},
    token::{AccessToken, Grant, GrantState, ReauthorizationReason, RefreshToken, TokenSet},
};

/// One refresh, with the time and the results that it gets.
struct Rig {
    state: CacheState,
    next: Next,
    m: Moment<'static>,
    /// Whether a waiter has seen the held token rejected.
    is_urgent: bool,
    /// Whether the last handle of the cache was dropped.
    is_abandoned: bool,
}

impl Rig {
    fn new(mut state: CacheState, reason: Reason, m: Moment<'static>) -> Self {
        let job = start(&mut state, reason, m);
        let next = Next::first(job, &state, m);
        Self {
            state,
            next,
            m,
            is_urgent: false,
            is_abandoned: false,
        }
    }

    /// A refresh before this step, after the usual results.
    fn at(step: &str) -> Self {
        Self::new(holding(&active(2)), Reason::Mandatory, age("mandatory")).advanced_to(step)
    }

    fn advanced_to(mut self, step: &str) -> Self {
        let usual = match step {
            "load" => "",
            "acquire" => "stored 2",
            "load again" => "stored 2, held by another",
            "enter" => "stored 2, acquired",
            "confirm" => "stored 2, acquired, ok",
            "save intent" => "stored 2, acquired, ok, stored 2",
            "fetch" => "stored 2, acquired, ok, stored 2, committed",
            "wait to replay" => "stored 2, acquired, ok, stored 2, committed, lost",
            "save replay" => "stored 2, acquired, ok, stored 2, committed, lost, waited",
            "replay" => "stored 2, acquired, ok, stored 2, committed, lost, waited, committed",
            "load end" => "stored 2, acquired, ok, stored 2, committed, invalid grant",
            "save end" => {
                "stored 2, acquired, ok, stored 2, committed, invalid grant, stored 2 intent"
            }
            "restore" => "stored 2, acquired, ok, stored 2, committed, down",
            "persist" => "stored 2, acquired, ok, stored 2, committed, tokens",
            "save revocation" => {
                "stored 2, acquired, ok, stored 2, committed, tokens, revoked here, committed"
            }
            "discard" => {
                "stored 2, acquired, ok, stored 2, committed, tokens, superseded by 3 revoked"
            }
            other => panic!("{other}: no such step"),
        };
        self.perform(usual);
        self.state.take_events();
        self
    }

    /// Performs a list of results and of other happenings.
    fn perform(&mut self, list: &str) {
        for step in list.split(", ").filter(|step| !step.is_empty()) {
            match step.rsplit_once(' ') {
                Some((passed, "pass")) => {
                    let passed = duration(passed).unwrap();
                    self.m.now += passed;
                    self.m.wall += passed;
                }
                Some((suspended, "suspended")) => self.m.wall += duration(suspended).unwrap(),
                _ => self.perform_one(step),
            }
        }
    }

    fn perform_one(&mut self, step: &str) {
        let (state, m) = (&mut self.state, self.m);
        match step {
            "lease extended" => state.lease_extended(LeaseOutcome::Acquired, m),
            // It was extended in time, again and again.
            "lease kept" => state.lease_acquired(LeaseOutcome::Acquired, m),
            "revoked here" => drop(state.revoke(m)),
            "consent" => {
                let sequence = state.next_sequence();
                state.install(&named("4"), sequence, m);
            }
            "stalled" => state.refresh_stalled(),
            "urgent" => self.is_urgent = true,
            "abandoned" => self.is_abandoned = true,
            "needed" => {
                let Next::Persist(persist) = &mut self.next else {
                    panic!("{step}: {:?}", self.next)
                };
                persist.use_unsaved(state, m);
            }
            result => self.next = self.result(result),
        }
    }

    /// The step after the result of this one.
    fn result(&mut self, result: &str) -> Next {
        let (state, m) = (&mut self.state, self.m);
        match self.next.clone() {
            Next::Wait(wait) => {
                assert_eq!(result, "waited");
                self.m.now += wait.pause();
                self.m.wall += wait.pause();
                wait.waited(state, self.m)
            }
            Next::Load(load) => load.loaded(loaded(result), state, m),
            Next::AcquireLease(acquire) => acquire.acquired(match result {
                "acquired" => {
                    state.lease_acquired(LeaseOutcome::Acquired, m);
                    Ok(LeaseOutcome::Acquired)
                }
                "held by another" => Ok(LeaseOutcome::HeldByAnother),
                other => Err(error(other)),
            }),
            Next::Enter(enter) => match result {
                "ok" => enter.entered(Ok(()), state, m),
                other => enter.entered(Err(error(other)), state, m),
            },
            Next::Save(save) => {
                let outcome = saved(result, save.grant());
                save.saved(outcome, state, m)
            }
            Next::Fetch(fetch) => fetch.fetched(fetched(result, m), state, m),
            Next::Persist(persist) => {
                let outcome = saved(result, persist.grant());
                persist.saved(outcome, self.is_urgent, self.is_abandoned, state, m)
            }
            Next::SaveRevocation(save) => match result {
                "ok" => save.saved(Ok(()), state),
                other => save.saved(Err(error(other)), state),
            },
            Next::Discard(discard) => discard.discarded(state),
            Next::Done(done) => panic!("{result}: {done:?}"),
        }
    }
}

/// A stored grant. Token sets of a third generation or later were issued after 3000 seconds.
fn named(name: &str) -> Grant {
    let since = age("mandatory").wall;
    match name {
        "1" | "2" => active(name.parse().unwrap()),
        "2 intent" => refreshing(2, since - 10 * SECOND, false),
        "3 old" => active(3),
        "3 ended" => ended(2),
        "3 revoked" => revoked(2),
        "5 ended" | "5 ended later" => grant(
            5,
            GrantState::ReauthorizationRequired {
                tokens: tokens(if name == "5 ended" { 2 } else { 4 }),
                reason: ReauthorizationReason::InvalidGrant,
                since,
            },
        ),
        number => {
            let number = number.parse().unwrap();
            grant(number, GrantState::Active(issued(number, at(3_000))))
        }
    }
}

fn loaded(result: &str) -> Result<Option<Grant>, Error> {
    match result.strip_prefix("stored ") {
        Some("none") => Ok(None),
        Some(stored) => Ok(Some(named(stored))),
        None => Err(error(result)),
    }
}

fn saved(result: &str, saved: &Grant) -> Result<SaveOutcome, Error> {
    match (result, result.strip_prefix("superseded by ")) {
        ("committed", _) => Ok(SaveOutcome::Committed),
        (_, Some("none")) => Ok(SaveOutcome::Superseded(None)),
        (_, Some("itself")) => Ok(SaveOutcome::Superseded(Some(saved.clone()))),
        (_, Some(stored)) => Ok(SaveOutcome::Superseded(Some(named(stored)))),
        (error_name, None) => Err(error(error_name)),
    }
}

fn fetched(result: &str, m: Moment<'_>) -> Result<TokenSet, Error> {
    match result {
        "tokens" => Ok(issued(3, m)),
        "dead tokens" => Ok(
            TokenSet::new(AccessToken::new("a3").unwrap(), Duration::ZERO, m.wall)
                .with_refresh_token(RefreshToken::new("r3"), m.wall),
        ),
        other => Err(error(other)),
    }
}

fn error(name: &str) -> Error {
    match name {
        "down" => down(),
        "lost" => lost(),
        "invalid grant" => Error::invalid_grant(),
        "invalid client" => invalid_client(),
        "store down" => store_down(),
        other => panic!("{other}: no such result"),
    }
}

fn next_name(next: &mut Next) -> String {
    let over = |expected: Option<_>| match expected {
        Some(expected) => format!("over {expected}"),
        None => "over none".to_owned(),
    };
    match next {
        Next::Wait(wait) if wait.ends_on_store_change() => {
            format!("wait {} ms or for the store", wait.pause().as_millis())
        }
        Next::Wait(wait) => format!("wait {} ms", wait.pause().as_millis()),
        Next::Load(_) => "load".to_owned(),
        Next::AcquireLease(_) => "acquire".to_owned(),
        Next::Enter(_) => "enter".to_owned(),
        Next::Save(save) => format!(
            "save {} {}",
            grant_name(save.grant()),
            over(save.expected())
        ),
        Next::Fetch(fetch) => {
            let token = fetch.tokens().and_then(TokenSet::refresh_token);
            let token = token.map_or("nothing", RefreshToken::expose);
            let verb = if fetch.is_replay { "replay" } else { "fetch" };
            format!("{verb} {token}")
        }
        Next::Persist(persist) => {
            let report = persist.take_report().map(|report| match report {
                Report::Deferred(error) => format!("; deferred, {}", name(&error)),
                Report::Done(Ok(token)) => format!("; token {}", token.generation()),
                Report::Done(Err(error)) => format!("; {}", name(&error)),
                Report::Interrupted => "; interrupted".to_owned(),
            });
            format!(
                "persist {} {} after {} ms{}",
                grant_name(persist.grant()),
                over(persist.expected()),
                persist.pause().as_millis(),
                report.unwrap_or_default()
            )
        }
        Next::SaveRevocation(_) => "save revocation".to_owned(),
        Next::Discard(discard) => {
            let token = discard.tokens().and_then(TokenSet::refresh_token);
            format!("discard {}", token.unwrap().expose())
        }
        Next::Done(done) => {
            let deferred = if done.is_deferred() { " deferred" } else { "" };
            match done.outcome() {
                Ok(token) => format!("token {}{deferred}", token.generation()),
                Err(error) => format!("{}{deferred}", name(error)),
            }
        }
    }
}

/// The next step, the held grant, and the events.
fn results(mut rig: Rig, then: &str) -> [String; 3] {
    rig.perform(then);
    [
        next_name(&mut rig.next),
        held(&rig.state),
        events(&mut rig.state),
    ]
}

fn step([given, then]: [&str; 2]) -> [String; 3] {
    results(Rig::at(given), then)
}

/// As [`step`], after the held token has expired.
fn step_without_token([given, then]: [&str; 2]) -> [String; 3] {
    let rig = Rig::new(holding(&active(2)), Reason::Mandatory, age("expired"));
    results(rig.advanced_to(given), then)
}

#[test]
fn p10_usual_results_lead_from_the_lease_to_the_save() {
    cases(
        "
        given       | then      | next                        | held     | events
        load        | stored 2  | acquire                     | 2        | -
        acquire     | acquired  | enter                       | 2        | -
        enter       | ok        | load                        | 2        | -
        confirm     | stored 2  | save 2 intent over 2        | 2        | -
        save intent | committed | fetch r2                    | 2 intent | -
        fetch       | tokens    | persist 3 over 2 after 0 ms | 2 intent | -
        persist     | committed | token 3                     | 3        | refreshed 3
        ",
        step,
    );
}

/// Commands are excluded from the load to the save of the intent. The permit is returned after the
/// last response: a token request that follows uses it, and a replay keeps it meanwhile.
#[test]
fn p16_permit_is_kept_until_the_replay_has_its_response() {
    cases(
        "
        step            | excludes commands | is after the response
        load            | no                | yes
        acquire         | no                | yes
        enter           | no                | yes
        confirm         | yes               | yes
        save intent     | yes               | yes
        fetch           | no                | no
        wait to replay  | no                | no
        save replay     | no                | no
        replay          | no                | no
        load end        | no                | yes
        save end        | no                | yes
        restore         | no                | yes
        persist         | no                | yes
        save revocation | no                | yes
        discard         | no                | yes
        ",
        |[step]| {
            let next = Rig::at(step).next;
            [
                yes_no(next.excludes_commands()),
                yes_no(next.is_after_response()),
            ]
        },
    );
}

#[test]
fn p16_refreshes_start_a_second_apart() {
    cases(
        "
        last request | first step
        never        | load
        0 s          | wait 1000 ms
        400 ms       | wait 600 ms
        1001 ms      | load
        ",
        |[started]| {
            let m = age("mandatory");
            let mut state = holding(&active(2));
            state.refresh_started_at = duration(started).map(|ago| earlier(m, ago));
            let mut rig = Rig::new(state, Reason::Mandatory, m);
            [next_name(&mut rig.next)]
        },
    );
}

#[test]
fn p06_newer_stored_grant_is_used_without_a_request() {
    let table = "
        given   | then             | next       | held      | events
        load    | stored none      | acquire    | 2         | -
        load    | stored 1         | acquire    | 2         | -
        load    | stored 2         | acquire    | 2         | -
        load    | stored 2 intent  | acquire    | 2 intent  | -
        load    | stored 3 old     | acquire    | 3         | adopted 3
        load    | stored 3         | token 3    | 3         | adopted 3
        load    | stored 3 ended   | token 3    | 3 ended   | invalid_grant
        load    | stored 3 revoked | revoked    | 3 revoked | -
        load    | store down       | store down | 2         | -
        confirm | stored 3         | token 3    | 3         | adopted 3
        confirm | stored 3 ended   | token 3    | 3 ended   | invalid_grant
        confirm | stored 3 revoked | revoked    | 3 revoked | -
        confirm | store down       | store down | 2         | -
        ";
    cases(table, step);
    // Without a valid token, an ended grant yields its error.
    cases(
        "
        given   | then           | next    | held    | events
        load    | stored 3       | token 3 | 3       | adopted 3
        load    | stored 3 ended | ended   | 3 ended | invalid_grant
        confirm | stored 3 ended | ended   | 3 ended | invalid_grant
        ",
        step_without_token,
    );
}

/// The wait lasts for 2 seconds longer than a lease.
#[test]
fn p10_held_lease_is_waited_for() {
    cases(
        "
        given      | then                       | next                         | held | events
        acquire    | held by another            | load                         | 2    | -
        acquire    | store down                 | store down                   | 2    | -
        load again | stored 2                   | wait 100 ms or for the store | 2    | -
        load again | stored 3                   | token 3                      | 3    | adopted 3
        load again | store down                 | store down                   | 2    | -
        load again | stored 2, waited           | acquire                      | 2    | -
        load again | stored 2, waited, acquired | enter                        | 2    | -
        load again | 16999 ms pass, stored 2    | wait 100 ms or for the store | 2    | -
        load again | 17 s pass, stored 2        | leased elsewhere             | 2    | -
        load again | 17 s pass, stored 3        | token 3                      | 3    | adopted 3
        ",
        step,
    );
}

/// The lease lasts for 15 seconds by both clocks, and is checked before each critical step.
#[test]
fn p11_expired_lease_stops_the_refresh() {
    cases(
        "
        given          | then                                     | next                        | held     | events
        enter          | 14 s pass, ok                            | load                        | 2        | -
        enter          | 15 s pass, ok                            | lease expired               | 2        | -
        enter          | 15 s suspended, ok                       | lease expired               | 2        | -
        enter          | 15 s pass, lease extended, ok            | lease expired               | 2        | -
        enter          | 15 s suspended, lease extended, ok       | lease expired               | 2        | -
        enter          | 14 s pass, lease extended, 14 s pass, ok | load                        | 2        | -
        confirm        | 15 s pass, stored 2                      | lease expired               | 2        | -
        confirm        | 15 s pass, stored 3                      | token 3                     | 3        | adopted 3
        save intent    | 15 s pass, committed                     | lease expired               | 2 intent | -
        save intent    | 15 s suspended, committed                | lease expired               | 2 intent | -
        fetch          | 15 s pass, down                          | down                        | 2 intent | -
        fetch          | 15 s pass, tokens                        | persist 3 over 2 after 0 ms | 2 intent | -
        wait to replay | 14 s pass, waited                        | lost                        | 2 intent | lost
        save replay    | 15 s pass, committed                     | lost                        | 2 replay | lost
        ",
        step,
    );
}

#[test]
fn p16_refused_permit_ends_the_refresh() {
    cases(
        "
        given | then           | next           | held | events
        enter | down           | down           | 2    | -
        enter | invalid client | invalid client | 2    | -
        ",
        step,
    );
}

/// The consent, or its revocation, came after the refresh was started.
#[test]
fn p15_refresh_of_a_replaced_grant_sends_nothing() {
    cases(
        "
        given       | then                       | next    | held      | events
        enter       | consent, ok                | token 4 | 4         | adopted 4, installed 4
        enter       | revoked here, ok, stored 2 | revoked | 3 revoked | revoked
        confirm     | revoked here, stored 2     | revoked | 3 revoked | revoked
        save intent | revoked here, committed    | revoked | 3 revoked | revoked
        save replay | revoked here, committed    | lost    | 3 revoked | revoked, lost
        ",
        step,
    );
}

/// The store may hold an older state, for example from a backup. Only a newer one wins.
#[test]
fn p14_intent_is_saved_before_the_refresh_token_is_sent() {
    cases(
        "
        given       | then                    | next                    | held      | events
        confirm     | stored none             | save 2 intent over none | 2         | -
        confirm     | stored 1                | save 2 intent over 1    | 2         | -
        save intent | store down              | store down              | 2         | -
        save intent | superseded by 3         | token 3                 | 3         | adopted 3
        save intent | superseded by 3 ended   | token 3                 | 3 ended   | invalid_grant
        save intent | superseded by 3 revoked | revoked                 | 3 revoked | -
        save intent | superseded by 1         | save 2 intent over 1    | 2         | -
        save intent | superseded by none      | save 2 intent over none | 2         | -
        ",
        step,
    );
    cases(
        "
        given       | then                  | next            | held    | events
        save intent | superseded by 3       | token 3         | 3       | adopted 3
        save intent | superseded by 3 old   | adopted expired | 3       | adopted 3
        save intent | superseded by 3 ended | ended           | 3 ended | invalid_grant
        ",
        step_without_token,
    );
}

#[test]
fn p12_intent_that_loses_four_races_is_given_up() {
    cases(
        "
        given       | then                                                                     | next                 | held     | events
        save intent | superseded by 1, superseded by none, superseded by 1                     | save 2 intent over 1 | 2        | -
        save intent | superseded by 1, superseded by none, superseded by 1, superseded by none | contended            | 2        | -
        save intent | superseded by 1, committed                                               | fetch r2             | 2 intent | -
        ",
        step,
    );
}

/// A process with the lease finds the intent of an earlier refresh. `deferred` sends nothing.
#[test]
fn p11_stored_intent_is_replayed_or_awaits_the_expiry() {
    let found = |policy: &'static Policy, row: &str, column: &str| {
        let (of, at_age) = row.split_once(", ").unwrap();
        let m = with_policy(policy, age(at_age));
        let (seconds, is_replayed) = match column {
            "intent, 10 s" => (10, false),
            "intent, 31 s" => (31, false),
            _ => (10, true),
        };
        let stored = refreshing(2, m.wall - seconds * SECOND, is_replayed);
        let reason = match of {
            "advisory" => Reason::Advisory,
            "mandatory" => Reason::Mandatory,
            "rejected" => Reason::Rejected(generation(2)),
            "manual" => Reason::Manual(Some(generation(2))),
            "keep alive" => Reason::KeepAlive(Some(generation(2))),
            _ => Reason::LostResponse(m.wall - seconds * SECOND),
        };
        // Another process may be working on it, or has released the lease since.
        let mut state = holding(&active(2));
        let reason_of_start = match reason {
            Reason::LostResponse(_) | Reason::Mandatory => Reason::Manual(None),
            reason => reason,
        };
        let mut job = start(&mut state, reason_of_start, m);
        job.reason = reason;
        let mut rig = Rig {
            next: Next::first(job, &state, m),
            state,
            m,
            is_urgent: false,
            is_abandoned: false,
        };
        let load = |rig: &mut Rig| {
            let Next::Load(load) = rig.next.clone() else {
                panic!("{:?}", rig.next)
            };
            rig.next = load.loaded(Ok(Some(stored.clone())), &mut rig.state, m);
        };
        load(&mut rig);
        rig.perform("acquired, ok");
        load(&mut rig);
        assert!(rig.state.own_intent.is_some());
        match next_name(&mut rig.next).as_str() {
            "lost deferred" => "deferred".to_owned(),
            other => other.to_owned(),
        }
    };
    grid(
        "
        reason, age           | intent, 10 s         | intent, 31 s         | replay, 10 s
        advisory, advisory    | deferred             | deferred             | deferred
        advisory, last resort | save 2 replay over 2 | save 2 replay over 2 | save 2 replay over 2
        mandatory, mandatory  | save 2 replay over 2 | save 2 replay over 2 | save 2 replay over 2
        mandatory, expired    | save 2 replay over 2 | save 2 replay over 2 | save 2 replay over 2
        rejected, fresh       | save 2 replay over 2 | save 2 replay over 2 | save 2 replay over 2
        manual, fresh         | save 2 replay over 2 | save 2 replay over 2 | save 2 replay over 2
        keep alive, fresh     | deferred             | deferred             | deferred
        keep alive, expired   | save 2 replay over 2 | save 2 replay over 2 | save 2 replay over 2
        lost, fresh           | save 2 replay over 2 | deferred             | deferred
        lost, expired         | save 2 replay over 2 | deferred             | deferred
        ",
        |row, column| found(&POLICY, row, column),
    );
    grid(
        "
        reason, age           | intent, 10 s         | replay, 10 s
        advisory, last resort | deferred             | deferred
        mandatory, mandatory  | deferred             | deferred
        mandatory, expired    | save 2 replay over 2 | save 2 replay over 2
        rejected, fresh       | save 2 replay over 2 | save 2 replay over 2
        manual, fresh         | save 2 replay over 2 | save 2 replay over 2
        keep alive, fresh     | deferred             | deferred
        keep alive, expired   | save 2 replay over 2 | save 2 replay over 2
        lost, fresh           | deferred             | deferred
        ",
        |row, column| found(&DEFER, row, column),
    );
}

#[test]
fn p11_lost_response_is_replayed_once() {
    cases(
        "
        given          | then                             | next                        | held     | events
        fetch          | lost                             | wait 1000 ms                | 2 intent | -
        fetch          | 2 s pass, lost                   | save 2 replay over 2        | 2 intent | -
        fetch          | 30 s pass, lease kept, lost      | save 2 replay over 2        | 2 intent | -
        fetch          | 31 s pass, lease kept, lost      | lost                        | 2 intent | lost
        fetch          | 31 s suspended, lease kept, lost | lost                        | 2 intent | lost
        wait to replay | waited                           | save 2 replay over 2        | 2 intent | -
        save replay    | committed                        | replay r2                   | 2 replay | lost, replayed
        save replay    | 30 s pass, lease kept, committed | lost                        | 2 replay | lost
        save replay    | store down                       | lost                        | 2 intent | lost
        save replay    | superseded by 3                  | token 3                     | 3        | lost, adopted 3
        replay         | tokens                           | persist 3 over 2 after 0 ms | 2 replay | -
        replay         | lost                             | lost                        | 2 replay | -
        replay         | down                             | down                        | 2 replay | -
        replay         | invalid grant                    | load                        | 2 replay | -
        ",
        step,
    );
    let rig = Rig::new(
        holding(&active(2)),
        Reason::Mandatory,
        with_policy(&DEFER, age("expired")),
    );
    let [next, held, events] = results(rig.advanced_to("fetch"), "lost");
    assert_eq!([next, held, events], ["lost", "2 intent", "lost"]);
    assert_eq!(DEFER.lost_response, LostResponse::Defer);
}

/// Signing the request takes time.
#[test]
fn p11_only_a_replay_is_sent_until_the_reuse_grace_ends() {
    let until = |held: &str, reason, results: &str| {
        let mut rig = Rig::new(holding(&named(held)), reason, age("mandatory"));
        rig.perform(results);
        match rig.next {
            Next::Fetch(fetch) => fetch.until(),
            other => panic!("{other:?}"),
        }
    };
    let now = age("mandatory").wall;
    let first = "stored 2, acquired, ok, stored 2, committed";
    let replay = "stored 2, acquired, ok, stored 2, committed, lost, waited, committed";
    let found = "stored 2 intent, acquired, ok, stored 2 intent, committed";
    let lost = Reason::LostResponse(now - 10 * SECOND);
    assert_eq!(until("2", Reason::Mandatory, first), None);
    assert_eq!(
        until("2", Reason::Mandatory, replay),
        Some(now + 30 * SECOND)
    );
    assert_eq!(until("2 intent", lost, found), Some(now + 20 * SECOND));
    // The access token is about to expire, so the refresh token may be sent at any time.
    assert_eq!(until("2 intent", Reason::Mandatory, found), None);
}

/// Without a refresh token nothing can be lost, and no intent is saved.
#[test]
fn p11_source_without_a_refresh_token_needs_no_intent() {
    let bare = || {
        let tokens = TokenSet::new(AccessToken::new("a2").unwrap(), LIFETIME, at(0).wall);
        grant(2, GrantState::Active(tokens))
    };
    cases(
        "
        held | response | next                           | held | events
        none | lost     | lost                           | none | -
        none | down     | down                           | none | -
        none | tokens   | persist 1 over none after 0 ms | none | -
        2    | lost     | lost                           | 2    | -
        2    | down     | down                           | 2    | -
        2    | tokens   | persist 3 over 2 after 0 ms    | 2    | -
        ",
        |[before, response]| {
            let m = age("expired");
            let (state, stored) = match before {
                "none" => (CacheState::default(), None),
                _ => (holding(&bare()), Some(bare())),
            };
            let mut rig = Rig::new(state, Reason::Mandatory, m);
            for _ in 0..2 {
                if let Next::Load(load) = rig.next.clone() {
                    rig.next = load.loaded(Ok(stored.clone()), &mut rig.state, m);
                }
                if let Next::AcquireLease(_) = rig.next {
                    rig.perform("acquired, ok");
                }
            }
            assert_eq!(next_name(&mut rig.next), "fetch nothing");
            results(rig, response)
        },
    );
}

/// A refresh that did not use the refresh token removes its intent.
#[test]
fn p11_refused_request_removes_the_intent() {
    cases(
        "
        given   | then            | next          | held     | events
        fetch   | down            | save 2 over 2 | 2 intent | -
        fetch   | invalid client  | save 2 over 2 | 2 intent | -
        restore | committed       | down          | 2        | -
        restore | store down      | down          | 2        | -
        restore | superseded by 3 | down          | 3        | adopted 3
        ",
        step,
    );
}

#[test]
fn p12_grant_ends_only_if_the_store_holds_nothing_newer() {
    cases(
        "
        given    | then                    | next                | held      | events
        fetch    | invalid grant           | load                | 2 intent  | -
        load end | stored 2 intent         | save 3 ended over 2 | 2 intent  | -
        load end | stored 2                | save 3 ended over 2 | 2 intent  | -
        load end | stored 1                | save 3 ended over 2 | 2 intent  | -
        load end | stored none             | save 3 ended over 2 | 2 intent  | -
        load end | stored 3                | token 3             | 3         | adopted 3
        load end | stored 3 ended          | token 3             | 3 ended   | invalid_grant
        load end | stored 3 revoked        | revoked             | 3 revoked | -
        load end | store down              | save 2 over 2       | 2 intent  | -
        load end | store down, committed   | store down          | 2         | -
        save end | committed               | ended               | 3 ended   | invalid_grant, end saved
        save end | superseded by 3         | token 3             | 3         | adopted 3
        save end | superseded by 3 revoked | revoked             | 3 revoked | -
        save end | superseded by none      | token 2             | 2 intent  | -
        save end | store down              | ended               | 3 ended   | unsaved for 0 s, invalid_grant
        ",
        step,
    );
}

#[test]
fn p15_reason_of_the_end_names_a_lost_rotation_or_an_expiry() {
    cases(
        "
        refresh token           | events
        valid                   | invalid_grant, end saved
        30 days old             | refresh_token_expired, end saved
        sent again              | lost, replayed, rotation_lost, end saved
        sent again, 30 days old | lost, replayed, rotation_lost, end saved
        ",
        |[row]| {
            let m = if row.ends_with("30 days old") {
                at(30 * 86_400)
            } else {
                age("mandatory")
            };
            let mut rig = Rig::new(holding(&active(2)), Reason::Mandatory, m);
            rig.perform("stored 2, acquired, ok, stored 2, committed");
            if row.starts_with("sent again") {
                rig.perform("lost, waited, committed");
            }
            rig.perform("invalid grant, stored 2, committed");
            [events(&mut rig.state)]
        },
    );
}

/// The provider has rotated the refresh token, so the new token set is given up only for a newer
/// grant.
#[test]
fn p12_new_token_set_yields_only_to_a_newer_grant() {
    cases(
        "
        given   | then                             | next                            | held      | events
        persist | superseded by itself             | token 3                         | 3         | refreshed 3
        persist | superseded by none               | persist 3 over none after 50 ms | 2 intent  | -
        persist | superseded by 1                  | persist 3 over 1 after 50 ms    | 2 intent  | -
        persist | superseded by 2                  | persist 3 over 2 after 50 ms    | 2 intent  | -
        persist | superseded by 2 intent           | persist 3 over 2 after 50 ms    | 2 intent  | -
        persist | superseded by 3                  | token 3                         | 3         | adopted 3
        persist | superseded by 4                  | token 4                         | 4         | adopted 4
        persist | superseded by 3 ended            | persist 4 over 3 after 50 ms    | 2 intent  | -
        persist | superseded by 5 ended            | persist 6 over 5 after 50 ms    | 2 intent  | -
        persist | superseded by 5 ended, committed | token 6                         | 6         | refreshed 6
        persist | superseded by 5 ended later      | token 5                         | 5 ended   | invalid_grant
        persist | superseded by 3 revoked          | discard r3                      | 3 revoked | -
        discard | done                             | revoked                         | 3 revoked | -
        persist | consent, committed               | token 4                         | 4         | adopted 4, installed 4
        ",
        step,
    );
}

#[test]
fn p15_token_set_of_a_revoked_grant_is_revoked() {
    cases(
        "
        given           | then                                  | next                                  | held      | events
        persist         | revoked here, committed               | save revocation                       | 3 revoked | revoked
        persist         | revoked here, superseded by 3 revoked | discard r3                            | 3 revoked | revoked
        persist         | revoked here, urgent, store down      | persist 3 over 2 after 50 ms; revoked | 3 revoked | revoked, unsaved for 0 s
        save revocation | ok                                    | discard r3                            | 3 revoked | -
        save revocation | store down                            | discard r3                            | 3 revoked | unsaved for 0 s
        save revocation | ok, done                              | revoked                               | 3 revoked | -
        ",
        step,
    );
}

/// The end is saved once no command runs. Another command may have saved it, or installed a newer
/// consent.
#[test]
fn p12_end_of_a_revoked_grant_is_saved_only_if_nothing_has_replaced_it() {
    for (then, is_needed) in [("", true), ("end saved", false), ("consent", false)] {
        let mut rig = Rig::at("save revocation");
        match then {
            "end saved" => rig.state.end_saved(&revoked(2), rig.m),
            step => rig.perform(step),
        }
        let Next::SaveRevocation(revocation) = &rig.next else {
            panic!("{:?}", rig.next)
        };
        assert_eq!(revocation.is_needed(&rig.state), is_needed, "{then}");
    }
}

/// The old token serves as long as it can. Then the new one is used unsaved.
#[test]
fn p14_failed_save_is_retried_while_memory_serves() {
    cases(
        "
        given   | then                                | next                                                | held     | events
        persist | store down                          | persist 3 over 2 after 50 ms; deferred, store down  | 2 intent | unsaved for 0 s
        persist | store down, store down              | persist 3 over 2 after 100 ms; deferred, store down | 2 intent | unsaved for 0 s, unsaved for 0 s
        persist | store down, committed               | token 3                                             | 3        | unsaved for 0 s, refreshed 3
        persist | urgent, store down                  | persist 3 over 2 after 50 ms; token 3               | 3        | unsaved for 0 s
        persist | urgent, store down, committed       | token 3                                             | 3        | unsaved for 0 s, refreshed 3
        persist | urgent, store down, superseded by 4 | token 4                                             | 4        | unsaved for 0 s, adopted 4
        persist | needed                              | persist 3 over 2 after 0 ms                         | 3        | -
        persist | needed, 5 s pass, store down        | persist 3 over 2 after 50 ms                        | 3        | unsaved for 5 s
        persist | 50 s pass, store down               | persist 3 over 2 after 50 ms; token 3               | 3        | unsaved for 50 s
        persist | consent, urgent, store down         | persist 3 over 2 after 50 ms; token 4               | 4        | adopted 4, installed 4, unsaved for 0 s
        ",
        step,
    );
    cases(
        "
        given   | then                    | next                                  | held | events
        persist | store down              | persist 3 over 2 after 50 ms; token 3 | 3    | unsaved for 0 s
        fetch   | dead tokens, store down | persist 3 over 2 after 50 ms; unsaved | 3    | unsaved for 0 s
        ",
        step_without_token,
    );
}

/// The runtime of the refresh stood still, and another refresh may be in flight under the same
/// lease. What has arrived is saved; nothing more is sent.
#[test]
fn p04_stalled_refresh_that_continues_sends_nothing() {
    cases(
        "
        given          | then                             | next                        | held     | events
        enter          | stalled, ok                      | stalled                     | 2        | failed: stalled
        confirm        | stalled, stored 2                | stalled                     | 2        | failed: stalled
        confirm        | stalled, stored 3                | token 3                     | 3        | failed: stalled, adopted 3
        save intent    | stalled, committed               | stalled                     | 2 intent | failed: stalled
        fetch          | stalled, tokens                  | persist 3 over 2 after 0 ms | 2 intent | failed: stalled
        fetch          | stalled, tokens, committed       | token 3                     | 3        | failed: stalled, refreshed 3
        fetch          | stalled, tokens, superseded by 3 | token 3                     | 3        | failed: stalled, adopted 3
        fetch          | stalled, down                    | down                        | 2 intent | failed: stalled
        fetch          | stalled, lost                    | wait 1000 ms                | 2 intent | failed: stalled
        wait to replay | stalled, waited                  | lost                        | 2 intent | failed: stalled, lost
        save replay    | stalled, committed               | lost                        | 2 replay | failed: stalled, lost
        ",
        step,
    );
}

/// A program that has dropped its cache waits for 30 seconds.
#[test]
fn p13_abandoned_save_is_given_up_after_30_seconds() {
    cases(
        "
        given   | then                                  | next                                               | held     | events
        persist | abandoned, 30 s pass, store down      | persist 3 over 2 after 50 ms; deferred, store down | 2 intent | unsaved for 30 s
        persist | abandoned, 31 s pass, store down      | abandoned                                          | 2 intent | unsaved for 31 s
        persist | abandoned, 31 s pass, superseded by 1 | abandoned                                          | 2 intent | -
        persist | abandoned, 31 s pass, committed       | token 3                                            | 3        | refreshed 3
        persist | 40 s pass, store down                 | persist 3 over 2 after 50 ms; deferred, store down | 2 intent | unsaved for 40 s
        ",
        step,
    );
}

/// A token that expired while it was being saved serves the waiters only if that took at most a
/// second.
#[test]
fn p18_token_that_expired_before_its_save_serves_only_at_once() {
    cases(
        "
        given   | then                                 | next       | held | events
        persist | 2 s pass, committed                  | token 3    | 3    | refreshed 3
        persist | 3600 s pass, committed               | saved late | 3    | refreshed 3
        fetch   | dead tokens, committed               | token 3    | 3    | refreshed 3
        fetch   | dead tokens, 1 s pass, committed     | token 3    | 3    | refreshed 3
        fetch   | dead tokens, 1001 ms pass, committed | saved late | 3    | refreshed 3
        ",
        step,
    );
}

#[test]
fn p14_pause_between_saves_doubles_up_to_10_seconds() {
    let mut rig = Rig::at("persist");
    let pauses = [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000];
    for expected in pauses {
        rig.perform("store down");
        let Next::Persist(persist) = &rig.next else {
            panic!("{:?}", rig.next)
        };
        assert_eq!(persist.pause().as_millis(), expected);
    }
}

/// Only a success counts: a failed refresh has its own backoff.
#[test]
fn p07_forced_refresh_counts_from_the_request_of_a_success() {
    cases(
        "
        reason   | response | forced refresh
        rejected | tokens   | yes
        rejected | down     | no
        rejected | lost     | no
        manual   | tokens   | no
        ",
        |[of, response]| {
            let reason = match of {
                "rejected" => Reason::Rejected(generation(2)),
                _ => Reason::Manual(Some(generation(2))),
            };
            let m = age("fresh");
            let mut rig = Rig::new(holding(&active(2)), reason, m).advanced_to("fetch");
            rig.perform(&format!("3 s pass, {response}"));
            assert_eq!(rig.state.refresh_started_at, Some(m.now));
            let forced = rig.state.forced.as_ref().map(|forced| forced.at);
            assert!(forced.is_none_or(|started| started == m.now));
            [yes_no(forced.is_some())]
        },
    );
}

/// A store check of a denied request loads only. It saves an end that could not be saved before.
#[test]
fn p12_store_check_finds_a_newer_grant() {
    cases(
        "
        denied because | then                      | next                   | held      | events
        ended          | stored 3 ended            | ended                  | 3 ended   | -
        ended          | stored 4                  | token 4                | 4         | adopted 4
        ended          | stored none               | save 3 ended over none | 3 ended   | -
        ended          | stored 2                  | save 3 ended over 2    | 3 ended   | -
        ended          | stored 2, committed       | ended                  | 3 ended   | -
        ended          | stored 2, store down      | ended                  | 3 ended   | -
        ended          | stored 2, superseded by 4 | token 4                | 4         | adopted 4
        ended          | store down                | store down             | 3 ended   | -
        revoked        | stored 3 revoked          | revoked                | 3 revoked | -
        revoked        | stored 4                  | token 4                | 4         | adopted 4
        revoked        | stored 2                  | save 3 revoked over 2  | 3 revoked | -
        backoff        | stored 2                  | down                   | 2         | -
        backoff        | stored none               | down                   | 2         | -
        backoff        | stored 3                  | token 3                | 3         | adopted 3
        backoff        | stored 3 ended            | ended                  | 3 ended   | invalid_grant
        ",
        |[denied, then]| {
            let m = age("expired");
            let mut state = match denied {
                "ended" => holding(&ended(2)),
                "revoked" => holding(&revoked(2)),
                _ => holding(&active(2)),
            };
            if denied == "backoff" {
                state.backoff.add(m.now, 0, down(), 0.0);
            }
            results(Rig::new(state, Reason::Mandatory, m), then)
        },
    );
}
