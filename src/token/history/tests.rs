//! Tests of the record of a grant.

use std::time::Duration;

use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn failed(code: &str) -> HistoryEvent {
    HistoryEvent::Failed(Failure {
        kind: ErrorKind::Refused,
        status: Some(StatusCode::BAD_REQUEST),
        code: Some(code.into()),
    })
}

fn history(events: impl IntoIterator<Item = (&'static str, HistoryEvent)>) -> History {
    let entries = events
        .into_iter()
        .enumerate()
        .map(|(second, (replica, event))| {
            HistoryEntry::new(at(second as u64), &replica.into(), event)
        });
    entries.collect()
}

fn shown(history: &History) -> Vec<String> {
    let show = |entry: &HistoryEntry| {
        format!("{} {} {}", entry.replica, entry.event.as_str(), entry.times)
    };
    history.entries().iter().map(show).collect()
}

#[test]
fn a_grant_that_works_has_few_entries() {
    use HistoryEvent::{Connected, Refreshed, Sent};
    let mut events = vec![("a", Connected)];
    for _ in 0..1_000 {
        events.extend([("a", Sent), ("a", Refreshed)]);
    }
    let history = history(events);
    assert_eq!(shown(&history), ["a connected 1", "a refreshed 1000"]);
    let last = &history.entries()[1];
    assert_eq!((last.first_at, last.at), (at(2), at(2_000)));
}

#[test]
fn an_intent_without_an_outcome_stays() {
    use HistoryEvent::{Refreshed, Sent, SentAgain};
    let history = history([("a", Sent), ("b", SentAgain), ("b", Refreshed)]);
    assert_eq!(
        shown(&history),
        ["a sent 1", "b sent_again 1", "b refreshed 1"]
    );
}

#[test]
fn repeated_failures_are_counted_until_they_change() {
    let history = history([
        ("a", failed("x")),
        ("a", failed("x")),
        ("b", failed("x")),
        ("b", failed("y")),
        ("b", HistoryEvent::Revoked),
        ("b", HistoryEvent::Revoked),
    ]);
    assert_eq!(
        shown(&history),
        [
            "a failed 2",
            "b failed 1",
            "b failed 1",
            "b revoked 1",
            "b revoked 1"
        ]
    );
}

#[test]
fn the_oldest_entries_are_forgotten_but_not_the_consent() {
    let codes = ["x", "y"];
    let failures = (0..100).map(|index| ("a", failed(codes[index % 2])));
    let with_consent = [("a", HistoryEvent::Connected)]
        .into_iter()
        .chain(failures.clone());
    let with_consent = history(with_consent);
    assert_eq!(with_consent.entries().len(), History::MAX_ENTRIES);
    assert_eq!(with_consent.entries()[0].event, HistoryEvent::Connected);
    let history = history(failures);
    assert_eq!(history.entries().len(), History::MAX_ENTRIES);
    assert_eq!(history.entries()[0].at, at(88));
}

#[test]
fn the_last_consent_is_kept_and_not_the_first() {
    let codes = ["x", "y"];
    let consents = [
        ("a", HistoryEvent::Connected),
        ("b", HistoryEvent::Connected),
    ];
    let failures = (0..100).map(|index| ("a", failed(codes[index % 2])));
    let history = history(consents.into_iter().chain(failures));
    assert_eq!(history.entries().len(), History::MAX_ENTRIES);
    assert_eq!(shown(&history)[..2], ["b connected 1", "a failed 1"]);
}

#[test]
fn unsaved_events_precede_what_other_replicas_saved_later() {
    let entry =
        |second, replica: &str, event| HistoryEntry::new(at(second), &replica.into(), event);
    let stored: History = [
        entry(1, "a", HistoryEvent::Connected),
        entry(4, "a", HistoryEvent::Sent),
        entry(9, "b", HistoryEvent::Refreshed),
    ]
    .into_iter()
    .collect();
    // The clock of the replica was set back.
    for second in [2, 5] {
        let unsaved = [entry(second, "a", failed("x"))].into_iter().collect();
        assert_eq!(
            shown(&stored.with_unsaved(&unsaved)),
            ["a connected 1", "a failed 1", "b refreshed 1"]
        );
    }
    let unsaved = [entry(10, "a", failed("x"))].into_iter().collect();
    let history = stored.with_unsaved(&unsaved);
    assert_eq!(shown(&history).last().unwrap(), "a failed 1");
}
