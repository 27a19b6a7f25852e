//! The command `list`.

use std::{
    collections::BTreeSet,
    error::Error,
    io::{IsTerminal as _, Write as _, stdout},
    time::{Duration, SystemTime},
};

use serde::Serialize;
use tokio::task::JoinSet;
use tower_oauth2_client::{
    cache::{Cause, Diagnosis},
    clock::{Clock as _, SystemClock},
    tenants::Tenants,
    token::TenantId,
};

use crate::{
    arguments::List,
    exit::Exit,
    pages::Pages,
    progress,
    session::{Session, tenant},
    text::{days_left, time, with_sources},
};

/// The states of a stored grant. That a token was rejected is known to the running program only.
pub(crate) const STATES: [&str; 10] = [
    "absent",
    "fresh",
    "advisory",
    "mandatory",
    "expired",
    "uncertain",
    "reauthorization_required",
    "revoked",
    UNREADABLE,
    OTHER_CLIENT,
];

const UNREADABLE: &str = "unreadable";
const OTHER_CLIENT: &str = "other_client";

/// How many grants are read at once.
const CONCURRENCY: usize = 16;

pub(crate) async fn list(session: &Session, options: &List) -> Result<Exit, Box<dyn Error>> {
    let tenants = session.tenants()?;
    let now = SystemClock.wall();
    let after = options.after.as_deref().map(tenant).transpose()?;
    let mut pages = Pages::new(session.store()?).after(after);
    let limit = options.limit.unwrap_or(u64::MAX);
    let is_sorted = options.sort.is_some();
    let mut out = Output::new(options.json, is_sorted);
    let mut sorted = BTreeSet::new();
    let mut count = 0_u64;
    'pages: while let Some(page) = pages.next().await? {
        for names in page.chunks(CONCURRENCY) {
            for (name, diagnosis) in diagnose(&tenants, names).await? {
                out.progress.inc(1);
                let row = Row::new(&name, &diagnosis, now)?;
                if !row.is_in(options, now) {
                    continue;
                }
                if is_sorted {
                    sorted.insert(Sorted(row));
                    continue;
                }
                if count == limit {
                    break 'pages;
                }
                count += 1;
                out.write(&row)?;
            }
        }
    }
    for Sorted(row) in sorted
        .into_iter()
        .take(limit.try_into().unwrap_or(usize::MAX))
    {
        out.write(&row)?;
    }
    out.progress.finish_and_clear();
    Ok(Exit::Done)
}

/// Reads some grants at once, and returns them in the order of their names.
async fn diagnose(
    tenants: &Tenants,
    names: &[TenantId],
) -> Result<Vec<(TenantId, Diagnosis)>, Box<dyn Error>> {
    let mut reads = JoinSet::new();
    for (index, name) in names.iter().cloned().enumerate() {
        let tenants = tenants.clone();
        reads.spawn(async move {
            let diagnosis = tenants.diagnose(&name).await;
            (index, name, diagnosis)
        });
    }
    let mut read = Vec::new();
    while let Some(one) = reads.join_next().await {
        read.push(one?);
    }
    read.sort_unstable_by_key(|(index, ..)| *index);
    let read = read
        .into_iter()
        .map(|(_, name, diagnosis)| (name, diagnosis));
    Ok(read.collect())
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    tenant: String,
    state: &'static str,
    needs_consent: bool,
    days_left: Option<u64>,
    refresh_token_expires_at: Option<String>,
    access_token_expires_at: Option<String>,
    cause: &'static str,
    error: Option<String>,
    #[serde(skip)]
    ends: Option<SystemTime>,
}

impl Row {
    /// Fails if the store cannot be reached: the rest of the list would fail in the same way.
    fn new(
        name: &TenantId,
        diagnosis: &Diagnosis,
        now: SystemTime,
    ) -> Result<Self, Box<dyn Error>> {
        let error = diagnosis.store_error.as_ref();
        let state = match (diagnosis.cause, error) {
            (_, None) => diagnosis.status.state.as_str(),
            (Cause::OtherClient, _) => OTHER_CLIENT,
            (Cause::StoreUnreadable, _) => UNREADABLE,
            (_, Some(error)) => return Err(error.clone().into()),
        };
        let status = &diagnosis.status;
        let ends = status.refresh_token_expires_at;
        Ok(Self {
            tenant: name.as_str().to_owned(),
            state,
            needs_consent: error.is_none() && status.needs_consent(),
            days_left: ends.map(|ends| days_left(ends, now)),
            refresh_token_expires_at: ends.and_then(time),
            access_token_expires_at: status.expires_at.and_then(time),
            cause: diagnosis.cause.as_str(),
            error: error.map(|error| with_sources(error)),
            ends,
        })
    }

    fn is_in(&self, options: &List, now: SystemTime) -> bool {
        let has_state = options.state.is_empty() || options.state.iter().any(|s| s == self.state);
        let is_within = |within: Duration| {
            let left = self
                .ends
                .map(|ends| ends.duration_since(now).unwrap_or_default());
            left.is_some_and(|left| left <= within)
        };
        has_state && options.expiring_within.is_none_or(is_within)
    }
}

/// A row in the order of the time that is left. Unknown ends come last.
#[derive(PartialEq, Eq)]
struct Sorted(Row);

impl Ord for Sorted {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |row: &Self| (row.0.ends.is_none(), row.0.ends, row.0.tenant.clone());
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Sorted {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The rows on the standard output, and the progress where it does not mix with them.
struct Output {
    is_json: bool,
    has_header: bool,
    progress: indicatif::ProgressBar,
}

impl Output {
    fn new(is_json: bool, is_sorted: bool) -> Self {
        let progress = progress::counter();
        if stdout().is_terminal() && !is_sorted {
            progress.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        let has_header = false;
        Self {
            is_json,
            has_header,
            progress,
        }
    }

    fn write(&mut self, row: &Row) -> Result<(), Box<dyn Error>> {
        let mut out = stdout().lock();
        if self.is_json {
            writeln!(out, "{}", serde_json::to_string(row)?)?;
            return Ok(());
        }
        if !self.has_header {
            self.has_header = true;
            writeln!(out, "{:24}  {:>9}  TENANT", "STATE", "DAYS LEFT")?;
        }
        let days = row
            .days_left
            .map_or_else(|| "-".to_owned(), |days| days.to_string());
        write!(out, "{:24}  {days:>9}  {}", row.state, row.tenant)?;
        if let Some(error) = &row.error {
            write!(out, "  ({error})")?;
        }
        writeln!(out)?;
        Ok(())
    }
}
