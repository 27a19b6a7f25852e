//! The values that a health check reports.

use std::{sync::Arc, time::SystemTime};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::{
    cache::{Status, TokenState},
    error::Error,
    oauth::EndpointStatus,
    rfc3339::rfc3339,
    tenants::sweep_report::SweepReport,
};

/// The health of [`Tenants`](crate::tenants::Tenants) at one moment, from
/// [`Tenants::health`](crate::tenants::Tenants::health).
///
/// With serde it becomes a map without a secret or the name of a tenant.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// Whether grants can be read from the store.
    pub store: StoreHealth,
    /// The token endpoint. `None` if the token source has no
    /// [gate](crate::cache::TokenSource::gate).
    pub endpoint: Option<EndpointStatus>,
    /// The resident tenants, by state.
    pub residents: StateCounts,
    /// When the grant that was not refreshed for the longest time was last refreshed, of the
    /// resident ones with a refresh token.
    pub oldest_refresh: Option<SystemTime>,
    /// The last sweep that this process has finished, with the numbers of all tenants in the store.
    /// Another process may make the sweeps.
    pub last_sweep: Option<Arc<SweepReport>>,
    /// Whether [`Tenants::shutdown`](crate::tenants::Tenants::shutdown) was called.
    pub is_shut_down: bool,
}

/// Whether grants can be read from the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StoreHealth {
    /// The store responds, and most of the grants that were tried can be read: up to 4 of this
    /// client, among the first 64 tenants. There may be none.
    Readable,
    /// The store responds, but most of the grants that were tried cannot be read. The encryption
    /// key is most likely wrong or missing. The error is that of the first one.
    Unreadable(Error),
    /// The store does not respond, or fails.
    Unreachable(Error),
}

/// How many tenants are in each [state](TokenState).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StateCounts {
    /// [`TokenState::Absent`]: a consent is in progress.
    pub absent: u64,
    /// [`TokenState::Fresh`].
    pub fresh: u64,
    /// [`TokenState::Advisory`].
    pub advisory: u64,
    /// [`TokenState::Mandatory`].
    pub mandatory: u64,
    /// [`TokenState::Expired`].
    pub expired: u64,
    /// [`TokenState::Rejected`].
    pub rejected: u64,
    /// [`TokenState::Uncertain`].
    pub uncertain: u64,
    /// [`TokenState::ReauthorizationRequired`].
    pub reauthorization_required: u64,
    /// [`TokenState::Revoked`].
    pub revoked: u64,
    /// The number of tenants in any state whose grant is [stuck](crate::cache#stuck-grants).
    pub stuck: u64,
}

impl Health {
    /// Whether this process can serve requests: its store is readable, and it is not shut down.
    ///
    /// A failing token endpoint does not matter, because requests use their tokens until these
    /// expire, and another process would not reach the endpoint either.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.is_shut_down && self.store.is_readable()
    }
}

impl StoreHealth {
    /// Whether grants can be read.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        matches!(self, Self::Readable)
    }

    /// Why grants cannot be read.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Readable => None,
            Self::Unreadable(error) | Self::Unreachable(error) => Some(error),
        }
    }

    /// The name of the variant, such as `unreachable`. It is stable.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Readable => "readable",
            Self::Unreadable(_) => "unreadable",
            Self::Unreachable(_) => "unreachable",
        }
    }
}

impl StateCounts {
    pub(super) fn add(&mut self, status: &Status) {
        let count = match status.state {
            TokenState::Absent => &mut self.absent,
            TokenState::Fresh => &mut self.fresh,
            TokenState::Advisory => &mut self.advisory,
            TokenState::Mandatory => &mut self.mandatory,
            TokenState::Expired => &mut self.expired,
            TokenState::Rejected { .. } => &mut self.rejected,
            TokenState::Uncertain { .. } => &mut self.uncertain,
            TokenState::ReauthorizationRequired { .. } => &mut self.reauthorization_required,
            TokenState::Revoked { .. } => &mut self.revoked,
        };
        *count = count.saturating_add(1);
        if status.stuck_since.is_some() {
            self.stuck = self.stuck.saturating_add(1);
        }
    }
}

impl Serialize for Health {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sweep = self.last_sweep.as_deref().map(SweepView::new);
        let mut map = serializer.serialize_struct("Health", 7)?;
        map.serialize_field("is_ready", &self.is_ready())?;
        map.serialize_field("is_shut_down", &self.is_shut_down)?;
        map.serialize_field("store", &self.store)?;
        map.serialize_field("endpoint", &self.endpoint)?;
        map.serialize_field("residents", &self.residents)?;
        map.serialize_field("oldest_refresh", &self.oldest_refresh.and_then(rfc3339))?;
        map.serialize_field("last_sweep", &sweep)?;
        map.end()
    }
}

impl Serialize for StoreHealth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("StoreHealth", 2)?;
        map.serialize_field("state", self.as_str())?;
        map.serialize_field("error", &self.error())?;
        map.end()
    }
}

/// A report without the names of tenants.
#[derive(Serialize)]
struct SweepView {
    started_at: Option<String>,
    duration_seconds: u64,
    active: u64,
    ended: u64,
    unreadable: u64,
    foreign: u64,
    kept_alive: u64,
    failed: u64,
    expiring: usize,
    oldest_refresh: Option<String>,
}

impl SweepView {
    fn new(report: &SweepReport) -> Self {
        Self {
            started_at: rfc3339(report.started_at),
            duration_seconds: report.duration.as_secs(),
            active: report.active,
            ended: report.ended,
            unreadable: report.unreadable,
            foreign: report.foreign,
            kept_alive: report.kept_alive,
            failed: report.failed,
            expiring: report.expiring.len(),
            oldest_refresh: report.oldest_refresh.and_then(rfc3339),
        }
    }
}
