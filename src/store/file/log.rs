//! The log of saves, by which the processes that share a directory learn of each other.
//!
//! Each save appends a line with its generation and tenant to one file. Other processes read what
//! was appended since their last read, which costs the same for one grant and for 100,000.
//!
//! ```text
//! 8f14e45fceea167a 0000000000000000        the ids of this log and of the one before it
//!
//! 7 customer-1
//! ```
//!
//! A line is one write, which the operating system appends as a whole. It starts with a line feed,
//! so that a line that a power failure has cut does not damage the next one. A log that has become
//! large is replaced by a new one, which names it. A reader keeps the replaced log open and reads
//! it to its end. A writer that finds the log replaced after its write repeats the line in the new
//! log. So no line is lost, and a repeated line is harmless.
//!
//! The log is not durable: after a power failure no process has missed anything.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    sync::Arc,
    time::Duration,
};

use super::{
    directory::{Access, Directory, Problem},
    location::Location,
    lock::Lock,
};
use crate::token::{Generation, TenantId};

const NAME: &str = ".saves";
const LOCK: &str = ".saves-lock";
const NEW: &str = ".saves-new";

/// About 20,000 saves. A reader that misses more than one whole log looks at all its grants.
const LARGEST_LOG: u64 = 1024 * 1024;

/// Two ids of 16 digits, a space and a line feed.
const HEADER: usize = 34;

/// How often a line is written to a log that another process replaces or creates at the same time.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(5);

/// Identifies a log. 0 stands for none.
type Id = u64;

/// The ids in the first line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    id: Id,
    previous: Id,
}

impl Header {
    fn text(self) -> String {
        format!("{:016x} {:016x}\n", self.id, self.previous)
    }

    fn read(mut log: &File) -> io::Result<Self> {
        let mut bytes = [0; HEADER];
        log.seek(SeekFrom::Start(0))?;
        log.read_exact(&mut bytes)?;
        let id = |digits: &[u8]| {
            let digits = str::from_utf8(digits).ok()?;
            Id::from_str_radix(digits, 16).ok()
        };
        match (id(&bytes[..16]), id(&bytes[17..33]), bytes[16], bytes[33]) {
            (Some(id), Some(previous), b' ', b'\n') if id != 0 => Ok(Self { id, previous }),
            _ => Err(io::Error::other("the log of saves has no header")),
        }
    }
}

/// Opens the log. `None` if there is none.
fn open(directory: &Directory) -> Result<Option<File>, Problem> {
    directory.open_file(NAME, Access::Append)
}

#[expect(
    clippy::disallowed_methods,
    reason = "runs on a thread for blocking tasks"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// Appends a line. Blocks for microseconds.
pub(super) fn append(directory: &Directory, tenant: &TenantId, generation: Generation) {
    let name: String = form_urlencoded::byte_serialize(tenant.as_str().as_bytes()).collect();
    let line = format!("\n{generation} {name}\n");
    for attempt in 0..ATTEMPTS {
        if attempt > 1 {
            pause();
        }
        // An error must not fail the save. The grant is loaded before its next refresh in any case.
        if let Ok(true) = try_append(directory, &line) {
            return;
        }
    }
}

/// Returns false if the log was replaced meanwhile.
fn try_append(directory: &Directory, line: &str) -> Result<bool, Problem> {
    let log = match open(directory) {
        Ok(Some(log)) if log.metadata()?.len() < LARGEST_LOG => log,
        Ok(_) | Err(Problem::Rejected(_)) => {
            replace(directory)?;
            open(directory)?.ok_or(io::ErrorKind::NotFound)?
        }
        Err(error) => return Err(error),
    };
    let Ok(header) = Header::read(&log) else {
        replace(directory)?;
        return Ok(false);
    };
    (&log).write_all(line.as_bytes())?;
    let current = open(directory)?.ok_or(io::ErrorKind::NotFound)?;
    Ok(Header::read(&current)? == header)
}

/// Replaces a log that is missing, too large, damaged or not to be trusted, unless another process
/// is doing that.
fn replace(directory: &Directory) -> Result<(), Problem> {
    let Some(_lock) = Lock::try_acquire(directory, LOCK)? else {
        return Ok(());
    };
    let mut previous = 0;
    if let Ok(Some(log)) = open(directory)
        && let Ok(header) = Header::read(&log)
    {
        if log.metadata()?.len() < LARGEST_LOG {
            return Ok(());
        }
        previous = header.id;
    }
    let header = Header {
        id: fastrand::u64(1..),
        previous,
    };
    // A crash may have left one.
    let _ = directory.remove(NEW);
    directory
        .create_file(NEW)?
        .write_all(header.text().as_bytes())?;
    Ok(directory.rename(NEW, NAME)?)
}

/// The lines that were appended since the last read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) saves: Vec<(TenantId, Generation)>,
    /// Whether other saves may have been missed.
    pub(super) is_missed: bool,
}

/// Reads the log from its end on.
#[derive(Debug)]
pub(super) struct LogReader {
    location: Arc<Location>,
    has_begun: bool,
    /// The log that is being read, and its id.
    log: Option<(File, Id)>,
    offset: u64,
}

impl LogReader {
    pub(super) fn new(location: Arc<Location>) -> Self {
        Self {
            location,
            has_begun: false,
            log: None,
            offset: 0,
        }
    }

    /// Reads what was appended since the last call. The first call has missed all earlier saves.
    pub(super) fn read(&mut self) -> Appended {
        let mut appended = Appended::default();
        // Looked up first: a writer that appends to a replaced log from now on notices that.
        let directory = self.location.enter().ok();
        let current = directory.and_then(|directory| open(&directory).ok()?);
        let current = current.and_then(|log| Some((Header::read(&log).ok()?, log)));
        self.drain(&mut appended);
        let known = self.log.as_ref().map_or(0, |(_, id)| *id);
        match current {
            // Missing, or damaged. What follows will not name the known log.
            None => appended.is_missed |= !self.has_begun,
            Some((header, _)) if header.id == known => {}
            Some((header, log)) => {
                let follows = self.has_begun && header.previous == known;
                self.offset = HEADER as u64;
                if !follows {
                    appended.is_missed = true;
                    self.offset = log.metadata().map_or(self.offset, |log| log.len());
                }
                self.log = Some((log, header.id));
                self.drain(&mut appended);
            }
        }
        self.has_begun = true;
        appended
    }

    /// Reads the complete lines up to the end of the log.
    fn drain(&mut self, appended: &mut Appended) {
        let Some((log, _)) = &mut self.log else {
            return;
        };
        let mut bytes = Vec::new();
        let read = log
            .seek(SeekFrom::Start(self.offset))
            .and_then(|_| log.read_to_end(&mut bytes));
        if read.is_err() {
            appended.is_missed = true;
            return;
        }
        let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            return;
        };
        let lines = &bytes[..=last];
        self.offset += lines.len() as u64;
        for line in lines.split(|byte| *byte == b'\n') {
            match parse(line) {
                Some(save) => appended.saves.push(save),
                None => appended.is_missed |= !line.is_empty(),
            }
        }
    }
}

fn parse(line: &[u8]) -> Option<(TenantId, Generation)> {
    let (generation, name) = str::from_utf8(line).ok()?.split_once(' ')?;
    let generation = Generation::from_u64(generation.parse().ok()?);
    let (name, _) = form_urlencoded::parse(name.as_bytes()).next()?;
    Some((TenantId::new(name).ok()?, generation))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// An empty store.
    fn scene() -> (tempfile::TempDir, Arc<Location>, Directory) {
        let temporary = tempfile::tempdir().unwrap();
        let location = Arc::new(Location::open(temporary.path(), false, false).unwrap());
        let directory = location.enter().unwrap();
        (temporary, location, directory)
    }

    fn saved(directory: &Directory, name: &str, generation: u64) -> (TenantId, Generation) {
        let save = (
            TenantId::new(name).unwrap(),
            Generation::from_u64(generation),
        );
        append(directory, &save.0, save.1);
        save
    }

    fn found(saves: Vec<(TenantId, Generation)>) -> Appended {
        Appended {
            saves,
            is_missed: false,
        }
    }

    fn missed() -> Appended {
        Appended {
            saves: Vec::new(),
            is_missed: true,
        }
    }

    #[test]
    fn p06_reader_finds_what_was_appended_since_its_last_read() {
        let (_temporary, location, path) = scene();
        let path = &path;
        let mut early = LogReader::new(Arc::clone(&location));
        assert_eq!(early.read(), missed());
        assert_eq!(early.read(), found(vec![]));
        let first = ["acme", " a b+%", "é\u{1f600}"].map(|name| saved(path, name, 1));
        assert_eq!(early.read(), found(first.to_vec()));
        let mut late = LogReader::new(Arc::clone(&location));
        assert_eq!(late.read(), missed());
        let second = saved(path, "acme", 2);
        for reader in [&mut early, &mut late] {
            assert_eq!(reader.read(), found(vec![second.clone()]));
            assert_eq!(reader.read(), found(vec![]));
        }
    }

    #[test]
    fn p06_replaced_log_is_read_to_its_end() {
        let (_temporary, location, path) = scene();
        let path = &path;
        let mut reader = LogReader::new(Arc::clone(&location));
        let mut slow = LogReader::new(Arc::clone(&location));
        reader.read();
        slow.read();
        let fill = |from: u64| -> Vec<_> {
            let log = open(path).unwrap();
            let id = log.map(|log| Header::read(&log).unwrap().id);
            (from..from + 10_000)
                .map(|generation| saved(path, &"x".repeat(255), generation))
                .take_while(|_| {
                    let log = open(path).unwrap().unwrap();
                    let now = Header::read(&log).unwrap().id;
                    id.is_none_or(|id| id == now) && log.metadata().unwrap().len() < LARGEST_LOG
                })
                .collect()
        };
        let first = fill(1);
        let count = reader.read().saves.len();
        assert!(count >= first.len());
        slow.read();
        let after = saved(path, "acme", 1);
        assert_eq!(reader.read(), found(vec![after.clone()]), "in the next log");
        fill(9_000);
        saved(path, "acme", 2);
        assert!(!reader.read().is_missed);
        assert!(slow.read().is_missed, "it missed a whole log");
    }

    #[test]
    fn p06_damaged_or_deleted_log_is_replaced_and_counts_as_missed() {
        let (_temporary, location, path) = scene();
        let path = &path;
        let mut reader = LogReader::new(Arc::clone(&location));
        reader.read();
        saved(path, "acme", 1);
        reader.read();
        path.remove(NAME).unwrap();
        assert_eq!(reader.read(), found(vec![]));
        saved(path, "acme", 2);
        assert!(reader.read().is_missed);
        fs::write(path.path().join(NAME), [0; 100]).unwrap();
        saved(path, "acme", 3);
        assert!(reader.read().is_missed);
        let mut log = open(path).unwrap().unwrap();
        log.write_all(b"half a li").unwrap();
        let next = saved(path, "acme", 4);
        let appended = reader.read();
        assert!(appended.is_missed);
        assert_eq!(appended.saves, vec![next]);
        assert_eq!(reader.read(), found(vec![]));
    }

    #[test]
    fn p06_line_that_is_not_complete_is_read_later() {
        let (_temporary, location, path) = scene();
        let path = &path;
        let mut reader = LogReader::new(Arc::clone(&location));
        reader.read();
        let first = saved(path, "acme", 1);
        let mut log = open(path).unwrap().unwrap();
        log.write_all(b"\n2 ac").unwrap();
        assert_eq!(reader.read(), found(vec![first]));
        log.write_all(b"me\n").unwrap();
        let second = (TenantId::new("acme").unwrap(), Generation::from_u64(2));
        assert_eq!(reader.read(), found(vec![second]));
    }

    #[cfg(unix)]
    #[test]
    fn p23_log_that_is_not_trusted_is_replaced() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};

        let (temporary, location, directory) = scene();
        let (log, other) = (temporary.path().join(NAME), temporary.path().join("other"));
        let mut generation = 0;
        let mut is_replaced = |how: &str| {
            let mut reader = LogReader::new(Arc::clone(&location));
            reader.read();
            generation += 2;
            saved(&directory, "acme", generation);
            assert_ne!(reader.read(), found(vec![]), "{how}");
            let next = saved(&directory, "acme", generation + 1);
            assert_eq!(reader.read(), found(vec![next]), "{how}");
        };
        fs::write(&other, "").unwrap();
        for target in [other.clone(), temporary.path().join("missing")] {
            let _ = fs::remove_file(&log);
            symlink(&target, &log).unwrap();
            is_replaced("a link");
        }
        assert_eq!(fs::read(&other).unwrap(), b"", "a link is not followed");
        assert!(!temporary.path().join("missing").exists());
        fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).unwrap();
        is_replaced("writable by others");
        fs::hard_link(&log, temporary.path().join("second")).unwrap();
        is_replaced("a hard link");
    }
}
