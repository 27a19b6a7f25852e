//! The state of a grant, as the program sees it.

use std::time::SystemTime;

use super::{
    super::{CacheState, TokenState},
    SECOND, active, age, at, cases, down, ended, generation, grid, holding, is, name, refreshing,
    revoked, yes_no,
};

fn state_of(grant: &str, of_token: &str) -> CacheState {
    let m = age(of_token);
    let ago = |seconds: u32| m.wall - seconds * SECOND;
    let mut state = match grant {
        "none" => CacheState::default(),
        "active" => holding(&active(2)),
        "own intent, 0 s" => holding(&refreshing(2, ago(0), false)),
        "other's intent, 29 s" => holding(&refreshing(2, ago(29), false)),
        "other's intent, 105 s" => holding(&refreshing(2, ago(105), false)),
        "other's replay, 105 s" => holding(&refreshing(2, ago(105), true)),
        "ended" => holding(&ended(2)),
        "revoked" => holding(&revoked(2)),
        "revoked here" => {
            let mut state = holding(&active(2));
            state.revoke(at(0));
            state
        }
        other => panic!("{other}: no such grant"),
    };
    if grant.starts_with("own") {
        state.own_intent = state.held.intent_since();
    }
    state
}

fn state_name(state: TokenState) -> &'static str {
    match state {
        TokenState::Absent => "absent",
        TokenState::Fresh => "fresh",
        TokenState::Advisory => "advisory",
        TokenState::Mandatory => "mandatory",
        TokenState::Expired => "expired",
        TokenState::Rejected { generation: of } if of == generation(2) => "rejected",
        TokenState::Rejected { generation: of } => panic!("{of}"),
        TokenState::Uncertain { .. } => "uncertain",
        TokenState::ReauthorizationRequired { .. } => "ended",
        TokenState::Revoked { .. } => "revoked",
    }
}

/// Of several states, the one that is listed last by `TokenState` is reported.
#[test]
fn p18_state_of_a_token_is_that_of_its_grant_or_its_age() {
    grid(
        "
        grant                 | fresh     | advisory  | mandatory | expired
        none                  | absent    | absent    | absent    | absent
        active                | fresh     | advisory  | mandatory | expired
        own intent, 0 s       | uncertain | uncertain | uncertain | uncertain
        other's intent, 29 s  | fresh     | advisory  | mandatory | expired
        other's intent, 105 s | uncertain | uncertain | uncertain | uncertain
        other's replay, 105 s | uncertain | uncertain | uncertain | uncertain
        ended                 | ended     | ended     | ended     | ended
        revoked               | revoked   | revoked   | revoked   | revoked
        revoked here          | revoked   | revoked   | revoked   | revoked
        ",
        |row, column| state_name(state_of(row, column).status(age(column)).state).to_owned(),
    );
}

#[test]
fn p06_rejected_token_is_reported_until_there_is_a_newer_one() {
    grid(
        "
        grant                | fresh     | expired
        active               | rejected  | rejected
        own intent, 0 s      | uncertain | uncertain
        other's intent, 29 s | rejected  | rejected
        ended                | ended     | ended
        revoked              | revoked   | revoked
        ",
        |row, column| {
            let mut state = state_of(row, column);
            state.rejected = Some(generation(2));
            state_name(state.status(age(column)).state).to_owned()
        },
    );
    let mut state = holding(&active(3));
    state.rejected = Some(generation(2));
    assert_eq!(state.status(at(10)).state, TokenState::Fresh);
}

/// While a refresh is in flight, its own intent is no lost response.
#[test]
fn p11_intent_of_the_refresh_in_flight_is_not_uncertain() {
    grid(
        "
        grant                 | fresh   | advisory | mandatory | expired
        active                | fresh   | advisory | mandatory | expired
        own intent, 0 s       | fresh   | advisory | mandatory | expired
        other's intent, 105 s | fresh   | advisory | mandatory | expired
        ended                 | ended   | ended    | ended     | ended
        revoked               | revoked | revoked  | revoked   | revoked
        ",
        |row, column| {
            let mut state = state_of(row, column);
            state.refresh = Some(Box::default());
            let status = state.status(age(column));
            assert!(status.is_refreshing);
            state_name(status.state).to_owned()
        },
    );
}

/// The times are in seconds after the token set was issued.
#[test]
fn p19_status_reports_both_expiries_and_the_last_error() {
    cases(
        "
        grant   | age      | failed | generation | expires | refresh token expires | last error
        none    | fresh    | no     | -          | -       | -                     | -
        active  | fresh    | no     | 2          | 3600    | 2592000               | -
        active  | advisory | yes    | 2          | 3600    | 2592000               | down
        active  | expired  | no     | 2          | -       | 2592000               | -
        ended   | fresh    | no     | 3          | 3600    | -                     | -
        ended   | expired  | no     | 3          | -       | -                     | -
        revoked | fresh    | no     | 3          | -       | -                     | -
        ",
        |[grant, of_token, failed]| {
            let m = age(of_token);
            let mut state = state_of(grant, of_token);
            if is(failed) {
                state.backoff.add(m.now, 0, down(), 0.0);
            }
            let status = state.status(m);
            let seconds = |wall: SystemTime| {
                let passed = wall.duration_since(at(0).wall).unwrap();
                passed.as_secs().to_string()
            };
            assert_eq!(yes_no(status.is_refreshing), "no");
            [
                status.generation.map(|of| of.to_string()),
                status.expires_at.map(seconds),
                status.refresh_token_expires_at.map(seconds),
                status.last_error.map(|error| name(&error).to_owned()),
            ]
            .map(|cell| cell.unwrap_or("-".to_owned()))
        },
    );
}
