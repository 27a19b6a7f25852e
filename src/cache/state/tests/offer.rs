//! Which snapshot replaces which: the newer one, and of the same generation the stored one.

use std::time::{Duration, Instant};

use super::{
    super::{CacheState, Moment, snapshot::Snapshot},
    DAY, LIFETIME, START, active, after, at, cases, duration, ended, events, grant, held, holding,
    refreshing, revoked, tokens, yes_no,
};
use crate::token::{Grant, GrantState};

/// The grant of this name, such as `3 ended`. The own intent was saved after 10 seconds.
fn named(name: &str) -> Grant {
    match name {
        "2 other tokens" => grant(2, GrantState::Active(tokens(9))),
        "2 own intent" => refreshing(2, at(10).wall, false),
        "2 own replay" => refreshing(2, at(10).wall, true),
        "2 other's intent" => refreshing(2, at(20).wall, false),
        "3 same tokens" => grant(3, GrantState::Active(tokens(2))),
        "3 intent" => refreshing(3, at(20).wall, false),
        "3 ended" => ended(2),
        "4 ended" => ended(3),
        "3 revoked" => revoked(2),
        "4 revoked" => revoked(3),
        number => active(number.parse().unwrap()),
    }
}

fn state(name: &str) -> CacheState {
    let mut state = match name {
        "none" => CacheState::default(),
        "3 revoked here" => {
            let mut state = holding(&active(2));
            state.revoke(at(5));
            state.take_events();
            state
        }
        name => holding(&named(name)),
    };
    state.own_intent = Some(at(10).wall);
    state
}

/// Whether the offer replaced the held grant, and the events.
fn result(mut state: CacheState, offered: &Grant, offer: impl FnOnce(&mut CacheState)) -> String {
    let before = state.held.grant().cloned();
    offer(&mut state);
    let events = events(&mut state);
    if state.held.grant() == Some(offered) && before.as_ref() != Some(offered) {
        format!("replaced, {events}")
    } else {
        assert_eq!(state.held.grant(), before.as_ref());
        format!("kept, {events}")
    }
}

/// The results of the same offer by the store and by this process.
fn by_both([held, offered]: [&str; 2]) -> [String; 2] {
    let grant = named(offered);
    [
        result(state(held), &grant, |state| {
            state.adopt(Some(&grant), at(30));
        }),
        result(state(held), &grant, |state| {
            state.publish(Snapshot::of_stored(grant.clone(), at(30)), at(30));
        }),
    ]
}

#[test]
fn p12_newer_grant_replaces_the_held_one() {
    cases(
        "
        held         | offered       | by the store            | by this process
        none         | 2             | replaced, adopted 2     | replaced, -
        none         | 3 ended       | replaced, -             | replaced, -
        none         | 3 revoked     | replaced, -             | replaced, -
        2            | 1             | kept, -                 | kept, -
        2            | 2             | kept, -                 | kept, -
        2            | 3             | replaced, adopted 3     | replaced, -
        2            | 3 same tokens | replaced, adopted 3     | replaced, -
        2            | 3 intent      | replaced, adopted 3     | replaced, -
        2            | 3 ended       | replaced, invalid_grant | replaced, invalid_grant
        2            | 3 revoked     | replaced, -             | replaced, -
        2 own intent | 3             | replaced, adopted 3     | replaced, -
        2 own intent | 3 ended       | replaced, invalid_grant | replaced, invalid_grant
        3 ended      | 2             | kept, -                 | kept, -
        3 ended      | 4             | replaced, adopted 4     | replaced, -
        3 ended      | 4 ended       | replaced, -             | replaced, -
        3 ended      | 4 revoked     | replaced, -             | replaced, -
        3 revoked    | 2             | kept, -                 | kept, -
        3 revoked    | 4             | replaced, adopted 4     | replaced, -
        ",
        by_both,
    );
}

/// A load may have been started before this process saved or removed its intent.
#[test]
fn p11_outdated_load_does_not_undo_the_own_intent() {
    cases(
        "
        held             | offered          | by the store | by this process
        2                | 2 other tokens   | replaced, -  | kept, -
        2                | 2 own intent     | kept, -      | replaced, -
        2                | 2 own replay     | replaced, -  | replaced, -
        2                | 2 other's intent | replaced, -  | replaced, -
        2 own intent     | 2                | kept, -      | replaced, -
        2 own replay     | 2                | kept, -      | replaced, -
        2 own intent     | 2 own replay     | replaced, -  | replaced, -
        2 own intent     | 2 other's intent | replaced, -  | replaced, -
        2 other's intent | 2                | replaced, -  | replaced, -
        2 other's intent | 2 own intent     | replaced, -  | replaced, -
        3 ended          | 3                | replaced, -  | kept, -
        3                | 3 ended          | replaced, -  | kept, -
        ",
        by_both,
    );
}

/// Nothing but a stored end replaces the end of a grant that the store does not know yet.
#[test]
fn p15_grant_that_was_revoked_here_is_not_brought_back() {
    cases(
        "
        held           | offered      | by the store | by this process
        3 revoked here | 2            | kept, -      | kept, -
        3 revoked here | 2 own intent | kept, -      | kept, -
        3 revoked here | 3            | kept, -      | kept, -
        3 revoked here | 4            | kept, -      | kept, -
        3 revoked here | 4 ended      | kept, -      | kept, -
        3 revoked here | 3 revoked    | replaced, -  | kept, -
        3 revoked here | 4 revoked    | replaced, -  | replaced, -
        ",
        by_both,
    );
}

#[test]
fn p12_empty_store_does_not_remove_the_held_grant() {
    cases(
        "
        held         | then     | events
        none         | none     | -
        2            | 2        | -
        2 own intent | 2 intent | -
        3 ended      | 3 ended  | -
        ",
        |[before]| {
            let mut state = state(before);
            state.adopt(None, at(30));
            [held(&state), events(&mut state)]
        },
    );
}

fn seconds_from_start(at: Instant) -> String {
    format!("{} s", (at - START.0).as_secs())
}

/// The offer has the longest jitter: a schedule of its own has its refresh after 3330 seconds, and
/// its keepalive after 22 days.
#[test]
fn p18_same_token_set_keeps_its_schedule_and_its_use() {
    cases(
        "
        held         | offered          | used | refresh | mandatory | expires | keepalive
        2            | 2 own intent     | yes  | 3060 s  | 3540 s    | 3600 s  | 20 d
        2            | 2 other's intent | yes  | 3060 s  | 3540 s    | 3600 s  | 20 d
        2 own intent | 2                | yes  | 3060 s  | 3540 s    | 3600 s  | 20 d
        2            | 3 same tokens    | no   | 3060 s  | 3540 s    | 3600 s  | 20 d
        2            | 2 other tokens   | no   | 3330 s  | 3540 s    | 3600 s  | 22 d
        2            | 3                | no   | 3330 s  | 3540 s    | 3600 s  | 22 d
        2            | 3 ended          | no   | 3600 s  | 3600 s    | 3600 s  | never
        none         | 2                | no   | 3330 s  | 3540 s    | 3600 s  | 22 d
        ",
        |[before, offered]| {
            let mut state = state(before);
            state.held.mark_used();
            let m = Moment {
                jitter: 1.0,
                ..at(30)
            };
            // As the replaced intent, which is not own any more.
            state.own_intent = None;
            state.adopt(Some(&named(offered)), m);
            let (_, schedule) = state.held.token().unwrap();
            let keepalive = state.held.refresh_token().map_or("never".into(), |expiry| {
                let due = 30 + expiry.until_due(m.now, m.wall).as_secs();
                format!("{} d", due / DAY.as_secs())
            });
            [
                yes_no(state.held.is_in_use()),
                seconds_from_start(schedule.refresh_at),
                seconds_from_start(schedule.mandatory_at),
                seconds_from_start(schedule.expires),
                keepalive,
            ]
        },
    );
}

/// The grant is offered 10 seconds after its token request was sent, by the monotonic clock.
#[test]
fn p18_offered_token_expires_by_the_earlier_clock() {
    cases(
        "
        wall clock ahead by | loaded | of a new refresh
        0 s                 | 3600 s | 3600 s
        600 s               | 3000 s | 3000 s
        7200 s              | 10 s   | 10 s
        ",
        |[ahead]| {
            let mut m = after(Duration::from_secs(10));
            m.wall += duration(ahead).unwrap();
            let expires = |offer: &dyn Fn(&mut CacheState)| {
                let mut state = CacheState::default();
                offer(&mut state);
                let (_, schedule) = state.held.token().unwrap();
                assert!(schedule.expires <= START.0 + LIFETIME);
                seconds_from_start(schedule.expires)
            };
            [
                expires(&|state| state.adopt(Some(&active(2)), m)),
                expires(&|state| state.publish(Snapshot::of_new(active(2), START.0, m), m)),
            ]
        },
    );
}
