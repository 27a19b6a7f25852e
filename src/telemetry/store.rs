//! Events of a store, which all tenants share.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    causes::Causes,
    event::{Level, event, event_at},
    store_watch::{Fault, Notice, StoreWatch},
};
use crate::{
    error::Error,
    token::{Grant, TenantId},
};

/// Reports the failures of one store, each once.
pub(crate) struct StoreTelemetry {
    record_tenant: bool,
    watch: Mutex<StoreWatch>,
}

impl StoreTelemetry {
    pub(crate) fn new(record_tenant: bool) -> Self {
        Self {
            record_tenant,
            watch: Mutex::default(),
        }
    }

    /// The result of a load.
    pub(crate) fn loaded(
        &self,
        tenant: &TenantId,
        result: &Result<Option<Grant>, Error>,
        now: Instant,
    ) {
        match result {
            Ok(grant) => {
                let lasted = self.watch().read(grant.as_ref().map(|_| tenant), now);
                recovered(lasted);
            }
            Err(error) => {
                self.failed(Some(tenant), error, now);
            }
        }
    }

    /// The result of a load by a sweep, which reports the grants that cannot be read all together.
    pub(crate) fn swept(
        &self,
        tenant: &TenantId,
        result: &Result<Option<Grant>, Error>,
        now: Instant,
    ) {
        let fault = result.as_ref().err().and_then(Fault::of);
        if fault != Some(Fault::Grant) {
            self.loaded(tenant, result, now);
        }
    }

    /// The result of a save or of a lease.
    pub(crate) fn written<T>(
        &self,
        tenant: Option<&TenantId>,
        result: &Result<T, Error>,
        now: Instant,
    ) {
        match result {
            Ok(_) => {
                let lasted = self.watch().written(now);
                recovered(lasted);
            }
            Err(error) if Fault::of(error) == Some(Fault::Store) => {
                let notice = self.watch().write_failed(false, now);
                event_at!(
                    level(notice),
                    "store.write_failed",
                    tenant = self.field(tenant),
                    kind = error.kind().as_str(),
                    error = self.causes(tenant, error).to_string().as_str(),
                    "the grant store cannot be written, so no token is refreshed; check the store \
                     and the permissions of this program"
                );
            }
            // Each load reports that the grant cannot be read.
            Err(_) => {}
        }
    }

    /// The result of a save whose failure has an event of its own.
    pub(crate) fn saved<T>(&self, result: &Result<T, Error>, now: Instant) {
        match result {
            Ok(_) => {
                let lasted = self.watch().written(now);
                recovered(lasted);
            }
            Err(_) => {
                self.watch().write_failed(true, now);
            }
        }
    }

    /// The level for a sweep in which no grant could be read.
    pub(super) fn no_grant_readable(&self, now: Instant) -> Level {
        match self.watch().all_unreadable(now) {
            Notice::Store | Notice::Grant => Level::Error,
            Notice::Repeated => Level::Debug,
        }
    }

    /// A load, a list or the lease of a sweep failed. Returns false if the error is none of the
    /// store.
    pub(super) fn failed(&self, tenant: Option<&TenantId>, error: &Error, now: Instant) -> bool {
        let Some(fault) = Fault::of(error) else {
            return false;
        };
        let (notice, lasted) = {
            let mut watch = self.watch();
            let lasted = (fault == Fault::Grant).then(|| watch.responded(now));
            let notice = watch.read_failed(fault, tenant, now);
            (notice, lasted.flatten())
        };
        recovered(lasted);
        let causes = self.causes(tenant, error);
        let kind = error.kind().as_str();
        let tenant = self.field(tenant);
        if notice == Notice::Grant {
            event!(
                warn,
                "store.grant_unreadable",
                tenant,
                kind,
                error = causes.to_string().as_str(),
                "the stored grant of one customer cannot be used, and others can; restore it, or let \
                 the customer connect again (`record_tenant` shows which one)"
            );
        } else {
            event_at!(
                level(notice),
                "store.load_failed",
                tenant,
                kind,
                error = causes.to_string().as_str(),
                "{}",
                match fault {
                    Fault::Store => {
                        "the grant store cannot be read, so customers whose token this process does \
                         not hold get an error; it is tried again by itself; check that the store \
                         is reachable"
                    }
                    Fault::Grant => {
                        "no stored grant could be used so far, so customers get an error; the grants \
                         are unchanged; the error says what this process lacks: most likely an \
                         encryption key, or it is another client's store"
                    }
                }
            );
        }
        true
    }

    /// The causes of an error for this tenant.
    pub(super) fn causes<'a>(&self, tenant: Option<&'a TenantId>, error: &'a Error) -> Causes<'a> {
        Causes::of(error, tenant, self.record_tenant)
    }

    fn field<'a>(&self, tenant: Option<&'a TenantId>) -> Option<&'a str> {
        tenant.filter(|_| self.record_tenant).map(TenantId::as_str)
    }

    fn watch(&self) -> MutexGuard<'_, StoreWatch> {
        // A panic while this is locked leaves a valid value.
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn level(notice: Notice) -> Level {
    match notice {
        Notice::Store => Level::Error,
        Notice::Grant => Level::Warn,
        Notice::Repeated => Level::Debug,
    }
}

fn recovered(lasted: Option<Duration>) {
    if let Some(lasted) = lasted {
        event!(
            info,
            "store.recovered",
            failing_seconds = lasted.as_secs(),
            "the grant store works again"
        );
    }
}
