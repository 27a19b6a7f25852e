//! Which failures of a store are reported, and which repeat one that was reported.
//!
//! All tenants of a program share one store. If its server is down, or its key is wrong, each
//! request of each tenant fails for the same cause, and one line of the log is enough. The time is
//! passed in.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use crate::{
    error::{AtPath, Error, ErrorKind},
    token::{DecodeError, OfTenant, TenantId},
};

/// The shortest time between two reports of a store that fails and works by turns.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(60);
/// How often a failure is reported again while it lasts.
const REMINDER: Duration = Duration::from_secs(3_600);
/// For how many single grants a failure is reported.
const MAX_GRANTS: usize = 256;

/// The scope of a failure of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The store as a whole.
    Store,
    /// One grant cannot be used: it is damaged, cannot be decrypted, or is of another client.
    Grant,
}

impl Fault {
    /// `None` if the error is none of a store.
    pub(super) fn of(error: &Error) -> Option<Self> {
        match error.kind() {
            ErrorKind::ForeignGrant => return Some(Self::Grant),
            ErrorKind::Store => {}
            _ => return None,
        }
        let mut sources =
            std::iter::successors(std::error::Error::source(error), |&source| source.source());
        let is_of_grant = sources.any(|source| {
            let at = source.downcast_ref::<AtPath>();
            source.is::<OfTenant>()
                || source.is::<DecodeError>()
                || at.is_some_and(|at| !at.is_of_system())
        });
        Some(if is_of_grant {
            Self::Grant
        } else {
            Self::Store
        })
    }
}

/// Whether an error of a store is about one grant, and others may be read.
pub(crate) fn is_of_one_grant(error: &Error) -> bool {
    Fault::of(error) == Some(Fault::Grant)
}

/// How a failure is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// As one of the store as a whole.
    Store,
    /// As one of a single grant.
    Grant,
    /// It repeats one that was reported.
    Repeated,
}

/// The failures of one store since it last worked.
#[derive(Debug, Default)]
pub(super) struct StoreWatch {
    /// Whether a grant has ever been read. Before that, a grant that cannot be read counts as a
    /// failure of the store: most likely its key is wrong.
    has_read: bool,
    unreachable: Trouble,
    unreadable: Trouble,
    unwritable: Trouble,
    /// The single grants whose failure was reported.
    grants: HashSet<TenantId>,
}

/// A failure that lasts.
#[derive(Debug, Default)]
struct Trouble {
    since: Option<Instant>,
    is_reported: bool,
    reported_at: Option<Instant>,
}

impl StoreWatch {
    /// A load or a list failed.
    pub(super) fn read_failed(
        &mut self,
        fault: Fault,
        tenant: Option<&TenantId>,
        now: Instant,
    ) -> Notice {
        match (fault, tenant) {
            (Fault::Store, _) => self.unreachable.failed(now),
            (Fault::Grant, Some(tenant)) if self.has_read => {
                let is_news = self.grants.len() < MAX_GRANTS && self.grants.insert(tenant.clone());
                if is_news {
                    Notice::Grant
                } else {
                    Notice::Repeated
                }
            }
            (Fault::Grant, _) => self.unreadable.failed(now),
        }
    }

    /// No grant can be read.
    pub(super) fn all_unreadable(&mut self, now: Instant) -> Notice {
        self.unreadable.failed(now)
    }

    /// The store was read. Returns how long a failure lasted that was reported and has ended.
    pub(super) fn read(&mut self, of: Option<&TenantId>, now: Instant) -> Option<Duration> {
        let lasted = self.unreachable.ended(now);
        let Some(tenant) = of else {
            return lasted;
        };
        self.has_read = true;
        self.grants.remove(tenant);
        lasted.max(self.unreadable.ended(now))
    }

    /// The store responded, although the grant cannot be used.
    pub(super) fn responded(&mut self, now: Instant) -> Option<Duration> {
        self.unreachable.ended(now)
    }

    /// A save or a lease failed. `is_reported` says whether another event reports it.
    pub(super) fn write_failed(&mut self, is_reported: bool, now: Instant) -> Notice {
        if is_reported {
            self.unwritable.reported(now);
            return Notice::Repeated;
        }
        if self.unreachable.since.is_some() {
            // The same store failed to load.
            return Notice::Repeated;
        }
        self.unwritable.failed(now)
    }

    /// The store was written. Returns how long a failure lasted that was reported and has ended.
    pub(super) fn written(&mut self, now: Instant) -> Option<Duration> {
        self.unwritable.ended(now)
    }
}

impl Trouble {
    fn failed(&mut self, now: Instant) -> Notice {
        self.since.get_or_insert(now);
        let pause = if self.is_reported {
            REMINDER
        } else {
            SHORTEST_INTERVAL
        };
        let is_recent = self
            .reported_at
            .is_some_and(|at| now.saturating_duration_since(at) < pause);
        if is_recent {
            return Notice::Repeated;
        }
        self.reported(now);
        Notice::Store
    }

    fn reported(&mut self, now: Instant) {
        self.since.get_or_insert(now);
        self.is_reported = true;
        self.reported_at = Some(now);
    }

    fn ended(&mut self, now: Instant) -> Option<Duration> {
        let since = self.since.take()?;
        let was_reported = std::mem::take(&mut self.is_reported);
        was_reported.then(|| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{Clock, SystemClock},
        token::Grant,
    };

    enum Step {
        Down,
        Unreadable(&'static str),
        Read(&'static str),
        Empty,
        NotWritten,
        Written,
    }

    use Step::{Down, Empty, NotWritten, Read, Unreadable, Written};

    /// The report of each step, at a second.
    #[track_caller]
    fn check(steps: &[(u64, Step, &str)]) {
        let (start, mut watch) = (SystemClock.monotonic(), StoreWatch::default());
        for (at, step, expected) in steps {
            let now = start + Duration::from_secs(*at);
            let tenant = |name: &str| TenantId::new(name).unwrap();
            let notice = |notice: Notice| format!("{notice:?}");
            let recovered = |lasted: Option<Duration>| match lasted {
                Some(lasted) => format!("recovered after {}", lasted.as_secs()),
                None => String::new(),
            };
            let report = match step {
                Down => notice(watch.read_failed(Fault::Store, Some(&tenant("a")), now)),
                Unreadable(name) => {
                    notice(watch.read_failed(Fault::Grant, Some(&tenant(name)), now))
                }
                Read(name) => recovered(watch.read(Some(&tenant(name)), now)),
                Empty => recovered(watch.read(None, now)),
                NotWritten => notice(watch.write_failed(false, now)),
                Written => recovered(watch.written(now)),
            };
            assert_eq!(report, *expected, "at {at}");
        }
    }

    #[test]
    fn fault_is_that_of_the_source() {
        let acme = TenantId::new("acme").unwrap();
        let undecodable = Grant::from_bytes(&acme, b"{").unwrap_err();
        let store = || Error::new(ErrorKind::Store, "failed");
        let path = std::path::Path::new("/var/grants");
        let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        for (error, fault) in [
            (Error::store("down"), Some(Fault::Store)),
            (Error::store(undecodable), Some(Fault::Grant)),
            (
                store().with_source(OfTenant::new(&acme, None)),
                Some(Fault::Grant),
            ),
            (
                store().with_source(AtPath::new(path, None)),
                Some(Fault::Grant),
            ),
            (
                store().with_source(AtPath::new(path, Some(denied()))),
                Some(Fault::Store),
            ),
            (
                Error::new(ErrorKind::ForeignGrant, "other"),
                Some(Fault::Grant),
            ),
            (Error::unavailable("busy"), None),
        ] {
            assert_eq!(Fault::of(&error), fault, "{error:?}");
        }
    }

    #[test]
    fn server_that_is_down_is_reported_once_and_when_it_works_again() {
        check(&[
            (0, Read("a"), ""),
            (1, Down, "Store"),
            (2, Down, "Repeated"),
            (60, Down, "Repeated"),
            (70, NotWritten, "Repeated"),
            (3_601, Down, "Store"),
            (3_602, Down, "Repeated"),
            (3_611, Empty, "recovered after 3610"),
            (3_612, Read("a"), ""),
        ]);
    }

    #[test]
    fn server_that_fails_by_turns_is_reported_once_a_minute() {
        check(&[
            (0, Down, "Store"),
            (1, Empty, "recovered after 1"),
            (2, Down, "Repeated"),
            (3, Empty, ""),
            (4, Down, "Repeated"),
            (61, Down, "Store"),
            (64, Empty, "recovered after 60"),
        ]);
    }

    #[test]
    fn wrong_key_is_a_failure_of_the_store() {
        check(&[
            (0, Empty, ""),
            (1, Unreadable("a"), "Store"),
            (2, Unreadable("b"), "Repeated"),
            // No grant, so it says nothing about the key.
            (3, Empty, ""),
            (4, Unreadable("a"), "Repeated"),
            (9, Read("c"), "recovered after 8"),
            (10, Unreadable("a"), "Grant"),
        ]);
    }

    #[test]
    fn single_damaged_grant_is_reported_once() {
        check(&[
            (0, Read("a"), ""),
            (1, Unreadable("b"), "Grant"),
            (2, Unreadable("b"), "Repeated"),
            (3, Unreadable("c"), "Grant"),
            (4, Read("b"), ""),
            (5, Unreadable("b"), "Grant"),
        ]);
    }

    #[test]
    fn store_that_cannot_be_written_is_reported_once() {
        check(&[
            (0, Read("a"), ""),
            (1, NotWritten, "Store"),
            (2, Read("a"), ""),
            (3, NotWritten, "Repeated"),
            (5, Written, "recovered after 4"),
        ]);
    }
}
