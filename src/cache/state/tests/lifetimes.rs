//! Lifetimes by the data of a provider: when a refresh is accepted, until when a grant can be
//! refreshed, and how soon the API knows a new token.

use std::time::{Duration, SystemTime};

use super::{
    super::{
        ApiPropagation, CacheState, Moment, Next, Policy, Reason, RefreshTokenExpiry,
        RefreshWindow, intent::Intent, request::Admission, schedule::Schedule,
    },
    DAY, DEFER, LIFETIME, POLICY, SECOND, START, after, at, cases, duration, generation, grant,
    grid, issued, name, start, with_policy, yes_no,
};
use crate::{
    store::{LeaseOutcome, SaveOutcome},
    token::{AccessToken, Grant, GrantState, RefreshToken, TokenSet},
};

fn window(earliest: &str, latest: &str) -> RefreshWindow {
    RefreshWindow {
        earliest: duration(earliest),
        latest: duration(latest),
    }
}

fn policy_with(refresh_window: RefreshWindow) -> Policy {
    Policy {
        refresh_window,
        ..POLICY
    }
}

/// An access token with this lifetime, and a refresh token that may have one of its own.
fn tokens(lifetime: Option<Duration>, own: Option<Duration>, at: SystemTime) -> TokenSet {
    let tokens = TokenSet::new(AccessToken::new("a2").unwrap(), lifetime, at)
        .with_refresh_token(RefreshToken::new("r2"), at);
    match own {
        Some(own) => tokens.with_refresh_token_lifetime(own),
        None => tokens,
    }
}

fn holding(tokens: &TokenSet, policy: &Policy) -> CacheState {
    let mut state = CacheState::default();
    let grant = grant(2, GrantState::Active(tokens.clone()));
    state.adopt(Some(&grant), with_policy(policy, at(0)));
    state.take_events();
    state
}

fn seconds(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(1_000) {
        format!("{} s", millis / 1_000)
    } else {
        format!("{millis} ms")
    }
}

fn admission(state: &mut CacheState, reason: Reason, m: Moment<'_>) -> String {
    match state.request(reason, m) {
        Admission::Done(Ok(_)) => "token".to_owned(),
        Admission::Done(Err(error)) => name(&error).to_owned(),
        Admission::Start(job, _) if job.is_store_check() => "check".to_owned(),
        Admission::Start(..) => "start".to_owned(),
        other => panic!("{other:?}"),
    }
}

/// Each time is before the end of the access token. The first two are the start of the background
/// refresh, which varies from replica to replica.
#[test]
fn p18_refresh_windows_keep_within_what_the_provider_accepts() {
    cases(
        "
        lifetime  | earliest | latest   | first     | last     | mandatory | last resort | accepted
        600 s     | never    | never    | 300 s     | 150 s    | 60 s      | 150 s       | never
        600 s     | 30 s     | never    | 25 s      | 12500 ms | 12500 ms  | 12500 ms    | 25 s
        600 s     | 1 s      | never    | 833 ms    | 417 ms   | 417 ms    | 417 ms      | 833 ms
        600 s     | 60 s     | 30 s     | 55 s      | 42500 ms | 42500 ms  | 42500 ms    | 55 s
        3600 s    | 7200 s   | never    | 540 s     | 270 s    | 60 s      | 270 s       | 7195 s
        3600 s    | never    | 0 s      | 540 s     | 270 s    | 60 s      | 270 s       | never
        3600 s    | never    | 600 s    | 1050 s    | 825 s    | 660 s     | 825 s       | never
        60 s      | 30 s     | never    | 25 s      | 12500 ms | 6 s       | 12500 ms    | 25 s
        60 s      | never    | 60 s     | 60 s      | 60 s     | 60 s      | 60 s        | never
        60 s      | never    | 600 s    | 60 s      | 60 s     | 60 s      | 60 s        | never
        5184000 s | never    | 0 s      | 14400 s   | 7200 s   | 60 s      | 300 s       | never
        ",
        |[lifetime, earliest, latest]| {
            let policy = policy_with(window(earliest, latest));
            let m = with_policy(&policy, at(0));
            let tokens = tokens(duration(lifetime), None, m.wall);
            let schedule = |jitter| {
                let new = Schedule::of_new(&tokens, m.now, m.now, jitter, m.policy);
                let stored = Schedule::of_stored(&tokens, m.now, m.wall, jitter, m.policy);
                assert_eq!(new, stored);
                new
            };
            let (first, last) = (schedule(0.0), schedule(1.0));
            let before = |at| seconds(round(first.expires - at));
            [
                before(first.refresh_at),
                before(last.refresh_at),
                before(first.mandatory_at),
                before(first.last_resort_at),
                first
                    .accepted_at(policy.refresh_window)
                    .map_or("never".to_owned(), before),
            ]
        },
    );
}

/// To milliseconds.
fn round(duration: Duration) -> Duration {
    let micros = u64::try_from(duration.as_micros()).unwrap();
    Duration::from_millis((micros + 500) / 1_000)
}

/// The token lives for 600 seconds, and the provider accepts a refresh from 30 seconds before on.
#[test]
fn p16_no_refresh_is_sent_before_the_provider_accepts_it() {
    let policy = policy_with(window("30 s", "never"));
    grid(
        "
        reason     | 10 s  | 574 s | 575 s | 590 s | 600 s
        advisory   | token | token | start | start | start
        mandatory  | token | token | token | start | start
        rejected   | check | check | start | start | start
        manual     | check | check | start | start | start
        keep alive | check | check | start | start | start
        lost       | start | start | start | start | start
        ",
        |reason, column| {
            let m = with_policy(&policy, after(duration(column).unwrap()));
            let mut state = holding(&tokens(duration("600 s"), None, at(0).wall), &policy);
            let reason = match reason {
                "advisory" => Reason::Advisory,
                "mandatory" => Reason::Mandatory,
                "rejected" => Reason::Rejected(generation(2)),
                "manual" => Reason::Manual(Some(generation(2))),
                "keep alive" => Reason::KeepAlive(Some(generation(2))),
                _ => {
                    let since = m.wall - SECOND;
                    let tokens = tokens(duration("600 s"), None, at(0).wall);
                    let grant = grant(
                        2,
                        GrantState::Refreshing {
                            tokens,
                            since,
                            is_replayed: false,
                        },
                    );
                    state.adopt(Some(&grant), m);
                    Reason::LostResponse(since)
                }
            };
            admission(&mut state, reason, m)
        },
    );
    // No end is known before which the provider would refuse a refresh.
    let mut state = holding(&tokens(None, None, at(0).wall), &policy);
    let m = with_policy(&policy, at(10));
    assert_eq!(
        admission(&mut state, Reason::Rejected(generation(2)), m),
        "start"
    );
    // The program knows better.
    let mut state = holding(&tokens(duration("600 s"), None, at(0).wall), &policy);
    state.held = state.held.invalidated(m.now).into();
    assert_eq!(admission(&mut state, Reason::Mandatory, m), "start");
}

/// The grant is loaded only once the refresh has begun.
#[test]
fn p16_refresh_of_a_loaded_grant_waits_until_the_provider_accepts_it() {
    let policy = policy_with(window("30 s", "never"));
    let stored = grant(
        2,
        GrantState::Active(tokens(duration("600 s"), None, at(0).wall)),
    );
    for (passed, is_sent) in [(10, false), (574, false), (575, true), (650, true)] {
        let m = with_policy(&policy, at(passed));
        let mut state = CacheState::default();
        let job = start(&mut state, Reason::Manual(None), m);
        state.lease_acquired(LeaseOutcome::Acquired, m);
        let mut next = Next::first(job, &state, m);
        let outcome = loop {
            next = match next {
                Next::Load(load) => load.loaded(Ok(Some(stored.clone())), &mut state, m),
                Next::AcquireLease(acquire) => acquire.acquired(Ok(LeaseOutcome::Acquired)),
                Next::Enter(enter) => enter.entered(Ok(()), &mut state, m),
                other => break other,
            }
        };
        match outcome {
            Next::Save(_) => assert!(is_sent, "{passed}"),
            Next::Done(done) => {
                assert!(!is_sent, "{passed}");
                assert_eq!(name(done.outcome().as_ref().unwrap_err()), "too early");
                state.finish(&done, m);
                assert!(state.backoff.last().is_none());
            }
            other => panic!("{other:?}"),
        }
    }
}

/// When an idle grant is refreshed, and until when it can be, after a last refresh that did not
/// change the end.
#[test]
fn p19_idle_grant_is_refreshed_while_that_is_accepted() {
    cases(
        "
        access     | own    | earliest | latest  | used | due       | expires
        3600 s     | never  | never    | never   | 0 d  | 1728000 s | 2592000 s
        3600 s     | 100 d  | never    | never   | 0 d  | 5760000 s | 8640000 s
        3600 s     | 100 d  | never    | never   | 50 d | 7200000 s | 8640000 s
        3600 s     | 100 d  | never    | never   | 94 d | 8467200 s | 8640000 s
        3600 s     | 100 d  | never    | never   | 96 d | 8640000 s | 8640000 s
        3600 s     | 7 d    | never    | never   | 0 d  | 403200 s  | 604800 s
        3600 s     | 7 d    | never    | never   | 6 d  | 576000 s  | 604800 s
        300 s      | 1800 s | never    | never   | 0 d  | 1200 s    | 1800 s
        300 s      | 45 s   | never    | never   | 0 d  | 60 s      | 45 s
        300 s      | 0 s    | never    | never   | 0 d  | 1728000 s | 2592000 s
        3600 s     | never  | never    | 0 s     | 0 d  | 2400 s    | 3600 s
        3600 s     | 1800 s | never    | 0 s     | 0 d  | 1200 s    | 1800 s
        3600 s     | 7 d    | never    | 600 s   | 0 d  | 2000 s    | 3000 s
        5184000 s  | never  | never    | 86400 s | 0 d  | 1728000 s | 2592000 s
        5184000 s  | 100 d  | never    | 86400 s | 0 d  | 3398400 s | 5097600 s
        3600 s     | 900 s  | 305 s    | never   | 0 d  | 3300 s    | 900 s
        never      | 30 d   | 300 s    | 60 s    | 0 d  | 1728000 s | 2592000 s
        ",
        |[access, own, earliest, latest, used]| {
            let policy = policy_with(window(earliest, latest));
            let used = duration(used).unwrap();
            let m = with_policy(&policy, after(used));
            let first = tokens(duration(access), duration(own), START.1);
            let left = duration(own).map(|own| own.saturating_sub(used));
            let restated = tokens(duration(access), left, m.wall).with_omitted_from(&first);
            let held = if used.is_zero() { first } else { restated };
            let expiry = RefreshTokenExpiry::of(&held, &policy, (m.now, m.wall), 0.0).unwrap();
            let due = used + expiry.until_due(m.now, m.wall);
            let by_monotonic = used + expiry.until_due(m.now, START.1);
            assert_eq!(due, by_monotonic);
            let expires = expiry.expires_at.duration_since(START.1).unwrap();
            [seconds(due), seconds(expires)]
        },
    );
}

/// The provider states at each refresh how much is left, with a delay of some seconds.
#[test]
fn p19_end_that_does_not_move_is_reported_in_time() {
    for (days, between, expected) in [
        (100, 3_600, vec![7, 3, 1]),
        (100, 86_400, vec![7, 3, 1]),
        (100, 20, vec![]),
        (7, 3_600, vec![1]),
        (2, 3_600, vec![]),
    ] {
        let lifetime = days * DAY;
        let mut held = tokens(Some(LIFETIME), Some(lifetime), START.1);
        let mut state = holding(&held, &POLICY);
        let mut reported = Vec::new();
        // With the shortest interval, only the first hour.
        let end = if between < 60 { DAY / 24 } else { lifetime };
        let mut passed = Duration::ZERO;
        for number in 3.. {
            passed += between * SECOND;
            if passed >= end {
                break;
            }
            let m = after(passed);
            let delay = Duration::from_millis(number * 7_919 % 4_000);
            let new = TokenSet::new(AccessToken::new("a").unwrap(), LIFETIME, m.wall)
                .with_refresh_token(RefreshToken::new(format!("r{number}")), m.wall)
                .with_refresh_token_lifetime(lifetime.saturating_sub(passed + delay));
            held = new.with_omitted_from(&held);
            let stored = Grant::new(generation(number), GrantState::Active(held.clone()));
            state.adopt(Some(&stored), m);
            state.plan(m);
            for event in state.take_events() {
                if let super::Event::RefreshTokenExpiring { days_left } = event {
                    reported.push(days_left);
                }
            }
        }
        assert_eq!(reported, expected, "{days} days, each {between} s");
        let of_first = held.refresh_token_lifetime();
        assert_eq!(of_first, Some(lifetime), "{days} days, each {between} s");
    }
}

/// A lifetime that starts again with each refresh does not end.
#[test]
fn p19_lifetime_that_starts_again_moves_the_end() {
    for between in [20, 50, 100, 300, 3_600, 86_400] {
        let own = 30 * DAY;
        let mut held = tokens(Some(LIFETIME), Some(own), START.1);
        for number in 1..=200_u32 {
            let at = START.1 + between * number * SECOND;
            held = tokens(Some(LIFETIME), Some(own), at).with_omitted_from(&held);
            let end = held.refresh_token_issued_at().unwrap() + own;
            let late = (at + own).duration_since(end).unwrap();
            assert!(late <= 60 * SECOND, "each {between} s: {late:?}");
            assert_eq!(held.refresh_token_lifetime(), Some(own));
        }
    }
}

/// A lost response is not left until the provider accepts no refresh any more.
#[test]
fn p11_deferred_refresh_is_sent_before_the_last_one_that_is_accepted() {
    for (latest, sent_after) in [("never", 3_600), ("0 s", 3_330), ("600 s", 2_775)] {
        let policy = Policy {
            refresh_window: window("never", latest),
            ..DEFER
        };
        for (passed, expected) in [(sent_after - 1, "check"), (sent_after, "start")] {
            let m = with_policy(&policy, at(passed));
            let since = m.wall - 200 * SECOND;
            let tokens = issued(2, at(0));
            let lost = grant(
                2,
                GrantState::Refreshing {
                    tokens,
                    since,
                    is_replayed: false,
                },
            );
            let mut state = CacheState::default();
            state.adopt(Some(&lost), m);
            let found = admission(&mut state, Reason::Advisory, m);
            assert_eq!(found, expected, "{latest}, {passed} s");
        }
    }
}

/// Whether the background task requests a replay so long after the first request, without and with
/// an earlier replay.
#[test]
fn p11_lost_response_is_replayed_until_the_reuse_grace_ends() {
    grid(
        "
        grace, policy    | 0 s      | 9 s      | 10 s     | 27 s     | 28 s     | 30 s     | 31 s     | 540 s    | 541 s | 2591940 s | 2591941 s
        never, retry     | yes, no  | yes, no  | yes, no  | yes, no  | yes, no  | yes, no  | no, no   | no, no   | no, no | no, no   | no, no
        10 s, retry      | yes, yes | yes, yes | no, no   | no, no   | no, no   | no, no   | no, no   | no, no   | no, no | no, no   | no, no
        30 s, retry      | yes, yes | yes, yes | yes, yes | yes, yes | no, no   | no, no   | no, no   | no, no   | no, no | no, no   | no, no
        600 s, retry     | yes, yes | yes, yes | yes, yes | yes, yes | yes, yes | yes, yes | yes, yes | yes, yes | no, no | no, no   | no, no
        2592000 s, retry | yes, yes | yes, yes | yes, yes | yes, yes | yes, yes | yes, yes | yes, yes | yes, yes | yes, yes | yes, yes | no, no
        600 s, defer     | no, no   | no, no   | no, no   | no, no   | no, no   | no, no   | no, no   | no, no   | no, no | no, no   | no, no
        ",
        |row, passed| {
            let (grace, of_program) = row.split_once(", ").unwrap();
            let policy = Policy {
                reuse_grace: duration(grace),
                ..if of_program == "defer" { DEFER } else { POLICY }
            };
            let results = [false, true].map(|is_replayed| {
                let mut state = lost(is_replayed, &policy);
                let m = with_policy(&policy, after(100 * SECOND + duration(passed).unwrap()));
                let requests = state.plan(m).requests;
                let is_planned = requests
                    .iter()
                    .any(|reason| matches!(reason, Reason::LostResponse(_)));
                yes_no(is_planned)
            });
            results.join(", ")
        },
    );
}

/// The refresh of a token whose response was lost after 100 seconds.
fn lost(is_replayed: bool, policy: &Policy) -> CacheState {
    let m = with_policy(policy, at(100));
    let tokens = tokens(Some(DAY), None, START.1);
    let since = m.wall;
    let intent = GrantState::Refreshing {
        tokens,
        since,
        is_replayed,
    };
    let mut state = CacheState::default();
    state.adopt(Some(&grant(2, intent)), m);
    state.own_intent = Some(since);
    state
}

/// The pauses grow with the time since the first request.
#[test]
fn p16_replays_within_a_long_grace_have_growing_pauses() {
    let policy = Policy {
        reuse_grace: Some(30 * DAY),
        ..POLICY
    };
    cases(
        "
        last request after | now     | admission | runs again after
        never              | 1 s     | start     | 1 s
        1 s                | 1500 ms | paused    | 1 s
        1 s                | 2 s     | start     | 1 s
        10 s               | 10 s    | paused    | 5 s
        10 s               | 14 s    | paused    | 1 s
        10 s               | 15 s    | start     | 1 s
        600 s              | 700 s   | paused    | 30 s
        600 s              | 890 s   | paused    | 10 s
        600 s              | 900 s   | start     | 1 s
        10000 s            | 10590 s | paused    | 10 s
        10000 s            | 10600 s | start     | 1 s
        ",
        |[last, now]| {
            let m = with_policy(&policy, after(100 * SECOND + duration(now).unwrap()));
            let mut state = lost(true, &policy);
            let start = at(100).now;
            state.refresh_started_at = duration(last).map(|last| start + last);
            let plan = state.plan(m);
            let reason = Reason::LostResponse(at(100).wall);
            let admission = match state.request(reason, m) {
                Admission::Done(Err(error)) => name(&error).to_owned(),
                Admission::Start(job, _) if !job.is_store_check() => "start".to_owned(),
                other => panic!("{other:?}"),
            };
            [admission, seconds(plan.wake_after)]
        },
    );
}

/// A long `Retry-After` is left to the backoff, also within a reuse grace: the attempt would keep
/// its lease and its permit meanwhile.
#[test]
fn p16_attempt_waits_for_its_replay_for_30_seconds_at_most() {
    grid(
        "
        grace     | 1 s | 30 s | 31 s | 600 s
        never     | yes | yes  | no   | no
        600 s     | yes | yes  | no   | no
        2592000 s | yes | yes  | no   | no
        ",
        |grace, pause| {
            let policy = Policy {
                reuse_grace: duration(grace),
                ..POLICY
            };
            let m = with_policy(&policy, at(100));
            let state = holding(&tokens(Some(DAY), None, START.1), &policy);
            let intent = Intent::to_refresh(&state.held, m).unwrap();
            yes_no(intent.may_be_replayed(duration(pause).unwrap(), m))
        },
    );
}

/// Saving the intent of a replay takes time, in which the reuse grace may end.
#[test]
fn p11_nothing_is_sent_after_the_end_of_the_reuse_grace() {
    for (saved_after, is_sent) in [(0, true), (2, true), (3, false), (10, false)] {
        let policy = Policy {
            reuse_grace: Some(30 * SECOND),
            ..POLICY
        };
        let mut state = lost(true, &policy);
        let stored = state.held.grant().unwrap().clone();
        let m = with_policy(&policy, at(125));
        let job = start(&mut state, Reason::LostResponse(at(100).wall), m);
        let mut next = Next::first(job, &state, m);
        loop {
            let passed = if matches!(next, Next::Save(_)) {
                saved_after
            } else {
                0
            };
            let m = with_policy(&policy, at(125 + passed));
            next = match next {
                Next::Load(load) => load.loaded(Ok(Some(stored.clone())), &mut state, m),
                Next::AcquireLease(acquire) => {
                    state.lease_acquired(LeaseOutcome::Acquired, m);
                    acquire.acquired(Ok(LeaseOutcome::Acquired))
                }
                Next::Enter(enter) => enter.entered(Ok(()), &mut state, m),
                Next::Save(save) => save.saved(Ok(SaveOutcome::Committed), &mut state, m),
                Next::Fetch(_) => break assert!(is_sent, "{saved_after}"),
                Next::Done(done) => {
                    assert!(done.outcome().is_err());
                    break assert!(!is_sent, "{saved_after}");
                }
                other => panic!("{other:?}"),
            };
        }
    }
}

/// The reuse grace begins when the refresh token was first sent, and not again.
#[test]
fn p11_replay_keeps_the_time_of_the_first_request() {
    for (grace, of_program, is_kept) in [
        (None, POLICY, false),
        (Some(30 * SECOND), POLICY, true),
        (Some(30 * DAY), POLICY, true),
        (Some(30 * SECOND), DEFER, false),
    ] {
        let policy = Policy {
            reuse_grace: grace,
            ..of_program
        };
        let state = lost(true, &policy);
        for passed in [101, 110, 1_000, 80_000] {
            let m = with_policy(&policy, at(passed));
            let intent = Intent::to_refresh(&state.held, m).unwrap();
            assert!(intent.is_replay());
            let expected = if is_kept { at(100).wall } else { m.wall };
            assert_eq!(intent.since(), expected, "{grace:?}, {passed} s");
        }
    }
}

/// The result for a 401 to a token of this age, and what its acceptance shows.
#[test]
fn p06_token_propagates_for_as_long_as_the_provider_says() {
    cases(
        "
        delay | lifetime | age      | pause    | 401   | accepted shows
        5 s   | 3600 s   | 0 ms     | 5000 ms  | check | prompt
        5 s   | 3600 s   | 1000 ms  | 4000 ms  | check | nothing
        5 s   | 3600 s   | 5000 ms  | none     | start | nothing
        5 s   | never    | 4999 ms  | 1 ms     | check | nothing
        5 s   | 20 s     | 1999 ms  | 1 ms     | check | nothing
        60 s  | 3600 s   | 0 ms     | 60000 ms | check | prompt
        60 s  | 3600 s   | 59999 ms | 1 ms     | check | nothing
        60 s  | 300 s    | 29999 ms | 1 ms     | check | nothing
        60 s  | 300 s    | 30000 ms | none     | start | nothing
        1 s   | 3600 s   | 999 ms   | 1 ms     | check | prompt
        1 s   | 3600 s   | 1000 ms  | none     | start | nothing
        0 s   | 3600 s   | 0 ms     | none     | start | nothing
        0 s   | never    | 0 ms     | none     | start | nothing
        ",
        |[delay, lifetime, age]| {
            let policy = Policy {
                propagation: duration(delay).unwrap(),
                ..POLICY
            };
            let m = with_policy(&policy, after(duration(age).unwrap()));
            let held = tokens(duration(lifetime), None, at(0).wall);
            let mut state = holding(&held, &policy);
            let retry = state.retry(generation(2), ApiPropagation::Unknown, m);
            let pause = retry.map_or("none".to_owned(), |retry| {
                format!("{} ms", retry.pause.as_millis())
            });
            let shown = state
                .clone()
                .retry_accepted(generation(1), generation(2), m);
            let rejected = admission(&mut state, Reason::Rejected(generation(2)), m);
            let shown = match shown {
                Some(ApiPropagation::Prompt) => "prompt",
                None => "nothing",
                other => panic!("{other:?}"),
            };
            [pause, rejected, shown.to_owned()]
        },
    );
    for (seconds, expected) in [(5, "up to 5 seconds"), (60, "up to 60 seconds")] {
        let policy = Policy {
            propagation: seconds * SECOND,
            ..POLICY
        };
        let error = super::super::propagation::propagating(&policy);
        assert!(error.to_string().contains(expected), "{error}");
    }
}
