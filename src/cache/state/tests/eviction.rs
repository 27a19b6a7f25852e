//! Whether a cache can be evicted and loaded again later.

use std::time::Duration;

use super::{
    super::{CacheState, Moment, suspicion::Suspicion},
    DAY, active, after, at, cases, down, earlier, ended, forced, generation, holding, refreshing,
    revoked, tokens, yes_no,
};
use crate::error::{Error, ErrorKind};

/// Most lines have one thing that an eviction would lose. `saved` permits the eviction in favor of
/// a tenant in use, and `at rest` permits it at any time.
#[test]
fn p13_cache_is_evicted_only_if_the_store_knows_everything() {
    cases(
        "
        state                      | saved | at rest
        no grant                   | yes   | yes
        active                     | yes   | yes
        active, expired            | yes   | yes
        intent                     | yes   | yes
        ended                      | yes   | yes
        revoked                    | yes   | yes
        revoked here               | no    | no
        revoked here and saved     | yes   | yes
        unconfirmed for 23 h       | no    | no
        unconfirmed for 24 h       | yes   | yes
        refresh in flight          | no    | no
        store check in flight      | no    | no
        command running            | no    | no
        command ended              | yes   | yes
        refresh started 999 ms ago | no    | no
        refresh started 1 s ago    | yes   | yes
        forced refresh 29 s ago    | no    | no
        forced refresh 30 s ago    | yes   | yes
        failed 299 s ago           | yes   | no
        failed 300 s ago           | yes   | yes
        refused 23 h ago           | yes   | no
        refused 24 h ago           | yes   | yes
        keepalive due              | yes   | no
        suspected for 47 h         | yes   | no
        suspected for 48 h         | yes   | yes
        rejected by the API        | yes   | yes
        invalidated                | no    | no
        invalidated, expired since | yes   | yes
        ",
        |[row]| {
            let (state, m) = state_of(row);
            [yes_no(state.is_saved(m)), yes_no(state.is_at_rest(m))]
        },
    );
}

fn state_of(row: &str) -> (CacheState, Moment<'static>) {
    let m = match row {
        "active, expired" | "invalidated, expired since" => at(3_700),
        "keepalive due" => after(20 * DAY),
        "unconfirmed for 23 h" | "refused 23 h ago" => at(23 * 3_600),
        "unconfirmed for 24 h" | "refused 24 h ago" => at(24 * 3_600),
        "suspected for 47 h" => at(47 * 3_600),
        "suspected for 48 h" => at(48 * 3_600),
        _ => at(600),
    };
    let mut state = match row {
        "no grant" => CacheState::default(),
        "intent" => holding(&refreshing(2, at(0).wall, false)),
        "ended" => holding(&ended(2)),
        "revoked" | "unconfirmed for 23 h" | "unconfirmed for 24 h" => holding(&revoked(2)),
        _ => holding(&active(2)),
    };
    let ago = |millis| earlier(m, Duration::from_millis(millis));
    match row {
        "revoked here" => drop(state.revoke(at(10))),
        "revoked here and saved" => {
            state.revoke(at(10));
            state.end_saved(&revoked(2), at(20));
        }
        "unconfirmed for 23 h" | "unconfirmed for 24 h" => {
            state.set_unconfirmed(Some(tokens(2)), at(0));
        }
        "refresh in flight" => {
            state.work = 1;
            state.refresh = Some(Box::default());
        }
        "store check in flight" => {
            state.work = 1;
            state.is_checking_store = true;
        }
        "command running" => state.begin_command().unwrap(),
        "command ended" => {
            state.begin_command().unwrap();
            state.end_command();
        }
        "refresh started 999 ms ago" => state.refresh_started_at = Some(ago(999)),
        "refresh started 1 s ago" => state.refresh_started_at = Some(ago(1_000)),
        "forced refresh 29 s ago" => state.forced = Some(Box::new(forced(ago(29_000)))),
        "forced refresh 30 s ago" => state.forced = Some(Box::new(forced(ago(30_000)))),
        "failed 299 s ago" => drop(state.backoff.add(ago(299_000), 0, down(), 0.0)),
        "failed 300 s ago" => drop(state.backoff.add(ago(300_000), 0, down(), 0.0)),
        "refused 23 h ago" | "refused 24 h ago" => {
            let refused = Error::new(ErrorKind::Refused, "refused");
            let _ = state.backoff.add(at(0).now, 0, refused, 0.0);
        }
        "suspected for 47 h" | "suspected for 48 h" => {
            state.suspicion = Some(Box::new(Suspicion {
                generation: generation(2),
                since: at(0).now,
            }));
        }
        "rejected by the API" => state.rejected = state.held.generation(),
        "invalidated" | "invalidated, expired since" => state.invalidate(at(300)),
        _ => {}
    }
    (state, m)
}
