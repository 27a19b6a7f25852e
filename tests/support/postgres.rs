//! A PostgreSQL server of a test's own, which can be stopped, killed and started again.
//!
//! It listens on 127.0.0.1 and on a socket in its folder, trusts everyone there, and ends with the test, however that ends: a
//! shell that waits for the test's end of a pipe to close stops it and removes its folder.

#![allow(dead_code, reason = "each test uses its own part of this")]

use std::{
    env,
    fs::{self, File},
    io::{Read, Seek},
    net::TcpListener,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sqlx::{
    Connection, Executor, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};

/// Whose rights the server has, as root may not run one.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// What ends it all: the folder is `$1`. Interrupts are for the test alone, which this outlives by a moment.
const GUARD: &str = r#"
    trap '' INT TERM HUP
    cat >/dev/null
    server=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
    if [ -n "$server" ]; then
        kill -QUIT "$server" 2>/dev/null
        for _ in $(seq 50); do
            kill -0 "$server" 2>/dev/null || break
            sleep 0.1
        done
    fi
    rm -rf "$1"
"#;

pub(crate) struct Server {
    binaries: PathBuf,
    folder: PathBuf,
    user: Option<&'static str>,
    port: u16,
    databases: AtomicU32,
    guard: Child,
}

impl Server {
    /// Makes a server and starts it.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("grants-")
            .tempdir()
            .unwrap();
        let folder = folder.keep();
        let is_root = fs::metadata(&folder).unwrap().uid() == 0;
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let server = Self {
            binaries: binaries(),
            user: is_root.then(unprivileged_user),
            folder,
            port: free_port(),
            databases: AtomicU32::new(0),
            guard,
        };
        if let Some(user) = server.user {
            run(Command::new("chown").arg(user).arg(&server.folder));
        }
        run(server
            .command("initdb")
            .args([
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
            ])
            .args(["--no-sync", "--no-instructions"]));
        server.start();
        server
    }

    /// Starts it (again), on the same port.
    pub(crate) fn start(&self) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c shared_buffers=16MB \
             -c max_wal_size=64MB -c autovacuum=off",
            self.port,
            self.folder.display(),
        );
        let log = self.folder.join("log");
        let mut command = self.command("pg_ctl");
        command.args(["start", "--wait", "--silent", "--options", &options]);
        if let Err(said) = attempt(command.arg("--log").arg(&log)) {
            panic!("{said}{}", fs::read_to_string(log).unwrap_or_default());
        }
    }

    /// Stops it in good order, but without waiting for those who are connected.
    pub(crate) fn stop(&self) {
        run(self
            .command("pg_ctl")
            .args(["stop", "--wait", "--silent", "--mode=fast"]));
    }

    /// Ends it at once, as a crash of the machine would: nothing that is only in its memory survives.
    pub(crate) fn kill(&self) {
        let server = self.process();
        // So that it begins nothing new between the look at its children and their end.
        signal("-STOP", &server);
        let processes = processes(&server);
        for process in &processes {
            signal("-KILL", process);
        }
        // Until nobody holds the memory that a new server would have to share.
        while processes.iter().any(|process| is_running(process)) {
            pause();
        }
        // Whoever adopted it may be slow to bury it, and a new server would take it for one that runs.
        for lock in [
            "data/postmaster.pid",
            &format!(".s.PGSQL.{}.lock", self.port),
        ] {
            fs::remove_file(self.folder.join(lock)).unwrap();
        }
    }

    /// Makes it say nothing any more, while its connections stay open.
    pub(crate) fn freeze(&self) {
        for process in processes(&self.process()) {
            signal("-STOP", &process);
        }
    }

    pub(crate) fn thaw(&self) {
        for process in processes(&self.process()) {
            signal("-CONT", &process);
        }
    }

    /// How to connect to a new, empty database.
    pub(crate) async fn database(&self) -> PgConnectOptions {
        let number = self.databases.fetch_add(1, Ordering::SeqCst);
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username("postgres")
            .ssl_mode(PgSslMode::Disable);
        let mut connection = PgConnection::connect_with(&options.clone().database("postgres"))
            .await
            .unwrap();
        connection
            .execute(&*format!("CREATE DATABASE test_{number}"))
            .await
            .unwrap();
        connection.close().await.unwrap();
        options.database(&format!("test_{number}"))
    }

    /// The same through the socket of its folder.
    pub(crate) fn by_socket(&self, options: &PgConnectOptions) -> PgConnectOptions {
        options.clone().socket(&self.folder)
    }

    fn command(&self, name: &str) -> Command {
        let binary = self.binaries.join(name);
        let mut command = match self.user {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command
            .current_dir(&self.folder)
            .arg("--pgdata")
            .arg(self.folder.join("data"))
            .stdin(Stdio::null());
        command
    }

    fn process(&self) -> String {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        file.lines().next().unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes the guard, and waits for it.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// Those on the path, or else the newest that Debian has installed.
fn binaries() -> PathBuf {
    let is_there =
        |folder: &PathBuf| folder.join("initdb").exists() && folder.join("pg_ctl").exists();
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).find(is_there);
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let installed = versions
        .map(|version| version.path().join("bin"))
        .filter(is_there)
        .max_by_key(|folder| {
            let version = folder.parent().and_then(Path::file_name);
            version.and_then(|name| name.to_str()?.parse::<u32>().ok())
        });
    on_path.or(installed).expect(
        "no PostgreSQL server: install the Debian package `postgresql`, or put initdb and pg_ctl on the path",
    )
}

fn unprivileged_user() -> &'static str {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    USERS
        .into_iter()
        .find(|user| {
            users
                .lines()
                .any(|line| line.split(':').next() == Some(*user))
        })
        .expect("root may not run PostgreSQL, and there is no user postgres or nobody to run it")
}

/// Below those that the system lends to outgoing connections, so that it stays free while the server is down.
fn free_port() -> u16 {
    (0..1_000)
        .map(|_| fastrand::u16(20_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

fn run(command: &mut Command) {
    if let Err(said) = attempt(command) {
        panic!("{said}");
    }
}

/// Its output goes to a file: a server that is started holds on to it, and a pipe would not end.
fn attempt(command: &mut Command) -> Result<(), String> {
    let mut output = tempfile::tempfile().unwrap();
    let share = |file: &File| Stdio::from(file.try_clone().unwrap());
    let status = command
        .stdout(share(&output))
        .stderr(share(&output))
        .status()
        .unwrap();
    if status.success() {
        return Ok(());
    }
    let mut said = format!("{command:?}: {status}: ");
    output.rewind().unwrap();
    output.read_to_string(&mut said).unwrap();
    Err(said)
}

/// The server first, then those that work for it.
fn processes(server: &str) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
    let children = children.split_whitespace().map(str::to_owned);
    std::iter::once(server.to_owned()).chain(children).collect()
}

fn signal(signal: &str, process: &str) {
    // One that has just ended by itself is as good.
    let _ = Command::new("kill")
        .args([signal, process])
        .stderr(Stdio::null())
        .status();
}

fn is_running(process: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

#[expect(
    clippy::disallowed_methods,
    reason = "processes are waited for, without a runtime"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
