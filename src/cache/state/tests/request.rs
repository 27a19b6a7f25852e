//! The admission of a request for a refresh.
//!
//! A cell is `token` for the held token, `start` for a new refresh, or `check` for a new store
//! check. `join` joins the refresh in flight. `urgent` says that the held token is of no use
//! meanwhile, and `undeferred` that the waiter ignores a deferral. Any other cell names an error.

use super::{
    super::{
        CacheState, Conditions, Policy, Report, commands::Sequence,
        forced::FORCED_REFRESH_INTERVAL, job::InFlight, moment::Moment, reason::Reason,
        request::Admission,
    },
    DEFER, POLICY, SECOND, active, age, at, cases, down, down_for, duration, earlier, ended,
    forced, generation, grid, holding, invalid_client, is, name, refreshing, revoked, start,
    tokens, with_policy, yes_no,
};
use crate::cache::{bearer_token::BearerToken, delivery::USUAL};

/// The requested reason. The held grant has generation 2.
fn reason(text: &str, m: Moment<'_>) -> Reason {
    match text {
        "advisory" => Reason::Advisory,
        "mandatory" => Reason::Mandatory,
        "rejected 2" => Reason::Rejected(generation(2)),
        "rejected 1" => Reason::Rejected(generation(1)),
        "manual 2" => Reason::Manual(Some(generation(2))),
        "manual 1" => Reason::Manual(Some(generation(1))),
        "manual none" => Reason::Manual(None),
        "keep alive 2" => Reason::KeepAlive(Some(generation(2))),
        "keep alive 1" => Reason::KeepAlive(Some(generation(1))),
        "keep alive none" => Reason::KeepAlive(None),
        "lost 10 s ago" => Reason::LostResponse(m.wall - 10 * SECOND),
        "lost 106 s ago" => Reason::LostResponse(m.wall - 106 * SECOND),
        other => panic!("{other}: no such reason"),
    }
}

/// A state that holds the grant of this row.
fn holding_row(row: &str, m: Moment<'_>) -> CacheState {
    let seconds_ago = |seconds| m.wall - seconds * SECOND;
    let mut state = match row {
        "no grant" => CacheState::default(),
        "active" => holding(&active(2)),
        "own intent, 10 s" | "other's intent, 10 s" => {
            holding(&refreshing(2, seconds_ago(10), false))
        }
        "own intent, 106 s" | "other's intent, 106 s" => {
            holding(&refreshing(2, seconds_ago(106), false))
        }
        "own replay, 10 s" | "other's replay, 10 s" => {
            holding(&refreshing(2, seconds_ago(10), true))
        }
        "other's replay, 106 s" => holding(&refreshing(2, seconds_ago(106), true)),
        "ended" => holding(&ended(2)),
        "revoked" => holding(&revoked(2)),
        "revoked here" => {
            let mut state = holding(&active(2));
            state.revoke(m);
            state
        }
        other => panic!("{other}: no such grant"),
    };
    if row.starts_with("own") {
        state.own_intent = state.held.intent_since();
    }
    state
}

fn admission(state: &mut CacheState, reason: Reason, m: Moment<'_>) -> String {
    match state.request(reason, m) {
        Admission::Done(Ok(_)) => "token".to_owned(),
        Admission::Done(Err(error)) => name(&error).to_owned(),
        Admission::JoinStoreCheck => "join check".to_owned(),
        Admission::Start(job, _) if job.is_store_check() => "check".to_owned(),
        Admission::Start(..) => "start".to_owned(),
        Admission::JoinRefresh {
            demand,
            ignores_deferral,
        } => {
            let urgent = if demand.is_urgent { " urgent" } else { "" };
            let undeferred = if ignores_deferral { " undeferred" } else { "" };
            format!("join{urgent}{undeferred}")
        }
    }
}

/// Checks a table of grants and token ages for one reason, with nothing in flight and no backoff.
fn by_grant_and_age(of: &str, policy: &Policy, table: &str) {
    grid(table, |row, column| {
        let m = with_policy(policy, age(column));
        admission(&mut holding_row(row, m), reason(of, m), m)
    });
}

#[test]
fn p05_advisory_request_starts_a_refresh_in_the_window() {
    by_grant_and_age(
        "advisory",
        &POLICY,
        "
        grant                 | fresh   | advisory | last resort | mandatory | expired
        no grant              | start   | start    | start       | start     | start
        active                | token   | start    | start       | start     | start
        own intent, 10 s      | token   | check    | start       | start     | start
        own intent, 106 s     | token   | check    | start       | start     | start
        own replay, 10 s      | token   | check    | start       | start     | start
        other's intent, 10 s  | token   | start    | start       | start     | start
        other's intent, 106 s | token   | check    | start       | start     | start
        other's replay, 10 s  | token   | start    | start       | start     | start
        other's replay, 106 s | token   | check    | start       | start     | start
        ended                 | token   | token    | token       | token     | check
        revoked               | check   | check    | check       | check     | check
        revoked here          | revoked | revoked  | revoked     | revoked   | revoked
        ",
    );
}

#[test]
fn p05_request_waits_from_the_mandatory_window_on() {
    by_grant_and_age(
        "mandatory",
        &POLICY,
        "
        grant                 | fresh   | advisory | last resort | mandatory | expired
        no grant              | start   | start    | start       | start     | start
        active                | token   | token    | token       | start     | start
        own intent, 10 s      | token   | token    | token       | start     | start
        own intent, 106 s     | token   | token    | token       | start     | start
        own replay, 10 s      | token   | token    | token       | start     | start
        other's intent, 10 s  | token   | token    | token       | start     | start
        other's intent, 106 s | token   | token    | token       | start     | start
        other's replay, 10 s  | token   | token    | token       | start     | start
        other's replay, 106 s | token   | token    | token       | start     | start
        ended                 | token   | token    | token       | token     | check
        revoked               | check   | check    | check       | check     | check
        revoked here          | revoked | revoked  | revoked     | revoked   | revoked
        ",
    );
}

#[test]
fn p06_rejected_newest_token_is_refreshed_at_any_age() {
    by_grant_and_age(
        "rejected 2",
        &POLICY,
        "
        grant                 | fresh   | advisory | last resort | mandatory | expired
        no grant              | start   | start    | start       | start     | start
        active                | start   | start    | start       | start     | start
        own intent, 10 s      | start   | start    | start       | start     | start
        own intent, 106 s     | start   | start    | start       | start     | start
        own replay, 10 s      | start   | start    | start       | start     | start
        other's intent, 10 s  | start   | start    | start       | start     | start
        other's intent, 106 s | start   | start    | start       | start     | start
        other's replay, 10 s  | start   | start    | start       | start     | start
        other's replay, 106 s | start   | start    | start       | start     | start
        ended                 | check   | check    | check       | check     | check
        revoked               | check   | check    | check       | check     | check
        revoked here          | revoked | revoked  | revoked     | revoked   | revoked
        ",
    );
}

#[test]
fn p06_rejected_older_token_is_replaced_by_the_held_one() {
    by_grant_and_age(
        "rejected 1",
        &POLICY,
        "
        grant                 | fresh   | advisory | last resort | mandatory | expired
        no grant              | start   | start    | start       | start     | start
        active                | token   | token    | token       | token     | start
        own intent, 10 s      | token   | token    | token       | token     | start
        other's intent, 10 s  | token   | token    | token       | token     | start
        other's replay, 106 s | token   | token    | token       | token     | start
        ended                 | check   | check    | check       | check     | check
        revoked               | check   | check    | check       | check     | check
        revoked here          | revoked | revoked  | revoked     | revoked   | revoked
        ",
    );
}

#[test]
fn p03_manual_request_refreshes_the_newest_token_only() {
    let newest = "
        grant                 | fresh   | advisory | last resort | mandatory | expired
        no grant              | start   | start    | start       | start     | start
        active                | start   | start    | start       | start     | start
        own intent, 10 s      | start   | start    | start       | start     | start
        own intent, 106 s     | start   | start    | start       | start     | start
        own replay, 10 s      | start   | start    | start       | start     | start
        other's intent, 10 s  | start   | start    | start       | start     | start
        other's intent, 106 s | start   | start    | start       | start     | start
        other's replay, 106 s | start   | start    | start       | start     | start
        ended                 | check   | check    | check       | check     | check
        revoked               | check   | check    | check       | check     | check
        revoked here          | revoked | revoked  | revoked     | revoked   | revoked
        ";
    by_grant_and_age("manual 2", &POLICY, newest);
    by_grant_and_age("manual none", &POLICY, newest);
    by_grant_and_age(
        "manual 1",
        &POLICY,
        "
        grant             | fresh   | advisory | last resort | mandatory | expired
        no grant          | start   | start    | start       | start     | start
        active            | token   | token    | token       | token     | start
        own intent, 106 s | token   | token    | token       | token     | start
        ended             | check   | check    | check       | check     | check
        revoked           | check   | check    | check       | check     | check
        revoked here      | revoked | revoked  | revoked     | revoked   | revoked
        ",
    );
}

#[test]
fn p19_keepalive_refreshes_only_a_known_grant() {
    by_grant_and_age(
        "keep alive 2",
        &POLICY,
        "
        grant                 | fresh   | advisory | last resort | mandatory | expired
        no grant              | check   | check    | check       | check     | check
        active                | start   | start    | start       | start     | start
        own intent, 10 s      | check   | check    | start       | start     | start
        own intent, 106 s     | check   | check    | start       | start     | start
        own replay, 10 s      | check   | check    | start       | start     | start
        other's intent, 10 s  | start   | start    | start       | start     | start
        other's intent, 106 s | check   | check    | start       | start     | start
        other's replay, 106 s | check   | check    | start       | start     | start
        ended                 | check   | check    | check       | check     | check
        revoked               | check   | check    | check       | check     | check
        revoked here          | revoked | revoked  | revoked     | revoked   | revoked
        ",
    );
    // A newer generation has a newer refresh token, so the grant is alive.
    let newer = "
        grant             | fresh | advisory | last resort | mandatory | expired
        no grant          | check | check    | check       | check     | check
        active            | token | token    | token       | token     | token
        own intent, 106 s | token | token    | token       | token     | token
        ended             | check | check    | check       | check     | check
        revoked           | check | check    | check       | check     | check
        ";
    by_grant_and_age("keep alive 1", &POLICY, newer);
    by_grant_and_age("keep alive none", &POLICY, newer);
}

#[test]
fn p11_lost_response_is_replayed_once_within_30_seconds() {
    by_grant_and_age(
        "lost 10 s ago",
        &POLICY,
        "
        grant                | fresh   | advisory | last resort | mandatory | expired
        active               | token   | token    | token       | token     | token
        own intent, 10 s     | start   | start    | start       | start     | start
        own intent, 106 s    | token   | token    | token       | token     | token
        own replay, 10 s     | check   | check    | check       | check     | check
        other's intent, 10 s | start   | start    | start       | start     | start
        other's replay, 10 s | start   | start    | start       | start     | start
        ended                | check   | check    | check       | check     | check
        revoked              | check   | check    | check       | check     | check
        revoked here         | revoked | revoked  | revoked     | revoked   | revoked
        ",
    );
    by_grant_and_age(
        "lost 106 s ago",
        &POLICY,
        "
        grant                 | fresh | advisory | last resort | mandatory | expired
        own intent, 10 s      | token | token    | token       | token     | token
        own intent, 106 s     | check | check    | check       | check     | check
        other's intent, 106 s | check | check    | check       | check     | check
        other's replay, 106 s | check | check    | check       | check     | check
        ",
    );
}

#[test]
fn p11_deferred_lost_response_waits_for_the_expiry() {
    let table = "
        reason       | fresh | advisory | last resort | mandatory | expired
        advisory     | token | check    | check       | check     | start
        mandatory    | token | token    | token       | check     | start
        rejected 2   | start | start    | start       | start     | start
        manual 2     | start | start    | start       | start     | start
        keep alive 2 | check | check    | check       | check     | start
    ";
    for grant in [
        "own intent, 10 s",
        "own intent, 106 s",
        "other's replay, 106 s",
    ] {
        grid(table, |row, column| {
            let m = with_policy(&DEFER, age(column));
            admission(&mut holding_row(grant, m), reason(row, m), m)
        });
    }
    by_grant_and_age(
        "lost 10 s ago",
        &DEFER,
        "
        grant            | fresh | advisory | last resort | mandatory | expired
        own intent, 10 s | check | check    | check       | check     | check
        ",
    );
}

/// A 401 makes the held token useless at any age.
#[test]
fn p14_deferred_token_set_serves_a_rejected_request() {
    for of_token in ["fresh", "advisory", "mandatory", "expired"] {
        let m = age(of_token);
        let mut state = holding(&active(2));
        state.refresh = Some(Box::new(InFlight {
            label: "",
            report: Some(Report::Deferred(down())),
            ..InFlight::default()
        }));
        let admission = admission(&mut state, Reason::Rejected(generation(2)), m);
        assert_eq!(admission, "join urgent undeferred", "{of_token}");
    }
}

/// Checks a table of reasons and token ages, with a refresh in flight that has reported this.
fn in_flight(report: Option<&Report>, table: &str) {
    grid(table, |row, column| {
        let m = age(column);
        let mut state = holding(&active(2));
        state.refresh = Some(Box::new(InFlight {
            label: "",
            report: report.cloned(),
            ..InFlight::default()
        }));
        admission(&mut state, reason(row, m), m)
    });
}

#[test]
fn p03_every_reason_joins_the_refresh_in_flight() {
    in_flight(
        None,
        "
        reason        | fresh       | advisory    | last resort | mandatory   | expired
        advisory      | token       | join        | join        | join        | join
        mandatory     | token       | token       | token       | join        | join
        rejected 2    | join urgent | join urgent | join urgent | join urgent | join urgent
        rejected 1    | token       | token       | token       | token       | join
        manual 2      | join        | join        | join        | join        | join
        manual 1      | token       | token       | token       | token       | join
        manual none   | join        | join        | join        | join        | join
        keep alive 2  | join        | join        | join        | join        | join
        keep alive 1  | token       | token       | token       | token       | token
        lost 10 s ago | token       | token       | token       | token       | token
        ",
    );
}

/// The new token set could not be saved, and the held token serves as long as it can.
#[test]
fn p14_deferred_token_set_serves_waiters_without_a_token() {
    in_flight(
        Some(&Report::Deferred(down())),
        "
        reason       | fresh | advisory | mandatory | expired
        advisory     | token | down     | down      | down
        mandatory    | token | token    | down      | join undeferred
        manual 2     | down  | down     | down      | down
        manual none  | down  | down     | down      | down
        keep alive 2 | down  | down     | down      | down
        ",
    );
}

/// The new token set is used unsaved, and no refresh starts before it is saved.
#[test]
fn p14_no_refresh_starts_before_the_newest_token_set_is_saved() {
    let token = BearerToken::new(&tokens(2), generation(2), &USUAL);
    in_flight(
        Some(&Report::Done(Ok(token))),
        "
        reason       | fresh   | advisory | last resort | mandatory | expired
        advisory     | token   | unsaved  | unsaved     | unsaved   | unsaved
        mandatory    | token   | token    | token       | unsaved   | unsaved
        rejected 2   | unsaved | unsaved  | unsaved     | unsaved   | unsaved
        rejected 1   | token   | token    | token       | token     | unsaved
        manual 2     | unsaved | unsaved  | unsaved     | unsaved   | unsaved
        manual 1     | token   | token    | token       | token     | unsaved
        keep alive 2 | unsaved | unsaved  | unsaved     | unsaved   | unsaved
        ",
    );
    in_flight(
        Some(&Report::Done(Err(down()))),
        "
        reason       | fresh | advisory | last resort | mandatory | expired
        advisory     | token | down     | down        | down      | down
        mandatory    | token | token    | token       | down      | down
        rejected 2   | down  | down     | down        | down      | down
        manual 2     | down  | down     | down        | down      | down
        keep alive 2 | down  | down     | down        | down      | down
        ",
    );
}

#[test]
fn p15_refresh_of_an_ended_grant_is_not_joined() {
    grid(
        "
        grant                 | advisory | mandatory | rejected 2  | manual 2 | keep alive 2
        no grant              | join     | join      | join        | join     | join
        active                | join     | join      | join urgent | join     | join
        own intent, 10 s      | join     | join      | join urgent | join     | join
        other's replay, 106 s | join     | join      | join urgent | join     | join
        ended                 | token    | token     | check       | check    | check
        revoked               | check    | check     | check       | check    | check
        revoked here          | revoked  | revoked   | revoked     | revoked  | revoked
        ",
        |row, column| {
            let m = age("mandatory");
            let mut state = holding_row(row, m);
            state.refresh = Some(Box::default());
            admission(&mut state, reason(column, m), m)
        },
    );
}

#[test]
fn p04_shut_down_cache_starts_nothing_and_joins_what_is_running() {
    let shut_down = |row: &str, column: &str, refresh| {
        let m = age(column);
        let (grant, of) = row.split_once(": ").unwrap();
        let mut state = holding_row(grant, m);
        state.shut_down();
        state.refresh = refresh;
        admission(&mut state, reason(of, m), m)
    };
    grid(
        "
        grant: reason        | fresh     | advisory  | mandatory | expired
        no grant: mandatory  | shut down | shut down | shut down | shut down
        active: advisory     | token     | shut down | shut down | shut down
        active: mandatory    | token     | token     | shut down | shut down
        active: rejected 2   | shut down | shut down | shut down | shut down
        active: rejected 1   | token     | token     | token     | shut down
        active: manual 2     | shut down | shut down | shut down | shut down
        active: keep alive 2 | shut down | shut down | shut down | shut down
        ended: mandatory     | token     | token     | token     | ended
        ended: rejected 2    | ended     | ended     | ended     | ended
        revoked: mandatory   | revoked   | revoked   | revoked   | revoked
        ",
        |row, column| shut_down(row, column, None),
    );
    grid(
        "
        grant: reason      | fresh       | advisory    | mandatory   | expired
        active: mandatory  | token       | token       | join        | join
        active: rejected 2 | join urgent | join urgent | join urgent | join urgent
        ended: mandatory   | token       | token       | token       | ended
        ",
        |row, column| shut_down(row, column, Some(Box::default())),
    );
}

/// The failures, with the longest jitter, the last of them at the start of the column's time.
#[test]
fn p16_failed_refresh_is_followed_by_a_backoff() {
    let failed = |times, jitter, row: &str, column: &str| {
        let (of, at_age) = row.split_once(", ").unwrap();
        let m = age(at_age);
        let mut state = holding(&active(2));
        let ago = duration(column).unwrap();
        for _ in 0..times {
            state.backoff.add(earlier(m, ago), 0, down(), jitter);
        }
        admission(&mut state, reason(of, m), m)
    };
    // `down` is the error of the last refresh. While requests fail, the store may help.
    grid(
        "
        reason, age          | 0 s   | 999 ms | 1 s   | 29 s  | 30 s  | 299 s | 300 s
        advisory, advisory   | down  | down   | down  | down  | down  | down  | start
        keep alive 2, fresh  | down  | down   | down  | down  | down  | down  | start
        mandatory, mandatory | down  | down   | down  | down  | start | start | start
        mandatory, expired   | check | check  | start | start | start | start | start
        rejected 2, fresh    | check | check  | start | start | start | start | start
        manual 2, fresh      | start | start  | start | start | start | start | start
        mandatory, fresh     | token | token  | token | token | token | token | token
        ",
        |row, column| failed(1, 0.0, row, column),
    );
    grid(
        "
        reason, age          | 1 s   | 8 s   | 16 s  | 29 s  | 30 s  | 599 s | 600 s
        advisory, advisory   | down  | down  | down  | down  | down  | down  | start
        mandatory, mandatory | down  | down  | down  | down  | start | start | start
        mandatory, expired   | check | check | check | check | start | start | start
        rejected 2, fresh    | check | check | check | check | start | start | start
        manual 2, fresh      | start | start | start | start | start | start | start
        ",
        |row, column| failed(6, 1.0, row, column),
    );
}

#[test]
fn p16_retry_after_delays_every_reason() {
    grid(
        "
        reason, age          | 0 s   | 119 s | 120 s
        mandatory, mandatory | down  | down  | start
        mandatory, expired   | check | check | start
        rejected 2, fresh    | check | check | start
        manual 2, fresh      | down  | down  | start
        ",
        |row, column| {
            let (of, at_age) = row.split_once(", ").unwrap();
            let m = age(at_age);
            let mut state = holding(&active(2));
            let failed_at = earlier(m, duration(column).unwrap());
            state.backoff.add(failed_at, 0, down_for(120 * SECOND), 0.0);
            admission(&mut state, reason(of, m), m)
        },
    );
}

#[test]
fn p15_new_client_secret_ends_the_backoff_of_invalid_client() {
    grid(
        "
        failure        | same secret    | new secret
        down           | down           | down
        invalid client | invalid client | start
        ",
        |row, column| {
            let m = Moment {
                secret_epoch: u64::from(column == "new secret"),
                ..age("mandatory")
            };
            let error = match row {
                "down" => down(),
                _ => invalid_client(),
            };
            let mut state = holding(&active(2));
            state.backoff.add(m.now, 0, error, 0.0);
            admission(&mut state, Reason::Mandatory, m)
        },
    );
}

#[test]
fn p07_forced_refreshes_are_30_seconds_apart() {
    assert_eq!(FORCED_REFRESH_INTERVAL, 30 * SECOND);
    // By the time since the last successful refresh after a 401 was started.
    grid(
        "
        reason, age          | 0 s   | 10 s  | 29999 ms | 30 s  | never
        rejected 2, fresh    | check | check | check    | start | start
        rejected 2, expired  | check | check | check    | start | start
        rejected 1, fresh    | token | token | token    | token | token
        mandatory, mandatory | start | start | start    | start | start
        mandatory, expired   | start | start | start    | start | start
        manual 2, fresh      | start | start | start    | start | start
        keep alive 2, fresh  | start | start | start    | start | start
        ",
        |row, column| {
            let (of, at_age) = row.split_once(", ").unwrap();
            let m = age(at_age);
            let mut state = holding(&active(2));
            state.forced = duration(column).map(|ago| Box::new(forced(earlier(m, ago))));
            admission(&mut state, reason(of, m), m)
        },
    );
}

/// A state in which a refresh is denied, and the request that is denied.
fn denied(row: &str) -> (CacheState, Reason, Moment<'static>) {
    let m = age(if row.starts_with("lost") {
        "advisory"
    } else {
        "expired"
    });
    let mut state = match row {
        "no grant" => CacheState::default(),
        "ended" => holding(&ended(2)),
        "revoked" => holding(&revoked(2)),
        "lost" => holding_row("own replay, 10 s", m),
        _ => holding(&active(2)),
    };
    if row == "rejected again" {
        state.forced = Some(Box::new(forced(earlier(m, SECOND))));
    }
    if row == "backoff" {
        state.backoff.add(m.now, 0, down(), 0.0);
    }
    let reason = match row {
        "no grant" => Reason::KeepAlive(None),
        "lost" => Reason::Advisory,
        "rejected again" => Reason::Rejected(generation(2)),
        _ => Reason::Mandatory,
    };
    (state, reason, m)
}

/// A denied request loads the grant first, because another replica may have saved a newer one.
#[test]
fn p12_store_checks_of_denied_requests_keep_an_interval() {
    // By the time since the last store check ended.
    grid(
        "
        denied because | never | 0 s            | 999 ms         | 1 s      | 29 s     | 30 s
        ended          | check | ended          | ended          | check    | check    | check
        revoked        | check | revoked        | revoked        | check    | check    | check
        rejected again | check | rejected again | rejected again | check    | check    | check
        backoff        | check | down           | down           | check    | check    | check
        no grant       | check | no grant       | no grant       | no grant | no grant | check
        lost           | check | lost           | lost           | lost     | lost     | check
        ",
        |row, column| {
            let (mut state, reason, m) = denied(row);
            state.store_checked_at = duration(column).map(|ago| earlier(m, ago));
            admission(&mut state, reason, m)
        },
    );
    // Concurrent requests share one store check, however recent the last one is.
    for row in [
        "ended",
        "revoked",
        "rejected again",
        "backoff",
        "no grant",
        "lost",
    ] {
        let (mut state, reason, m) = denied(row);
        state.is_checking_store = true;
        state.store_checked_at = Some(m.now);
        assert_eq!(admission(&mut state, reason, m), "join check", "{row}");
    }
}

#[test]
fn p03_started_job_names_its_reason_and_its_demand() {
    cases(
        "
        reason        | age       | label         | background | awaited | urgent
        advisory      | advisory  | advisory      | yes        | no      | no
        mandatory     | mandatory | mandatory     | no         | yes     | no
        mandatory     | expired   | expired       | no         | yes     | no
        rejected 2    | fresh     | rejected      | no         | yes     | yes
        rejected 1    | expired   | rejected      | no         | yes     | yes
        manual 2      | fresh     | manual        | no         | yes     | no
        keep alive 2  | fresh     | keep_alive    | yes        | no      | no
        lost 10 s ago | fresh     | lost_response | yes        | no      | no
        ",
        |[row, at_age]| {
            let m = age(at_age);
            let mut state = match row {
                "lost 10 s ago" => holding_row("own intent, 10 s", m),
                _ => holding(&active(2)),
            };
            match state.request(reason(row, m), m) {
                Admission::Start(job, demand) => [
                    job.label.to_owned(),
                    yes_no(job.conditions.is_background),
                    yes_no(demand.is_awaited),
                    yes_no(demand.is_urgent),
                ],
                other => panic!("{row}: {other:?}"),
            }
        },
    );
}

#[test]
fn p06_rejection_of_the_held_token_is_remembered() {
    cases(
        "
        reason     | in flight | shut down | rejected
        rejected 2 | no        | no        | yes
        rejected 2 | yes       | no        | yes
        rejected 2 | no        | yes       | yes
        rejected 1 | no        | no        | no
        manual 2   | no        | no        | no
        mandatory  | no        | no        | no
        ",
        |[row, refreshing, shut]| {
            let m = age("fresh");
            let mut state = holding(&active(2));
            state.refresh = is(refreshing).then(Box::default);
            state.is_shut_down = is(shut);
            let _ = state.request(reason(row, m), m);
            [yes_no(state.rejected == Some(generation(2)))]
        },
    );
}

#[test]
fn p03_started_job_is_joined_by_the_next_request() {
    cases(
        "
        job     | refreshing | checking the store | idle | next request
        refresh | yes        | no                 | no   | join
        check   | no         | yes                | no   | join check
        ",
        |[row]| {
            let m = age("mandatory");
            let reason = Reason::Mandatory;
            let mut state = match row {
                "check" => holding(&revoked(2)),
                _ => holding(&active(2)),
            };
            start(&mut state, reason, m);
            [
                yes_no(state.is_refreshing()),
                yes_no(state.is_checking_store()),
                yes_no(state.is_idle()),
                admission(&mut state, reason, m),
            ]
        },
    );
}

/// A waiter that joined a job requests another one if the job's result does not hold for it.
#[test]
fn p03_joined_result_holds_for_the_same_grant_and_secret() {
    cases(
        "
        job        | grant    | secret   | result         | holds
        awaited    | same     | same     | token          | yes
        awaited    | same     | same     | down           | yes
        awaited    | same     | same     | invalid client | yes
        awaited    | same     | replaced | token          | yes
        awaited    | same     | replaced | down           | yes
        awaited    | same     | replaced | invalid client | no
        awaited    | replaced | same     | token          | no
        awaited    | replaced | same     | down           | no
        awaited    | replaced | same     | invalid client | no
        awaited    | replaced | replaced | token          | no
        awaited    | replaced | replaced | down           | no
        awaited    | replaced | replaced | invalid client | no
        background | same     | same     | token          | no
        background | same     | same     | down           | no
        background | same     | same     | invalid client | no
        background | same     | replaced | token          | no
        background | same     | replaced | down           | no
        background | same     | replaced | invalid client | no
        background | replaced | same     | token          | no
        background | replaced | same     | down           | no
        background | replaced | same     | invalid client | no
        background | replaced | replaced | token          | no
        background | replaced | replaced | down           | no
        background | replaced | replaced | invalid client | no
        ",
        |[job, grant, secret, result]| {
            let mut state = holding(&active(2));
            let conditions = Conditions {
                is_background: job == "background",
                consent: Sequence::default(),
                secret_epoch: 0,
                stalls: 0,
            };
            if grant == "replaced" {
                let sequence = state.next_sequence();
                state.install(&active(3), sequence, at(10));
            }
            let outcome = match result {
                "token" => Ok(state.held.token().unwrap().0.clone()),
                "down" => Err(down()),
                _ => Err(invalid_client()),
            };
            let epoch = u64::from(secret == "replaced");
            [yes_no(state.is_conclusive(conditions, &outcome, epoch))]
        },
    );
}
