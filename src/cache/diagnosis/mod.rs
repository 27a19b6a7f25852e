//! Why a grant does not work: the most likely cause, and what to do.
//!
//! A diagnosis puts together what no single place knows: the stored grant and its
//! [record](crate::token::History), which each replica extends, what this process has seen since,
//! and the state of the token endpoint. It sends no request to the provider, and changes nothing.

use std::{fmt, time::SystemTime};

use super::state::Status;
use crate::{
    error::Error,
    oauth::EndpointStatus,
    rfc3339::rfc3339,
    token::{Generation, Grant, History, HistoryEntry, HistoryEvent},
};

mod cause;
mod named_cause;
mod serialize;

use self::cause::{Evidence, Finding};
pub use self::named_cause::Cause;

/// Why a grant does not work, from [`TokenCache::diagnose`](crate::cache::TokenCache::diagnose).
///
/// `Display` and serde show all of it, for an operator. It contains no secret and no tenant name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The most likely cause.
    pub cause: Cause,
    /// Since when, if that is known.
    pub since: Option<SystemTime>,
    /// The state of the grant, as this process knows it.
    pub status: Status,
    /// The last events of the grant, of all replicas, and those of this process that are not saved.
    pub history: History,
    /// The error of the load from the store, if it failed.
    pub store_error: Option<Error>,
    /// The token endpoint, if the token source has a [gate](crate::cache::TokenSource::gate).
    pub endpoint: Option<EndpointStatus>,
}

impl Diagnosis {
    /// Diagnoses a grant that was just loaded.
    pub(crate) fn new(
        loaded: Result<Option<Grant>, Error>,
        status: Status,
        held: Option<Generation>,
        unsaved: &History,
        endpoint: Option<EndpointStatus>,
    ) -> Self {
        let stored = loaded.as_ref().ok().and_then(Option::as_ref);
        let stored = stored.map(|grant| grant.history.clone());
        let history = stored.unwrap_or_default().with_unsaved(unsaved);
        let evidence = Evidence {
            loaded: loaded.as_ref().map(Option::as_ref),
            history: &history,
            status: &status,
            held,
            endpoint: endpoint.as_ref(),
        };
        let Finding { cause, since } = evidence.finding();
        Self {
            cause,
            since,
            status,
            history,
            store_error: loaded.err(),
            endpoint,
        }
    }

    /// The name of the cause, a sentence that describes it, and one that says what to do.
    #[must_use]
    pub fn summary(&self) -> String {
        let since = self.since.and_then(rfc3339);
        let since = since.map_or_else(String::new, |since| format!(" (since {since})"));
        let detail = self.detail();
        let detail = detail.map_or_else(String::new, |detail| format!(": {detail}"));
        let (what, advice) = (self.cause.description(), self.cause.advice());
        let name = self.cause.as_str();
        format!("{name}: {what}{detail}{since}. {advice}.")
    }

    /// A detail of the evidence beyond the cause.
    fn detail(&self) -> Option<String> {
        let failed = self.history.entries().iter().rev();
        let mut failed = failed.filter_map(|entry| entry.event.failure());
        match self.cause {
            Cause::StoreUnreachable | Cause::StoreUnreadable | Cause::OtherClient => {
                self.store_error.as_ref().map(ToString::to_string)
            }
            Cause::Refused | Cause::RevokedAtProvider | Cause::EndpointFailing => {
                let failure = failed.next()?;
                let code = failure
                    .code
                    .as_deref()
                    .map(|code| format!("error code {code}"));
                let status = failure
                    .status
                    .map(|status| format!("status {}", status.as_u16()));
                code.or(status)
            }
            Cause::ReplicaCrashed => {
                let is_sent = |entry: &&HistoryEntry| entry.event == HistoryEvent::Sent;
                let sent = self.history.entries().iter().rev().find(is_sent)?;
                Some(format!("replica {}", sent.replica))
            }
            Cause::EndpointUnreachable
            | Cause::ResponseUnusable
            | Cause::StoreNotWritable
            | Cause::Misconfigured
            | Cause::ValueMissing => self.status.last_error.as_ref().map(ToString::to_string),
            _ => None,
        }
    }
}

/// The summary, and then the last events, one in a line.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary())?;
        write!(f, "state: {}", self.status.state.as_str())?;
        if let Some(endpoint) = &self.endpoint {
            write!(f, "; circuit breaker: {}", endpoint.circuit.as_str())?;
        }
        for entry in self.history.entries() {
            let at = rfc3339(entry.at).unwrap_or_default();
            write!(f, "\n{at}  {}  {}", entry.replica, entry.event.as_str())?;
            if entry.times > 1 {
                write!(f, ", {} times", entry.times)?;
                if let Some(first) = rfc3339(entry.first_at) {
                    write!(f, " since {first}")?;
                }
            }
            if let HistoryEvent::Ended { reason, .. } = &entry.event {
                write!(f, ", {}", reason.as_str())?;
            }
            if let Some(failure) = entry.event.failure() {
                write!(f, ", {}", failure.kind.as_str())?;
                if let Some(status) = failure.status {
                    write!(f, ", status {}", status.as_u16())?;
                }
                if let Some(code) = &failure.code {
                    write!(f, ", {code}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
