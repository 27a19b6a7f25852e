//! The snapshot that requests read without a lock. This is the hot path.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::{ArcSwap, Guard};

use super::{
    bearer_token::BearerToken,
    state::{ADVISORY_REQUEST_INTERVAL, CacheState, Snapshot},
};
use crate::{clock::Clock, later::Later};

pub(super) struct Published {
    current: ArcSwap<Snapshot>,
    /// Counts the replacements of `current`. A [`TokenCopy`] of another version is outdated.
    version: AtomicU64,
    /// Whether the API has rejected the token, which cannot be replaced.
    is_suspected: AtomicBool,
}

/// A private copy of the token, which one service clone keeps.
pub(crate) struct TokenCopy {
    version: u64,
    /// Until when the copy can be used without reading the snapshot.
    until: Instant,
    token: BearerToken,
}

impl Published {
    pub(super) fn new(state: &CacheState) -> Self {
        Self {
            current: ArcSwap::new(Arc::clone(state.held())),
            version: AtomicU64::new(0),
            is_suspected: AtomicBool::new(false),
        }
    }

    /// Lets requests read the held snapshot. Returns false if they read it already.
    ///
    /// The caller has the exclusive reference to the state, and so its lock: two calls cannot
    /// publish in the wrong order.
    pub(super) fn update(&self, state: &mut CacheState) -> bool {
        let is_suspected = state.is_suspected();
        if self.is_suspected() != is_suspected {
            self.is_suspected.store(is_suspected, Ordering::Relaxed);
        }
        if Arc::ptr_eq(&self.current.load(), state.held()) {
            return false;
        }
        self.current.store(Arc::clone(state.held()));
        self.version.fetch_add(1, Ordering::Release);
        true
    }

    /// Whether the cache needs to know that the API accepts the token.
    #[inline]
    pub(super) fn is_suspected(&self) -> bool {
        self.is_suspected.load(Ordering::Relaxed)
    }

    pub(super) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Copies what a request needs of the held token, while it is fresh.
    #[inline]
    pub(super) fn fresh<T>(
        &self,
        clock: &dyn Clock,
        copy: impl FnOnce(&BearerToken) -> T,
    ) -> Option<T> {
        let snapshot = self.current.load();
        let (token, schedule) = snapshot.token()?;
        (clock.monotonic() < schedule.refresh_at).then(|| {
            snapshot.mark_used();
            copy(token)
        })
    }

    /// The held token while it is fresh. Updates the caller's copy if it is outdated.
    ///
    /// In its advisory window, a token keeps serving once `request_advisory` has been called.
    #[inline]
    pub(super) fn fresh_by<'a>(
        &self,
        copy: &'a mut Option<TokenCopy>,
        clock: &dyn Clock,
        request_advisory: impl FnOnce(),
    ) -> Option<&'a BearerToken> {
        let version = self.version.load(Ordering::Acquire);
        if copy.as_ref().is_none_or(|copy| copy.version != version) {
            *copy = self.copy(version, clock);
        }
        let copy = copy.as_mut()?;
        let now = clock.monotonic();
        (now < copy.until || self.extend_copy(copy, now, request_advisory)).then_some(&copy.token)
    }

    #[cold]
    fn extend_copy(
        &self,
        copy: &mut TokenCopy,
        now: Instant,
        request_advisory: impl FnOnce(),
    ) -> bool {
        let snapshot = self.current.load();
        let Some((token, schedule)) = snapshot.token() else {
            return false;
        };
        if token.generation() != copy.token.generation() || now >= schedule.mandatory_at {
            return false;
        }
        snapshot.mark_used();
        if snapshot.claim_advisory_request(now) {
            request_advisory();
        }
        copy.until = schedule
            .mandatory_at
            .min(now.later(ADVISORY_REQUEST_INTERVAL));
        true
    }

    #[cold]
    fn copy(&self, version: u64, clock: &dyn Clock) -> Option<TokenCopy> {
        // This snapshot is at least as new as `version`, which was read earlier.
        let snapshot = self.current.load();
        let (token, schedule) = snapshot.token()?;
        let copy = TokenCopy {
            version,
            until: schedule.refresh_at,
            token: token.detached_copy(),
        };
        if clock.monotonic() < copy.until {
            snapshot.mark_used();
        }
        Some(copy)
    }
}
