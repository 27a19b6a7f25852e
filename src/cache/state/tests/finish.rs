//! The end of a job: its backoff and its events.

use super::{
    super::{Admission, CacheState, Done, Moment, Reason, backoff::Urgency, snapshot::Outcome},
    SECOND, active, age, at, cases, down, duration, earlier, events, generation, grid, holding, is,
    lost, name, revoked, start, store_down, yes_no,
};
use crate::error::{Error, ErrorKind};

fn outcome(text: &str, state: &CacheState) -> Outcome {
    Err(match text {
        "token" => return Ok(state.held.token().unwrap().0.clone()),
        "down" => down(),
        "lost" => lost(),
        "store down" => store_down(),
        "no grant" => Error::new(ErrorKind::NoGrant, "no grant"),
        "ended" => Error::new(ErrorKind::ReauthorizationRequired, "ended"),
        other => panic!("{other}: no such outcome"),
    })
}

fn last_error(state: &CacheState) -> String {
    state.backoff.last().map_or("-", name).to_owned()
}

/// A refresh that ends after a failure, which was `store down`.
#[test]
fn p16_backoff_and_events_follow_from_the_result_of_a_refresh() {
    cases(
        "
        result     | sent | deferred | last error | events
        token      | yes  | no       | -          | completed: refreshed
        token      | no   | no       | -          | completed: adopted
        down       | yes  | no       | down       | failed: down, completed: failed
        down       | no   | no       | down       | failed: down, completed: failed
        lost       | yes  | no       | lost       | failed: lost, completed: response_lost
        lost       | no   | yes      | store down | completed: deferred
        ended      | yes  | no       | ended      | failed: ended, completed: ended
        no grant   | yes  | no       | no grant   | failed: no grant, completed: ended
        store down | no   | no       | store down | failed: store down, completed: failed
        ",
        |[result, sent, deferred]| {
            let m = age("fresh");
            let mut state = holding(&active(2));
            state.backoff.add(at(0).now, 0, store_down(), 0.0);
            let job = start(&mut state, Reason::Manual(None), m);
            let done = Done {
                outcome: outcome(result, &state),
                has_sent: is(sent),
                is_deferred: is(deferred),
                is_interrupted: false,
                job,
            };
            state.finish(&done, m);
            assert!(!state.is_refreshing() && state.is_idle(), "{result}");
            [last_error(&state), events(&mut state)]
        },
    );
}

/// A refresh that ends while its successor is in flight, after this had made way for it.
fn finished_late(result: &str, make_way: impl FnOnce(&mut CacheState, Moment<'_>)) -> [String; 4] {
    let m = age("fresh");
    let mut state = holding(&active(2));
    let job = start(&mut state, Reason::Manual(None), m);
    make_way(&mut state, m);
    start(&mut state, Reason::Manual(None), m);
    state.backoff.add(m.now, 0, store_down(), 0.0);
    state.take_events();
    let done = Done {
        outcome: outcome(result, &state),
        has_sent: true,
        is_deferred: false,
        is_interrupted: false,
        job,
    };
    state.finish(&done, m);
    [
        last_error(&state),
        yes_no(state.is_refreshing()),
        yes_no(state.is_idle()),
        events(&mut state),
    ]
}

/// The result belongs to the replaced grant. The refresh of the new one stays in flight.
#[test]
fn p15_result_of_a_replaced_consent_changes_no_backoff() {
    cases(
        "
        result | last error | still refreshing | idle | events
        token  | store down | yes              | no   | completed: refreshed
        down   | store down | yes              | no   | failed: down, completed: failed
        ended  | store down | yes              | no   | failed: ended, completed: ended
        ",
        |[result]| {
            finished_late(result, |state, m| {
                let sequence = state.next_sequence();
                state.install(&active(3), sequence, m);
            })
        },
    );
}

/// The refresh stalled, and continues while its successor is in flight.
#[test]
fn p04_result_of_a_stalled_refresh_changes_no_backoff() {
    cases(
        "
        result | last error | still refreshing | idle | events
        token  | store down | yes              | no   | completed: refreshed
        down   | store down | yes              | no   | failed: down, completed: failed
        ",
        |[result]| finished_late(result, |state, _| state.refresh_stalled()),
    );
}

/// The runtime of the refresh ended, which is no evidence about the token endpoint.
#[test]
fn p04_interrupted_refresh_causes_no_backoff() {
    for (is_interrupted, expected) in [(true, "-"), (false, "stalled")] {
        let m = age("fresh");
        let mut state = holding(&active(2));
        let job = start(&mut state, Reason::Manual(None), m);
        state.finish(&Done::interrupted(job, !is_interrupted), m);
        assert!(!state.is_refreshing() && state.is_idle());
        assert_eq!(
            last_error(&state) == "-",
            expected == "-",
            "{is_interrupted}"
        );
    }
}

/// A store check is no evidence about the token endpoint.
#[test]
fn p12_store_check_changes_no_backoff_and_emits_no_event() {
    cases(
        "
        result     | last error | events
        token      | down       | -
        ended      | down       | -
        store down | down       | -
        ",
        |[result]| {
            let m = at(4_000);
            let mut state = holding(&revoked(2));
            state.backoff.add(m.now, 0, down(), 0.0);
            let job = start(&mut state, Reason::Mandatory, m);
            assert!(job.is_store_check() && state.is_checking_store());
            let outcome = match result {
                "token" => outcome(result, &holding(&active(2))),
                result => outcome(result, &state),
            };
            state.finish(&Done::new(job, outcome), m);
            assert!(!state.is_checking_store() && state.is_idle(), "{result}");
            assert_eq!(state.store_checked_at, Some(m.now));
            [last_error(&state), events(&mut state)]
        },
    );
}

/// The provider returned a token that is already due for a refresh again. The next refresh is
/// delayed while that token is valid, and requests are never refused for it.
#[test]
fn p16_token_that_is_due_again_delays_only_early_refreshes() {
    grid(
        "
        reason    | 0 s   | 29 s  | 30 s  | 300 s
        advisory  | down  | down  | down  | start
        mandatory | down  | down  | start | start
        expired   | start | start | start | start
        rejected  | start | start | start | start
        manual    | start | start | start | start
        ",
        |row, column| {
            let (reason, m) = match row {
                "advisory" => (Reason::Advisory, age("advisory")),
                "mandatory" => (Reason::Mandatory, age("mandatory")),
                "expired" => (Reason::Mandatory, age("expired")),
                "rejected" => (Reason::Rejected(generation(2)), age("advisory")),
                _ => (Reason::Manual(Some(generation(2))), age("advisory")),
            };
            let ago = duration(column).unwrap();
            let mut state = holding(&active(2));
            state.backoff.add_soft(earlier(m, ago), 0, down(), 0.0);
            match state.request(reason, m) {
                Admission::Done(Err(error)) => name(&error).to_owned(),
                Admission::Start(job, _) if !job.is_store_check() => "start".to_owned(),
                other => panic!("{other:?}"),
            }
        },
    );
}

#[test]
fn p05_success_with_a_valid_token_ends_the_backoff() {
    cases(
        "
        age of the new token | next advisory refresh
        fresh                | ok
        advisory             | due again
        mandatory            | due again
        expired              | ok
        ",
        |[of_token]| {
            let m = age(of_token);
            let mut state = holding(&active(2));
            state.backoff.add(earlier(m, SECOND), 0, down(), 0.0);
            let job = start(&mut state, Reason::Manual(None), m);
            let outcome = outcome("token", &state);
            state.finish(&Done::new(job, outcome), m);
            let check = state.backoff.check(m.now, 0, Urgency::Advisory);
            [check
                .map_or_else(|error| name(&error), |()| "ok")
                .to_owned()]
        },
    );
}
