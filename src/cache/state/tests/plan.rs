//! The plan of the background task: the refreshes that it requests, and when it runs again.

use std::time::Duration;

use super::{
    super::{CacheState, Moment, Policy, Reason, plan::Plan},
    DAY, DEFER, POLICY, SECOND, START, active, after, age, at, cases, down, duration, earlier,
    ended, events, generation, holding, is, issued, refreshing, revoked, with_policy,
};
use crate::{
    error::{Error, ErrorKind},
    token::{Grant, GrantState},
};

/// The requested refreshes, and after how long the task runs again.
fn results(plan: &Plan) -> [String; 2] {
    let names: Vec<&str> = plan
        .requests
        .iter()
        .map(|reason| match reason {
            Reason::Advisory => "advisory",
            Reason::Mandatory => "mandatory",
            Reason::KeepAlive(None) => "keep alive none",
            Reason::KeepAlive(Some(of)) if *of == generation(2) => "keep alive 2",
            Reason::LostResponse(_) => "lost",
            other => panic!("{other:?}"),
        })
        .collect();
    let requests = if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(", ")
    };
    let wake_after = if plan.wake_after.subsec_millis() == 0 {
        format!("{} s", plan.wake_after.as_secs())
    } else {
        format!("{} ms", plan.wake_after.as_millis())
    };
    [requests, wake_after]
}

fn moment(of_token: &str) -> Moment<'static> {
    match duration(of_token) {
        Some(passed) => after(passed),
        None => unreachable!(),
    }
}

/// A token is refreshed early only if a request has used it. The task compares the clocks each 30
/// seconds while the token is valid, and each hour otherwise.
#[test]
fn p05_token_in_use_is_refreshed_in_the_background() {
    cases(
        "
        used | age       | last failure | requests  | runs again after
        no   | fresh     | never        | -         | 30 s
        no   | advisory  | never        | -         | 30 s
        no   | mandatory | never        | -         | 30 s
        no   | expired   | never        | -         | 3600 s
        yes  | fresh     | never        | -         | 30 s
        yes  | 3055 s    | never        | -         | 5 s
        yes  | 3060 s    | never        | advisory  | 30 s
        yes  | advisory  | never        | advisory  | 30 s
        yes  | advisory  | 10 s         | advisory  | 30 s
        yes  | advisory  | 290 s        | advisory  | 10 s
        yes  | advisory  | 299500 ms    | advisory  | 1 s
        yes  | advisory  | 300 s        | advisory  | 30 s
        yes  | mandatory | never        | mandatory | 30 s
        yes  | mandatory | 10 s         | mandatory | 20 s
        yes  | mandatory | 30 s         | mandatory | 30 s
        yes  | expired   | never        | mandatory | 30 s
        yes  | expired   | 10 s         | mandatory | 20 s
        ",
        |[used, of_token, failed]| {
            let m = if of_token.ends_with(" s") {
                moment(of_token)
            } else {
                age(of_token)
            };
            let mut state = holding(&active(2));
            if is(used) {
                state.held.mark_used();
            }
            if let Some(ago) = duration(failed) {
                state.backoff.add(earlier(m, ago), 0, down(), 0.0);
            }
            results(&state.plan(m))
        },
    );
}

#[test]
fn p15_grant_that_cannot_be_refreshed_is_not_refreshed_in_the_background() {
    cases(
        "
        grant            | age      | requests        | runs again after
        no grant         | fresh    | keep alive none | 3600 s
        ended            | fresh    | -               | 30 s
        ended            | expired  | -               | 3600 s
        revoked          | fresh    | -               | 3600 s
        consent required | advisory | -               | 30 s
        consent required | expired  | -               | 3600 s
        ",
        |[grant, of_token]| {
            let m = age(of_token);
            let mut state = match grant {
                "no grant" => CacheState::default(),
                "ended" => holding(&ended(2)),
                "revoked" => holding(&revoked(2)),
                _ => {
                    // The last refresh failed with this.
                    let error = Error::new(ErrorKind::NoGrant, "no consent yet");
                    let mut state = holding(&active(2));
                    state.backoff.add(earlier(m, 400 * SECOND), 0, error, 0.0);
                    state
                }
            };
            state.held.mark_used();
            results(&state.plan(m))
        },
    );
}

/// Also if no request has used the token, because the refresh token may be used up.
#[test]
fn p11_lost_response_is_replayed_in_the_background() {
    let by_intent = |policy: &Policy, grant: &str, of_token: &str| {
        let m = with_policy(policy, age(of_token));
        let (seconds, is_replayed) = match grant {
            "intent, 10 s" => (10, false),
            "intent, 30 s" => (30, false),
            "intent, 31 s" => (31, false),
            _ => (10, true),
        };
        let since = m.wall - seconds * SECOND;
        results(&holding(&refreshing(2, since, is_replayed)).plan(m))
    };
    cases(
        "
        grant        | age       | requests        | runs again after
        intent, 10 s | fresh     | lost            | 30 s
        intent, 30 s | fresh     | lost            | 30 s
        intent, 31 s | fresh     | -               | 30 s
        replay, 10 s | fresh     | -               | 30 s
        intent, 10 s | advisory  | lost, advisory  | 30 s
        intent, 31 s | advisory  | advisory        | 30 s
        intent, 31 s | mandatory | mandatory       | 30 s
        intent, 10 s | expired   | lost, mandatory | 30 s
        replay, 10 s | expired   | mandatory       | 30 s
        ",
        |[grant, of_token]| by_intent(&POLICY, grant, of_token),
    );
    cases(
        "
        grant        | age      | requests  | runs again after
        intent, 10 s | fresh    | -         | 30 s
        intent, 10 s | advisory | advisory  | 30 s
        intent, 10 s | expired  | mandatory | 30 s
        ",
        |[grant, of_token]| by_intent(&DEFER, grant, of_token),
    );
}

/// The wall clock is set back by 10 minutes, so that the intent seems to be as recent as before.
#[test]
fn p11_wall_clock_that_is_set_back_does_not_prolong_the_time_for_the_replay() {
    let saved = at(600);
    let mut state = holding(&refreshing(2, saved.wall - 600 * SECOND, false));
    state.adopt(Some(&refreshing(2, saved.wall, false)), saved);
    for (seconds, is_replayed) in [(10, true), (30, true), (31, false), (3_600, false)] {
        let now = saved.now + seconds * SECOND;
        let m = Moment { now, ..saved };
        let requests = state.clone().plan(m).requests;
        let expected = Reason::LostResponse(saved.wall);
        assert_eq!(requests.contains(&expected), is_replayed, "{seconds} s");
    }
}

/// The lifetime of the refresh token is 30 days, so the keepalive is due after 20.
#[test]
fn p19_idle_grant_is_kept_alive() {
    cases(
        "
        monotonic | wall      | last failure | requests     | runs again after
        19 d      | 19 d      | never        | -            | 3600 s
        1727990 s | 1727990 s | never        | -            | 10 s
        1727990 s | 10 d      | never        | -            | 10 s
        10 d      | 1727990 s | never        | -            | 10 s
        20 d      | 20 d      | never        | keep alive 2 | 30 s
        20 d      | 10 d      | never        | keep alive 2 | 30 s
        10 d      | 20 d      | never        | keep alive 2 | 30 s
        20 d      | 20 d      | 10 s         | keep alive 2 | 290 s
        20 d      | 20 d      | 300 s        | keep alive 2 | 30 s
        29 d      | 29 d      | never        | keep alive 2 | 30 s
        ",
        |[monotonic, wall, failed]| {
            let m = Moment {
                wall: START.1 + duration(wall).unwrap(),
                ..moment(monotonic)
            };
            let mut state = holding(&active(2));
            if let Some(ago) = duration(failed) {
                state.backoff.add(earlier(m, ago), 0, down(), 0.0);
            }
            results(&state.plan(m))
        },
    );
    let soon = after(Duration::from_millis(1_727_999_500));
    assert_eq!(holding(&active(2)).plan(soon).wake_after, SECOND);
    let policy = Policy {
        refresh_token_lifetime: None,
        ..POLICY
    };
    let mut state = CacheState::default();
    state.adopt(Some(&active(2)), with_policy(&policy, at(0)));
    let plan = state.plan(with_policy(&policy, after(20 * DAY)));
    assert_eq!(results(&plan), ["-", "3600 s"]);
}

/// The first threshold that an event reports may have passed unseen.
#[test]
fn p19_each_expiry_event_is_reported_once_for_a_refresh_token() {
    cases(
        "
        plans after                  | events
        22 d                         | 0 s left
        23 d, 24 d                   | 0 s left, 7 days, 0 s left
        23 d, 27 d, 28 d, 29 d, 30 d | 0 s left, 7 days, 0 s left, 3 days, 0 s left, 0 s left, 1 days, 0 s left
        28 d, 29 d                   | 0 s left, 3 days, 0 s left, 1 days
        31 d                         | 0 s left
        29 d, refresh, 52 d          | 0 s left, 1 days, adopted 3, 0 s left, 7 days
        ",
        |[script]| {
            let mut state = holding(&active(2));
            for step in script.split(", ") {
                if step == "refresh" {
                    let m = after(29 * DAY);
                    let refreshed = Grant::new(generation(3), GrantState::Active(issued(3, m)));
                    state.adopt(Some(&refreshed), m);
                } else {
                    state.plan(moment(step));
                }
            }
            [events(&mut state)]
        },
    );
}

#[test]
fn p18_suspend_shortens_the_lifetime_once() {
    // The wall clock is ahead of the monotonic one by this much, after 100 seconds.
    cases(
        "
        ahead  | events                           | second plan
        0 s    | 3500 s left                      | 3500 s left
        1 s    | 3500 s left                      | 3500 s left
        2 s    | corrected by 2 s, 3498 s left    | 3498 s left
        1800 s | corrected by 1800 s, 1700 s left | 1700 s left
        7200 s | corrected by 3500 s, 0 s left    | 0 s left
        ",
        |[ahead]| {
            let mut m = at(100);
            m.wall += duration(ahead).unwrap();
            let mut state = holding(&active(2));
            state.plan(m);
            let first = events(&mut state);
            state.plan(m);
            [first, events(&mut state)]
        },
    );
    // A wall clock that was set back changes nothing.
    let mut m = at(100);
    m.wall -= 600 * SECOND;
    let mut state = holding(&active(2));
    state.plan(m);
    assert_eq!(events(&mut state), "3500 s left");
}
