//! The encoding of a grant's record. It is read leniently: a record that cannot be read is dropped,
//! and the grant is used.

use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::scalar::{StoredReason, to_timestamp};
use crate::{
    error::ErrorKind,
    token::{Failure, History, HistoryEntry, HistoryEvent, TenantId},
};

/// Of a replica's name or a code. This crate writes none that are longer, or that contain control
/// characters, which would forge the lines of a diagnosis.
const MAX_TEXT: usize = TenantId::MAX_LENGTH;

#[derive(Default, Serialize)]
#[serde(transparent)]
pub(super) struct StoredHistory(Vec<StoredEntry>);

#[derive(Serialize, Deserialize)]
struct StoredEntry {
    event: String,
    at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<u32>,
    replica: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<StoredReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

impl StoredHistory {
    pub(super) fn encode(history: &History) -> Self {
        Self(history.entries().iter().map(StoredEntry::encode).collect())
    }

    pub(super) fn decode(self) -> History {
        self.0.into_iter().filter_map(StoredEntry::decode).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Leaves out what cannot be read.
impl<'de> Deserialize<'de> for StoredHistory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Skips what is too deep, or a number that is too large, which a value could not hold.
        let raw = <&RawValue>::deserialize(deserializer)?;
        let entries: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        let entries = entries.into_iter().rev().take(History::MAX_ENTRIES).rev();
        let entries = entries.filter_map(|entry| serde_json::from_str(entry.get()).ok());
        Ok(Self(entries.collect()))
    }
}

impl StoredEntry {
    fn encode(entry: &HistoryEntry) -> Self {
        let failure = entry.event.failure();
        let is_repeated = entry.times > 1;
        Self {
            event: entry.event.as_str().to_owned(),
            at: to_timestamp(entry.at),
            first_at: is_repeated.then(|| to_timestamp(entry.first_at)),
            times: is_repeated.then_some(entry.times),
            replica: entry.replica.as_ref().to_owned(),
            reason: match entry.event {
                HistoryEvent::Ended { reason, .. } => Some(StoredReason::encode(reason)),
                _ => None,
            },
            kind: failure.map(|failure| failure.kind.as_str().to_owned()),
            status: failure.and_then(|failure| Some(failure.status?.as_u16())),
            code: failure.and_then(|failure| Some(failure.code.as_deref()?.to_owned())),
        }
    }

    fn decode(self) -> Option<HistoryEntry> {
        let is_foreign = |text: &str| text.len() > MAX_TEXT || text.contains(char::is_control);
        if is_foreign(&self.replica) || self.code.as_deref().is_some_and(is_foreign) {
            return None;
        }
        let failure = || {
            Some(Failure {
                kind: ErrorKind::of_name(self.kind.as_deref()?)?,
                status: self
                    .status
                    .and_then(|status| StatusCode::from_u16(status).ok()),
                code: self.code.as_deref().map(Into::into),
            })
        };
        let event = match self.event.as_str() {
            "connected" => HistoryEvent::Connected,
            "sent" => HistoryEvent::Sent,
            "sent_again" => HistoryEvent::SentAgain,
            "response_lost" => HistoryEvent::ResponseLost(failure()?),
            "refreshed" => HistoryEvent::Refreshed,
            "failed" => HistoryEvent::Failed(failure()?),
            "rejected" => HistoryEvent::Rejected,
            "store_failed" => HistoryEvent::StoreFailed(failure()?),
            "ended" => {
                let refusal = failure()?;
                let reason = self.reason?.decode();
                HistoryEvent::Ended { reason, refusal }
            }
            "revoked" => HistoryEvent::Revoked,
            _ => return None,
        };
        Some(HistoryEntry {
            at: self.at.try_into().ok()?,
            first_at: self.first_at.unwrap_or(self.at).try_into().ok()?,
            times: self.times.unwrap_or(1).max(1),
            replica: self.replica.into(),
            event,
        })
    }
}
