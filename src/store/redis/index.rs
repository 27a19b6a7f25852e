//! The index of tenants.
//!
//! Keys of a server can be scanned, but not in order and not across a cluster. So the names are
//! also kept in one sorted set. The index and a grant may be on different nodes and cannot be
//! written in one step. The index is written first, so that it is never missing a grant.
//!
//! The server may lose the index, or a part of it: by a command, an eviction, or a failover. Each
//! save therefore adds its name again. For grants that are not saved, the index has a mark with the
//! time of the last [scan](super::scan) of all keys. A listing scans the keys if the mark is
//! missing, since then the index was lost, or if it is older than a day.

use redis::{Value, aio::ConnectionLike};

use super::{
    connection::Connection,
    failure,
    names::{add, key, strings},
    record::{decoded, encoded},
    scan::{Progress, Scans},
    script::{LIST_TENANTS, MARK},
};
use crate::{error::Error, token::TenantId};

/// A mark is this text, the time of the scan in seconds, and a brace. No encoded name contains a
/// brace. The time 0 means that the index has been created and no scan has finished.
const MARK_PREFIX: &str = "{scanned:";
/// The range of all marks.
const MARKS: [&[u8]; 2] = [b"[{scanned:", b"({scanned;"];

/// After this time, a listing scans the keys again.
const SCAN_INTERVAL: u64 = 86_400;

/// Returns a page of tenants, in the order of their encoded names.
pub(super) async fn page<C: ConnectionLike + Clone>(
    connection: &Connection<C>,
    scans: &Scans,
    after: Option<&TenantId>,
    limit: usize,
) -> Result<Vec<TenantId>, Error> {
    let mut from = after.map_or_else(
        || b"-".to_vec(),
        |tenant| exclusive(encoded(tenant).as_bytes()),
    );
    let mut has_scanned = false;
    loop {
        let listed = list(connection, &from, limit).await?;
        if listed.is_scan_due() && !std::mem::replace(&mut has_scanned, true) {
            scan(connection, scans, &listed).await?;
            continue;
        }
        let Some(last) = listed.names.last() else {
            return Ok(Vec::new());
        };
        // Marks, and entries of other programs, are not encoded names.
        let tenants: Vec<_> = listed
            .names
            .iter()
            .filter_map(|name| decoded(name))
            .collect();
        // An empty page would be the end.
        if !tenants.is_empty() {
            return Ok(tenants);
        }
        from = exclusive(last);
    }
}

/// Scans the keys. Fails if the index was lost and the scan is not at its end.
async fn scan<C: ConnectionLike + Clone>(
    connection: &Connection<C>,
    scans: &Scans,
    listed: &Listed,
) -> Result<(), Error> {
    let key = key(connection);
    if listed.scanned_at.is_none() {
        // What an earlier call has added is lost.
        scans.restart();
        add(connection, &[mark(0).as_bytes()], None).await?;
    }
    match scans.run(connection, &key, listed.now).await? {
        Progress::Done { started_at } => {
            let mark = mark(started_at);
            let [first, last] = MARKS;
            let arguments = [first, last, mark.as_bytes()];
            // If the index was lost meanwhile, it has no mark, and the next listing scans again.
            let marked = connection.run(&MARK, &key, &arguments, None).await?;
            if marked == Value::Int(1) || listed.is_complete() {
                return Ok(());
            }
        }
        // Names that are missing are found in one of the next calls.
        Progress::Paused if listed.is_complete() => return Ok(()),
        Progress::Paused => {}
    }
    Err(failure::at(
        &key,
        "the index of tenants was lost and is being restored from the keys; call again to continue",
    ))
}

struct Listed {
    /// The server's time, in seconds.
    now: u64,
    /// The time of the last scan that has finished, or 0. `None` if the index was lost.
    scanned_at: Option<u64>,
    names: Vec<Vec<u8>>,
}

impl Listed {
    /// Whether a scan has finished since the index was created.
    fn is_complete(&self) -> bool {
        self.scanned_at.is_some_and(|at| at > 0)
    }

    fn is_scan_due(&self) -> bool {
        let next = self.scanned_at.unwrap_or(0).saturating_add(SCAN_INTERVAL);
        !self.is_complete() || self.now >= next
    }
}

async fn list<C: ConnectionLike + Clone>(
    connection: &Connection<C>,
    from: &[u8],
    limit: usize,
) -> Result<Listed, Error> {
    let key = key(connection);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX).to_string();
    let [first, last] = MARKS;
    let arguments = [from, limit.as_bytes(), first, last];
    let response = connection
        .run(&LIST_TENANTS, &key, &arguments, None)
        .await?;
    listed(response).ok_or_else(|| failure::unexpected(&key))
}

fn listed(response: Value) -> Option<Listed> {
    let Value::Array(parts) = response else {
        return None;
    };
    let [now, marks, names] = <[Value; 3]>::try_from(parts).ok()?;
    let Value::BulkString(now) = now else {
        return None;
    };
    let times = strings(marks)?.into_iter().map(|mark| time_of(&mark));
    Some(Listed {
        now: str::from_utf8(&now).ok()?.parse().ok()?,
        scanned_at: times.max().flatten(),
        names: strings(names)?,
    })
}

/// The start of a `ZRANGEBYLEX` range after the name.
fn exclusive(name: &[u8]) -> Vec<u8> {
    [b"(", name].concat()
}

fn mark(seconds: u64) -> String {
    format!("{MARK_PREFIX}{seconds}}}")
}

fn time_of(mark: &[u8]) -> Option<u64> {
    let text = str::from_utf8(mark).ok()?;
    let digits = text.strip_prefix(MARK_PREFIX)?.strip_suffix('}')?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed_at(now: u64, scanned_at: Option<u64>) -> Listed {
        Listed {
            now,
            scanned_at,
            names: Vec::new(),
        }
    }

    #[test]
    fn p19_scan_is_due_once_a_day_and_until_one_has_finished() {
        for (now, scanned_at, is_due) in [
            (1_000_000, None, true),
            (1_000_000, Some(0), true),
            (1_000_000, Some(1_000_000), false),
            (1_086_399, Some(1_000_000), false),
            (1_086_400, Some(1_000_000), true),
            // The server's clock was set back.
            (5, Some(1_000_000), false),
            (5, Some(u64::MAX), false),
        ] {
            let listed = listed_at(now, scanned_at);
            assert_eq!(listed.is_scan_due(), is_due, "{now} {scanned_at:?}");
        }
    }

    #[test]
    fn marks_are_no_names() {
        for seconds in [0, 1_764_000_000, u64::MAX] {
            let mark = mark(seconds);
            assert_eq!(time_of(mark.as_bytes()), Some(seconds));
            assert_eq!(decoded(mark.as_bytes()), None);
            assert!(&MARKS[0][1..] <= mark.as_bytes() && mark.as_bytes() < &MARKS[1][1..]);
        }
        for other in ["{scanned:}", "{scanned:x}", "{scanned:1", "a"] {
            assert_eq!(time_of(other.as_bytes()), None, "{other}");
        }
    }
}
