//! The last events of a grant, kept with it.
//!
//! A process that asks why a grant has ended is rarely the one that saw it end, or that lost the
//! response before. So each save of a grant carries a short record of what led to it: which
//! replica sent the refresh token, what the provider responded, and which replica saved the result.
//! It contains no secret.

use std::{sync::Arc, time::SystemTime};

use http::StatusCode;

use super::ReauthorizationReason;
use crate::error::{Error, ErrorKind};

/// The last events of a grant, the oldest first.
///
/// A store keeps it as it is, with its grant. It is a record for [diagnosis], and decides nothing:
/// a grant without it works in the same way.
///
/// Successful refreshes and repeated failures take one entry, so the record of a grant that works
/// has two or three.
///
/// [diagnosis]: crate::cache::TokenCache::diagnose
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::box_collection,
    reason = "a grant without it needs 8 bytes instead of 24"
)]
pub struct History(Option<Box<Vec<HistoryEntry>>>);

/// One event of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// When it happened, or happened last, by the wall clock of its replica.
    pub at: SystemTime,
    /// When it happened first, if it was repeated.
    pub first_at: SystemTime,
    /// How often it happened in a row.
    pub times: u32,
    /// The replica that saw it: see [`TokenCacheBuilder::replica`].
    ///
    /// [`TokenCacheBuilder::replica`]: crate::cache::TokenCacheBuilder::replica
    pub replica: Arc<str>,
    /// The event.
    pub event: HistoryEvent,
}

/// An event of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HistoryEvent {
    /// The tokens of a consent were saved.
    Connected,
    /// The refresh token was about to be sent.
    Sent,
    /// The refresh token was about to be sent again, after a lost response.
    SentAgain,
    /// The token request was sent, and its response was lost.
    ResponseLost(Failure),
    /// A new token set was saved.
    Refreshed,
    /// A refresh brought no new token.
    Failed(Failure),
    /// The API rejected a token again that had just been refreshed after a rejection.
    Rejected,
    /// The store could not be read or written.
    StoreFailed(Failure),
    /// The grant has ended.
    Ended {
        /// Why it ended.
        reason: ReauthorizationReason,
        /// The refusal of the provider.
        refusal: Failure,
    },
    /// The program revoked the grant.
    Revoked,
}

/// The part of an [`Error`] that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// The HTTP status of the provider's response, if there was one.
    pub status: Option<StatusCode>,
    /// The [error code](Error::provider_code) of the provider's response, if it has one.
    pub code: Option<Arc<str>>,
}

impl History {
    /// The maximum number of entries. Beyond it, the oldest are forgotten, except the last
    /// consent.
    pub const MAX_ENTRIES: usize = 12;

    /// The entries, the oldest first.
    #[must_use]
    pub fn entries(&self) -> &[HistoryEntry] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// The history with events that one process has seen and not saved, in the order of time.
    ///
    /// Other replicas may have saved later events meanwhile. Those of the same replica are earlier,
    /// whatever its clock says, because each of its saves includes what it has seen before.
    pub(crate) fn with_unsaved(&self, unsaved: &Self) -> Self {
        let mut entries = self.entries().to_vec();
        for entry in unsaved.entries() {
            let is_before =
                |known: &HistoryEntry| known.at <= entry.at || known.replica == entry.replica;
            let last = entries.iter().rposition(is_before);
            entries.insert(last.map_or(0, |index| index + 1), entry.clone());
        }
        entries.into_iter().collect()
    }

    /// Adds an event, which replaces those that it repeats or completes.
    pub(crate) fn push(&mut self, mut entry: HistoryEntry) {
        let entries = self.0.get_or_insert_default();
        if entries
            .last()
            .is_some_and(|last| last.is_completed_by(&entry))
        {
            entries.pop();
        }
        let is_repeated = entries
            .last()
            .is_some_and(|last| last.is_repeated_by(&entry));
        if is_repeated && let Some(last) = entries.pop() {
            entry.first_at = last.first_at;
            entry.times = last.times.saturating_add(entry.times);
        }
        if entries.len() >= Self::MAX_ENTRIES {
            let is_consent = |entry: &HistoryEntry| entry.event == HistoryEvent::Connected;
            let is_first = entries.iter().rposition(is_consent) == Some(0);
            entries.remove(usize::from(is_first));
        }
        entries.push(entry);
    }
}

impl FromIterator<HistoryEntry> for History {
    fn from_iter<I: IntoIterator<Item = HistoryEntry>>(entries: I) -> Self {
        let mut history = Self::default();
        for entry in entries {
            history.push(entry);
        }
        history
    }
}

impl HistoryEntry {
    /// An event that happened now.
    pub(crate) fn new(at: SystemTime, replica: &Arc<str>, event: HistoryEvent) -> Self {
        Self {
            at,
            first_at: at,
            times: 1,
            replica: Arc::clone(replica),
            event,
        }
    }

    /// Whether the other entry is the outcome of this one, which says no more.
    fn is_completed_by(&self, outcome: &Self) -> bool {
        let says_all = match self.event {
            HistoryEvent::Sent => matches!(
                outcome.event,
                HistoryEvent::Refreshed
                    | HistoryEvent::Failed(_)
                    | HistoryEvent::ResponseLost(_)
                    | HistoryEvent::Ended { .. }
            ),
            // The loss before it says that it was sent again.
            HistoryEvent::SentAgain => matches!(outcome.event, HistoryEvent::ResponseLost(_)),
            _ => false,
        };
        says_all && self.replica == outcome.replica
    }

    fn is_repeated_by(&self, next: &Self) -> bool {
        let is_unique = matches!(
            self.event,
            HistoryEvent::Connected | HistoryEvent::Ended { .. } | HistoryEvent::Revoked
        );
        !is_unique && self.event == next.event && self.replica == next.replica
    }
}

impl HistoryEvent {
    /// The name of the event, such as `response_lost`. It is stable.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Sent => "sent",
            Self::SentAgain => "sent_again",
            Self::ResponseLost(_) => "response_lost",
            Self::Refreshed => "refreshed",
            Self::Failed(_) => "failed",
            Self::Rejected => "rejected",
            Self::StoreFailed(_) => "store_failed",
            Self::Ended { .. } => "ended",
            Self::Revoked => "revoked",
        }
    }

    /// The failure, if the event is one.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::ResponseLost(failure)
            | Self::Failed(failure)
            | Self::StoreFailed(failure)
            | Self::Ended {
                refusal: failure, ..
            } => Some(failure),
            Self::Connected
            | Self::Sent
            | Self::SentAgain
            | Self::Refreshed
            | Self::Rejected
            | Self::Revoked => None,
        }
    }
}

impl Failure {
    pub(crate) fn of(error: &Error) -> Self {
        Self {
            kind: error.kind(),
            status: error.status(),
            code: error.provider_code().map(Arc::from),
        }
    }
}

#[cfg(test)]
mod tests;
