//! Grants that become stuck, and recover.

use std::time::Duration;

use http::StatusCode;

use super::{
    super::{CacheState, Done, Moment, Reason, backoff::Urgency},
    active, after, at, cases, down, down_for, ended, event_name, events, grid, holding,
    invalid_client, is, lost, refreshing, start, store_down, yes_no,
};
use crate::error::{Error, ErrorKind, OAuthErrorCode, ResponseDetails};

/// The error of this name.
fn error(name: &str) -> Error {
    let of = |kind, details| {
        let is_unavailable = kind == ErrorKind::Unavailable;
        let message = if is_unavailable { "down" } else { "refused" };
        Error::new(kind, message).with_response(details)
    };
    let details = ResponseDetails {
        status: Some(StatusCode::BAD_REQUEST),
        ..ResponseDetails::default()
    };
    match name {
        "unknown code" => of(ErrorKind::InvalidResponse, details).with_response_lost(),
        "403 page" | "success without a token" => of(ErrorKind::InvalidResponse, details),
        "invalid_scope" => of(
            ErrorKind::Refused,
            ResponseDetails {
                code: Some(OAuthErrorCode::InvalidScope),
                ..details
            },
        ),
        "not dead" => of(
            ErrorKind::Refused,
            ResponseDetails {
                is_not_dead: true,
                ..details
            },
        ),
        "dead" => Error::invalid_grant(),
        "consent required" => Error::new(ErrorKind::ReauthorizationRequired, "ended"),
        "invalid client" => invalid_client(),
        "transient refusal" => of(ErrorKind::Unavailable, details),
        "outage" => down(),
        "retry after" => down_for(Duration::from_secs(120)),
        "timeout" => lost(),
        "store down" => store_down(),
        "breaker" => of(
            ErrorKind::Unavailable,
            ResponseDetails {
                retry_after: Some(Duration::from_secs(20)),
                ..ResponseDetails::default()
            },
        ),
        other => panic!("{other}: no such error"),
    }
}

/// A refresh fails at this moment. Returns the event of a grant that becomes stuck.
fn fail(state: &mut CacheState, with: &str, m: Moment<'_>) -> Option<String> {
    let job = start(state, Reason::Manual(None), m);
    state.finish(&Done::failed(job, error(with)), m);
    let events: Vec<_> = state.take_events().iter().map(event_name).collect();
    events.into_iter().find(|event| event.starts_with("stuck"))
}

/// A grant that has become stuck at 3600 seconds, when its access token expired.
fn stuck() -> CacheState {
    let mut state = holding(&active(2));
    for attempt in 0..5 {
        let event = fail(&mut state, "invalid_scope", at(2_400 + 300 * attempt));
        assert_eq!(event.is_some(), attempt == 4);
    }
    state
}

/// 100 refreshes fail, 5 minutes apart.
#[test]
fn p16_only_failures_that_say_something_about_the_grant_make_it_stuck() {
    cases(
        "
        failures                          | stuck
        unknown code                      | stuck by lost after 5 in 1200 s
        403 page                          | stuck by invalid response after 5 in 1200 s
        success without a token           | stuck by invalid response after 5 in 1200 s
        invalid_scope                     | stuck by refused after 5 in 1200 s
        not dead                          | stuck by refused after 5 in 1200 s
        invalid_scope, 403 page           | stuck by refused after 5 in 1200 s
        invalid_scope, outage             | stuck by refused after 5 in 2400 s
        outage, outage, 403 page          | stuck by invalid response after 5 in 3600 s
        dead                              | -
        invalid client                    | -
        transient refusal                 | -
        outage                            | -
        retry after                       | -
        timeout                           | -
        store down                        | -
        breaker                           | -
        invalid_scope, consent required   | -
        ",
        |[failures]| {
            let mut state = holding(&active(2));
            let failures: Vec<_> = failures.split(", ").collect();
            let stuck: Vec<_> = (0..100)
                .zip(failures.iter().cycle())
                .filter_map(|(count, failure)| fail(&mut state, failure, at(300 * count)))
                .collect();
            assert!(stuck.len() <= 1, "reported again: {stuck:?}");
            [stuck.first().map_or("-", String::as_str).to_owned()]
        },
    );
}

#[test]
fn p16_grant_is_stuck_after_five_attempts_and_a_quarter_of_an_hour() {
    cases(
        "
        seconds apart | attempts | after
        1             | 901      | 900
        30            | 31       | 900
        224           | 6        | 1120
        225           | 5        | 900
        600           | 5        | 2400
        86400         | 5        | 345600
        ",
        |[apart]| {
            let apart: u64 = apart.parse().unwrap();
            let mut state = holding(&active(2));
            let number = (0..1_000).find(|number| {
                let event = fail(&mut state, "403 page", at(apart * number));
                event.is_some()
            });
            let number = number.unwrap();
            [(number + 1).to_string(), (number * apart).to_string()]
        },
    );
}

#[test]
fn p16_success_in_between_starts_the_count_again() {
    let mut state = holding(&active(2));
    for round in 0..10 {
        for attempt in 0..4 {
            let m = at(10_000 * round + 1_000 * attempt);
            assert_eq!(fail(&mut state, "403 page", m), None);
        }
        let job = start(&mut state, Reason::Manual(None), at(10_000 * round + 4_000));
        let token = state.held.token().unwrap().0.clone();
        state.finish(&Done::new(job, Ok(token)), at(10_000 * round + 4_000));
        assert_eq!(events(&mut state), "completed: adopted");
    }
}

fn seconds(state: &CacheState, urgency: Urgency, since: Moment<'_>) -> String {
    let until = state.backoff.until(0, urgency).unwrap();
    (until - since.now).as_secs().to_string()
}

/// The last failure of a stuck grant, and of another one, and the pause after it. The random number
/// is 0, and then 1.
#[test]
fn p16_stuck_grant_is_tried_at_long_intervals() {
    cases(
        "
        stuck | failure           | advisory     | mandatory | blocking | manual
        no    | invalid_scope     | 300 to 600   | 30        | 1        | 0
        no    | 403 page          | 300 to 600   | 30        | 1        | 0
        no    | not dead          | 300 to 600   | 300       | 300      | 0
        yes   | invalid_scope     | 21600 to 25200 | 600 to 700 | 600 to 700 | 0
        yes   | not dead          | 21600 to 25200 | 600 to 700 | 600 to 700 | 0
        yes   | 403 page          | 21600 to 25200 | 600 to 700 | 600 to 700 | 0
        yes   | outage            | 21600 to 25200 | 600 to 700 | 600 to 700 | 0
        yes   | timeout           | 21600 to 25200 | 600 to 700 | 600 to 700 | 0
        yes   | retry after       | 21600 to 25200 | 600 to 700 | 600 to 700 | 120
        yes   | store down        | 300 to 600   | 30        | 1 to 30  | 0
        yes   | breaker           | 20 to 50     | 20        | 1 to 16  | 0
        ",
        |[is_stuck, failure]| {
            let results = [0.0, 1.0].map(|jitter| {
                let mut state = match is_stuck {
                    "yes" => stuck(),
                    _ => holding(&active(2)),
                };
                let m = Moment {
                    jitter,
                    ..at(20_000)
                };
                assert_eq!(fail(&mut state, failure, m), None);
                [
                    Urgency::Advisory,
                    Urgency::Mandatory,
                    Urgency::Blocking,
                    Urgency::Manual,
                ]
                .map(|urgency| seconds(&state, urgency, m))
            });
            let [least, most] = results;
            let range = |index: usize| match (&least[index], &most[index]) {
                (least, most) if least == most => least.clone(),
                (least, most) => format!("{least} to {most}"),
            };
            [range(0), range(1), range(2), range(3)]
        },
    );
}

/// A stuck grant, an event that ends it or not, and the reports then and later.
#[test]
fn p16_stuck_grant_recovers_once_by_a_refresh_or_a_new_grant() {
    cases(
        "
        then                  | events                                          | stuck | later
        a refresh succeeds    | recovered after 2600 s, completed: refreshed    | no    | completed: refreshed
        a new token is found  | recovered after 2600 s, completed: adopted      | no    | completed: refreshed
        a new consent         | recovered after 2600 s, adopted 3, installed 3  | no    | completed: refreshed
        saved by a replica    | adopted 3, recovered after 2600 s               | no    | completed: refreshed
        ended by a replica    | invalid_grant                                   | no    | -
        the end               | failed: ended, completed: ended                 | no    | -
        an outage             | failed: down, completed: failed                 | yes   | recovered after 2700 s, completed: refreshed
        the store is down     | failed: store down, completed: failed           | yes   | recovered after 2700 s, completed: refreshed
        the same failure      | failed: refused, completed: failed              | yes   | recovered after 2700 s, completed: refreshed
        ",
        |[then]| {
            let mut state = stuck();
            let m = at(5_000);
            let refreshed = |state: &mut CacheState, has_sent, m| {
                let job = start(state, Reason::Manual(None), m);
                let token = state.held.token().unwrap().0.clone();
                let mut done = Done::new(job, Ok(token));
                done.has_sent = has_sent;
                state.finish(&done, m);
            };
            let failed = |state: &mut CacheState, with| {
                let job = start(state, Reason::Manual(None), m);
                state.finish(&Done::failed(job, error(with)), m);
            };
            match then {
                "a refresh succeeds" => refreshed(&mut state, true, m),
                "a new token is found" => refreshed(&mut state, false, m),
                "a new consent" => {
                    let sequence = state.next_sequence();
                    state.install(&active(3), sequence, m);
                }
                "saved by a replica" => state.adopt(Some(&active(3)), m),
                "ended by a replica" => state.adopt(Some(&ended(2)), m),
                "the end" => failed(&mut state, "consent required"),
                "an outage" => failed(&mut state, "outage"),
                "the store is down" => failed(&mut state, "store down"),
                "the same failure" => failed(&mut state, "invalid_scope"),
                other => panic!("{other}: no such case"),
            }
            let events_then = events(&mut state);
            let is_stuck = state.status(m).stuck_since.is_some();
            if !then.contains("end") {
                refreshed(&mut state, true, at(5_100));
            }
            [events_then, yes_no(is_stuck), events(&mut state)]
        },
    );
}

#[test]
fn p18_status_of_a_stuck_grant_says_since_when_it_fails() {
    let mut state = holding(&active(2));
    for attempt in 0..5 {
        let m = at(1_000 + 300 * attempt);
        assert_eq!(state.status(m).stuck_since, None);
        fail(&mut state, "403 page", m);
    }
    for later in [2_200, 2_201, 86_400] {
        let status = state.status(at(later));
        assert_eq!(status.stuck_since, Some(at(1_000).wall));
        assert_eq!(
            status.last_error.unwrap().kind(),
            ErrorKind::InvalidResponse
        );
    }
}

/// A day of a stuck grant, which nothing uses but the background task, or a request per second.
#[test]
fn p16_token_requests_of_a_stuck_grant_are_few() {
    grid(
        "
        reason     | first day | second day
        keep alive | 8         | 3
        expired    | 157       | 123
        ",
        |reason, day| {
            let mut state = holding(&active(2));
            let reason = match reason {
                "keep alive" => Reason::KeepAlive(state.held.generation()),
                _ => Reason::Mandatory,
            };
            let day_of = |second| {
                if second < 86_400 {
                    "first day"
                } else {
                    "second day"
                }
            };
            let mut requests = 0;
            for second in 0..2 * 86_400 {
                // The access token has expired.
                let m = Moment {
                    jitter: 1.0,
                    ..after(Duration::from_secs(10_000 + second))
                };
                let admission = state.request(reason, m);
                if let super::Admission::Start(job, _) = admission {
                    let is_refresh = !job.is_store_check();
                    state.start(&job);
                    let failure = error("invalid_scope");
                    state.finish(&Done::failed(job, failure), m);
                    requests += u32::from(is_refresh && day_of(second) == day);
                }
                state.take_events();
            }
            requests.to_string()
        },
    );
}

/// The refresh that the background task requests for an expired token, after the last failure.
#[test]
fn p16_background_task_leaves_a_stuck_grant_alone() {
    cases(
        "
        failures             | used | after 60 s | after 20 min | after 7 h
        5 of invalid_scope   | yes  | -          | -            | Mandatory
        5 of invalid_scope   | no   | -          | -            | Mandatory
        1 of invalid_scope   | yes  | Mandatory  | Mandatory    | Mandatory
        1 of invalid_scope   | no   | -          | Mandatory    | Mandatory
        5 of outage          | yes  | Mandatory  | Mandatory    | Mandatory
        5 of outage          | no   | Mandatory  | Mandatory    | Mandatory
        ",
        |[failures, used]| {
            let (count, failure) = failures.split_once(" of ").unwrap();
            let count: u64 = count.parse().unwrap();
            // A lost response of an idle grant is resolved early.
            let intent = at(1_000).wall;
            let mut state = holding(&refreshing(2, intent, true));
            state.own_intent = Some(intent);
            if is(used) {
                state.held.mark_used();
            }
            for attempt in 0..count {
                fail(&mut state, failure, at(10_000 + 300 * attempt));
            }
            let last = 10_000 + 300 * (count - 1);
            [60, 1_200, 25_200].map(|passed| {
                let plan = state.plan(at(last + passed));
                let reason = plan.requests.first();
                reason.map_or("-".to_owned(), |reason| format!("{reason:?}"))
            })
        },
    );
}
