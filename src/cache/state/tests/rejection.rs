//! The retry after a 401, and the interval between refreshes that 401 responses cause.

use std::time::Duration;

use super::{
    super::{
        ApiPropagation, CacheState, Moment, Reason, propagation::Retry, request::Admission,
        snapshot::Snapshot,
    },
    LIFETIME, SECOND, active, after, at, cases, ended, events, generation, grant, grid, held,
    holding, is, issued, name, yes_no,
};
use crate::token::{AccessToken, Grant, GrantState, TokenSet};

fn millis(text: &str) -> Moment<'static> {
    after(Duration::from_millis(text.parse().unwrap()))
}

/// A state that has held `a2`, and then got `a3` at the start of the test.
fn refreshed(is_forced: bool) -> CacheState {
    let m = at(0);
    let mut state = holding(&active(2));
    if is_forced {
        state.record_forced_refresh(m.now, generation(3));
    }
    let grant = grant(3, GrantState::Active(issued(3, m)));
    state.publish(Snapshot::of_new(grant, m.now, m), m);
    state.take_events();
    state
}

fn pause(retry: Option<Retry>) -> String {
    retry.map_or("none".to_owned(), |retry| {
        let token = if retry.is_same { "same" } else { "newer" };
        format!("{token} after {} ms", retry.pause.as_millis())
    })
}

/// The columns are the milliseconds since the response with `a3`.
#[test]
fn p06_retry_pauses_until_the_api_knows_the_token() {
    grid(
        "
        rejected, api, cause  | 0                   | 900                 | 4999             | 5000
        3, unknown, early     | same after 5000 ms  | same after 4100 ms  | same after 1 ms  | none
        3, unknown, forced    | same after 5000 ms  | same after 4100 ms  | same after 1 ms  | none
        3, prompt, early      | same after 5000 ms  | same after 4100 ms  | same after 1 ms  | none
        3, delayed, forced    | same after 5000 ms  | same after 4100 ms  | same after 1 ms  | none
        2, unknown, early     | newer after 5000 ms | newer after 4100 ms | newer after 1 ms | newer after 0 ms
        2, unknown, forced    | newer after 0 ms    | newer after 0 ms    | newer after 0 ms | newer after 0 ms
        2, prompt, early      | newer after 0 ms    | newer after 0 ms    | newer after 0 ms | newer after 0 ms
        2, delayed, early     | newer after 5000 ms | newer after 4100 ms | newer after 1 ms | newer after 0 ms
        2, delayed, forced    | newer after 5000 ms | newer after 4100 ms | newer after 1 ms | newer after 0 ms
        4, unknown, early     | none                | none                | none             | none
        ",
        |row, column| {
            let [rejected, api, cause] = row.split(", ").collect::<Vec<_>>()[..] else {
                panic!("{row}")
            };
            let api = match api {
                "prompt" => ApiPropagation::Prompt,
                "delayed" => ApiPropagation::Delayed,
                _ => ApiPropagation::Unknown,
            };
            let state = refreshed(cause == "forced");
            let rejected = generation(rejected.parse().unwrap());
            pause(state.retry(rejected, api, millis(column)))
        },
    );
}

/// A 401 to a new token is not recorded, and starts no refresh. Another replica may know more.
#[test]
fn p06_rejection_of_a_new_token_causes_no_refresh() {
    grid(
        "
        grant                | 0           | 4999        | 5000
        refreshed            | check       | check       | start
        refreshing           | propagating | propagating | join
        loaded               | check       | check       | start
        issued in the future | check       | check       | start
        issued 3 s ago       | check       | start       | start
        lives for 10 s       | check       | start       | start
        invalidated          | start       | start       | start
        ended                | check       | check       | ended
        ",
        |row, column| {
            let m = at(0);
            let with = |tokens| grant(3, GrantState::Active(tokens));
            let load = |grant: Grant| {
                let mut state = CacheState::default();
                state.adopt(Some(&grant), m);
                state
            };
            let of = |lifetime: Duration, wall| {
                TokenSet::new(AccessToken::new("a3").unwrap(), lifetime, wall)
            };
            let mut state = match row {
                "refreshed" | "refreshing" => refreshed(false),
                "issued in the future" => load(with(of(LIFETIME, m.wall + 3_600 * SECOND))),
                "issued 3 s ago" => load(with(of(LIFETIME, m.wall - 3 * SECOND))),
                "lives for 10 s" => load(with(of(10 * SECOND, m.wall))),
                "ended" => load(ended(2)),
                _ => load(with(issued(3, m))),
            };
            if row == "refreshing" {
                state.refresh = Some(Box::default());
            }
            if row == "invalidated" {
                state.invalidate(m);
            }
            let at = millis(column);
            let (admission, is_recorded) = {
                state.rejected = None;
                let admission = state.request(Reason::Rejected(generation(3)), at);
                (admission, state.rejected.is_some())
            };
            let result = match admission {
                Admission::Done(Err(error)) => name(&error),
                Admission::Start(job, _) if job.is_store_check() && !is_recorded => "check",
                Admission::Start(job, _) if job.is_store_check() => "ended",
                Admission::JoinRefresh { .. } => "join",
                Admission::Start(..) => "start",
                other => panic!("{other:?}"),
            };
            let is_new = matches!(result, "check" | "propagating");
            assert_eq!(is_recorded, !is_new, "{row} {column}");
            result.to_owned()
        },
    );
}

/// Refreshes after a 401 at these seconds. Each brings a new token.
#[test]
fn p07_interval_of_forced_refreshes_doubles_while_their_tokens_are_rejected_soon() {
    cases(
        "
        refreshes                                       | next  | events
        0                                               | 30    | -
        0, 30                                           | 90    | rejected again 1, 60 s
        0, 59                                           | 119   | rejected again 1, 60 s
        0, 60                                           | 90    | -
        0, 30, 90, 210                                  | 450   | rejected again 1, 60 s, rejected again 2, 120 s, rejected again 3, 240 s
        0, 30, 90, 210, 690                             | 720   | rejected again 1, 60 s, rejected again 2, 120 s, rejected again 3, 240 s
        0, 30, 90, 210, accepted, 450                   | 480   | rejected again 1, 60 s, rejected again 2, 120 s, rejected again 3, 240 s
        0, 30, 90, 210, 450, 930, 1890, 3690, 5490      | 7290  | rejected again 1, 60 s, rejected again 2, 120 s, rejected again 3, 240 s, rejected again 4, 480 s, rejected again 5, 960 s, rejected again 6, 1800 s, rejected again 7, 1800 s, rejected again 8, 1800 s
        ",
        |[script]| {
            let mut state = holding(&active(2));
            let mut last = at(0);
            for step in script.split(", ") {
                if step == "accepted" {
                    state.retry_accepted(generation(1), generation(2), last);
                    continue;
                }
                last = at(step.parse().unwrap());
                state.record_forced_refresh(last.now, generation(2));
            }
            let until = state.no_forced_refresh_until(last).unwrap();
            let next = until.duration_since(at(0).wall).unwrap().as_secs();
            assert!(state.is_forced_recently(at(next - 1)));
            assert!(!state.is_forced_recently(at(next)));
            assert_eq!(state.no_forced_refresh_until(at(next)), None);
            [next.to_string(), events(&mut state)]
        },
    );
}

/// A grant that has ended at the provider. Its access token was `a2`.
#[test]
fn p15_rejected_token_ends_with_its_grant() {
    cases(
        "
        rejected | before the end | held    | token | stored lifetime
        2        | yes            | 4 ended | no    | 0
        2        | no             | 4 ended | no    | 0
        3        | no             | 4 ended | no    | 0
        1        | yes            | 3 ended | yes   | 3600
        1        | no             | 3 ended | yes   | 3600
        ",
        |[rejected, before]| {
            let m = at(600);
            let mut state = holding(&active(2));
            let reason = Reason::Rejected(generation(rejected.parse().unwrap()));
            if is(before) {
                let _ = state.request(reason, m);
            }
            state.adopt(Some(&ended(2)), m);
            if !is(before) {
                let _ = state.request(reason, m);
            }
            let lifetime = state.held.tokens().unwrap().lifetime().unwrap();
            [
                held(&state),
                yes_no(state.held.alive(m.now).is_some()),
                lifetime.as_secs().to_string(),
            ]
        },
    );
}
