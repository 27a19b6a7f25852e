//! The last events of a grant, for diagnosis: those that are stored with it, and those that this
//! process has seen since and could not save.
//!
//! Each save of a grant carries the stored record, as it was loaded before, and the events of this
//! process. The record decides nothing. Between two pieces of work only the events that are not
//! saved yet stay in memory, so a grant that works needs no memory for it. A request with a fresh
//! token does not come here.

use crate::token::{Grant, History, HistoryEntry, HistoryEvent};

/// The record of one grant, as its cache knows it. `None` if nothing is known, which is how an idle
/// grant that works takes 8 bytes for it.
#[derive(Debug, Default)]
pub(super) struct Record(Option<Box<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// As last loaded or saved by the work that is running.
    stored: History,
    /// The events since, which the next save stores.
    unsaved: History,
}

impl Record {
    /// Takes the record out of a grant that was loaded.
    pub(super) fn take(&mut self, loaded: &mut Grant) {
        self.known().stored = std::mem::take(&mut loaded.history);
    }

    /// Notes an event that is not saved now.
    pub(super) fn note(&mut self, entry: HistoryEntry) {
        let known = self.known();
        if !is_known(known.stored.entries().last(), &entry) {
            known.unsaved.push(entry);
        }
    }

    /// The record with which a grant is saved because of an event.
    pub(super) fn with(&self, entry: HistoryEntry) -> History {
        let known = self.0.as_deref();
        let known = known.map(|known| known.stored.with_unsaved(&known.unsaved));
        let mut history = known.unwrap_or_default();
        history.push(entry);
        history
    }

    /// The grant was saved with this record.
    pub(super) fn saved(&mut self, history: History) {
        *self.known() = Known {
            stored: history,
            unsaved: History::default(),
        };
    }

    /// The work has ended: the next one loads the stored record again.
    pub(super) fn rest(&mut self) {
        let known = self.0.take().filter(|known| !known.unsaved.is_empty());
        self.0 = known.map(|known| {
            Box::new(Known {
                stored: History::default(),
                unsaved: known.unsaved,
            })
        });
    }

    /// The events that are not saved.
    pub(super) fn unsaved(&self) -> History {
        let known = self.0.as_deref();
        known.map_or_else(History::default, |known| known.unsaved.clone())
    }

    fn known(&mut self) -> &mut Known {
        self.0.get_or_insert_default()
    }
}

/// Whether the save that has just ended stored this event: a failed refresh is saved when its
/// intent is removed, and reported afterwards.
fn is_known(last: Option<&HistoryEntry>, entry: &HistoryEntry) -> bool {
    last.is_some_and(|last| {
        let has_ended = matches!(last.event, HistoryEvent::Ended { .. });
        last.replica == entry.replica
            && (last.event == entry.event || has_ended)
            && entry.event.failure().is_some()
    })
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use super::*;
    use crate::{
        error::{Error, ErrorKind},
        token::{Failure, Generation, GrantState},
    };

    fn entry(second: u64, event: HistoryEvent) -> HistoryEntry {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        HistoryEntry::new(at, &Arc::from("a"), event)
    }

    fn down() -> HistoryEvent {
        let error = Error::new(ErrorKind::Unavailable, "down");
        HistoryEvent::Failed(Failure::of(&error))
    }

    fn names(history: &History) -> Vec<&str> {
        let entries = history.entries().iter();
        entries.map(|entry| entry.event.as_str()).collect()
    }

    #[test]
    fn a_save_carries_what_was_loaded_and_what_was_seen_since() {
        let mut record = Record::default();
        let since = SystemTime::UNIX_EPOCH;
        let stored = [entry(1, HistoryEvent::Connected)].into_iter().collect();
        let mut grant = Grant::new(Generation::FIRST, GrantState::Revoked { since });
        grant = grant.with_history(stored);
        record.take(&mut grant);
        assert!(grant.history.is_empty());

        record.note(entry(2, down()));
        record.note(entry(3, down()));
        let saved = record.with(entry(4, HistoryEvent::Refreshed));
        assert_eq!(names(&saved), ["connected", "failed", "refreshed"]);
        assert_eq!(saved.entries()[1].times, 2);
        assert_eq!(names(&record.unsaved()), ["failed"]);
        record.saved(saved);
        assert!(record.unsaved().is_empty());

        // Without another load, the next save would not know the stored record.
        record.rest();
        assert_eq!(names(&record.with(entry(5, down()))), ["failed"]);
    }

    #[test]
    fn a_failure_that_was_saved_is_not_noted_again() {
        let mut record = Record::default();
        let saved = record.with(entry(1, down()));
        record.saved(saved);
        record.note(entry(1, down()));
        assert!(record.unsaved().is_empty());
        record.rest();
        record.note(entry(9, down()));
        assert_eq!(names(&record.unsaved()), ["failed"]);
    }
}
