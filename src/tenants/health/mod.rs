//! Whether a process can serve its tenants, for a probe and for operators.
//!
//! A check reads the store as a request would, so it notices a store that is down, and an
//! encryption key that is wrong. One check serves all callers of the next second, so a public probe
//! does not load the store. Everything else is known in memory.

mod check;
mod probe;
mod report;

pub use self::report::{Health, StateCounts, StoreHealth};
pub(super) use self::{
    check::{check, check_consent},
    probe::Probe,
};
