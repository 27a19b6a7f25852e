//! A diagnosis as a map, for serde.

use serde::{Serialize, Serializer};

use super::Diagnosis;
use crate::{
    cache::state::Status,
    error::Error,
    oauth::EndpointStatus,
    rfc3339::rfc3339,
    token::{HistoryEntry, HistoryEvent},
};

/// The members of the map, in this order.
#[derive(Serialize)]
struct Members<'a> {
    cause: &'static str,
    since: Option<String>,
    summary: String,
    status: &'a Status,
    endpoint: Option<&'a EndpointStatus>,
    store_error: Option<&'a Error>,
    history: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    at: Option<String>,
    first_at: Option<String>,
    times: u32,
    replica: &'a str,
    event: &'static str,
    reason: Option<&'static str>,
    kind: Option<&'static str>,
    status: Option<u16>,
    code: Option<&'a str>,
}

impl Serialize for Diagnosis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = Members {
            cause: self.cause.as_str(),
            since: self.since.and_then(rfc3339),
            summary: self.summary(),
            status: &self.status,
            endpoint: self.endpoint.as_ref(),
            store_error: self.store_error.as_ref(),
            history: self.history.entries().iter().map(Entry::new).collect(),
        };
        members.serialize(serializer)
    }
}

impl<'a> Entry<'a> {
    fn new(entry: &'a HistoryEntry) -> Self {
        let failure = entry.event.failure();
        Self {
            at: rfc3339(entry.at),
            first_at: rfc3339(entry.first_at),
            times: entry.times,
            replica: &entry.replica,
            event: entry.event.as_str(),
            reason: match entry.event {
                HistoryEvent::Ended { reason, .. } => Some(reason.as_str()),
                _ => None,
            },
            kind: failure.map(|failure| failure.kind.as_str()),
            status: failure.and_then(|failure| Some(failure.status?.as_u16())),
            code: failure.and_then(|failure| failure.code.as_deref()),
        }
    }
}
