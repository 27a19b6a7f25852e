//! A PostgreSQL server for one test, which can be stopped, killed and restarted.
//!
//! The server listens on 127.0.0.1 and on a socket in its directory, and trusts all local
//! connections. It always ends with the test process: a shell waits for a pipe from that process to
//! close, stops the server and removes its directory.

#![allow(dead_code, reason = "each test uses a part of this module")]

use std::{
    env,
    fs::{self, File, Permissions},
    io::{Read, Seek, Write},
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sqlx::{
    Connection, Executor, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};

/// Users that can run the server, since root cannot.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// The shell that ends the server, with its directory in `$1`. It ignores interrupts, since it
/// outlives the test.
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
    directory: PathBuf,
    user: Option<&'static str>,
    port: u16,
    databases: AtomicU32,
    guard: Child,
}

impl Server {
    /// Creates a server and starts it.
    pub(crate) fn new() -> Self {
        let server = Self::without_data();
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

    /// Creates a standby of this server, with streaming replication, and starts it.
    pub(crate) fn new_standby(&self) -> Self {
        let standby = Self::without_data();
        let port = self.port.to_string();
        run(standby
            .command("pg_basebackup")
            .args(["--host=127.0.0.1", "--username=postgres", "--port", &port])
            .args(["--write-recovery-conf", "--wal-method=stream"])
            .args(["--checkpoint=fast", "--no-sync"]));
        standby.start();
        standby
    }

    /// Makes a standby a primary.
    pub(crate) fn promote(&self) {
        run(self
            .command("pg_ctl")
            .args(["promote", "--wait", "--silent"]));
    }

    /// Restarts the server with TLS. Connections without TLS stay possible.
    pub(crate) fn accept_tls(&self, certificate: &Path, key: &Path) {
        let data = self.directory.join("data");
        let owner = fs::metadata(&data).unwrap().uid();
        for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
            let file = data.join(name);
            fs::copy(from, &file).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
            chown(&file, Some(owner), None).unwrap();
        }
        let mut settings = fs::OpenOptions::new();
        let settings = settings.append(true).open(data.join("postgresql.conf"));
        settings.unwrap().write_all(b"ssl = on\n").unwrap();
        self.stop();
        self.start();
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn without_data() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("grants-")
            .tempdir()
            .unwrap();
        let directory = directory.keep();
        let is_root = fs::metadata(&directory).unwrap().uid() == 0;
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let server = Self {
            binaries: binaries(),
            user: is_root.then(unprivileged_user),
            directory,
            port: free_port(),
            databases: AtomicU32::new(0),
            guard,
        };
        if let Some(user) = server.user {
            run(Command::new("chown").arg(user).arg(&server.directory));
        }
        server
    }

    /// Starts or restarts the server on its port.
    pub(crate) fn start(&self) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} \
             -c shared_buffers=16MB \
             -c max_wal_size=64MB -c autovacuum=off",
            self.port,
            self.directory.display(),
        );
        let log = self.directory.join("log");
        let mut command = self.command("pg_ctl");
        command.args(["start", "--wait", "--silent", "--options", &options]);
        if let Err(output) = attempt(command.arg("--log").arg(&log)) {
            panic!("{output}{}", fs::read_to_string(log).unwrap_or_default());
        }
    }

    /// Shuts down the server without waiting for its clients.
    pub(crate) fn stop(&self) {
        run(self
            .command("pg_ctl")
            .args(["stop", "--wait", "--silent", "--mode=fast"]));
    }

    /// Kills the server, as in a crash of the machine: only data on disk survives.
    pub(crate) fn kill(&self) {
        let server = self.process();
        // Stopped first, so that it starts no further child.
        signal("-STOP", &server);
        let processes = processes(&server);
        for process in &processes {
            signal("-KILL", process);
        }
        // A new server cannot start while a process holds the old shared memory.
        while processes.iter().any(|process| is_running(process)) {
            pause();
        }
        // The killed process may remain as a zombie, which a new server would treat as running.
        for lock in [
            "data/postmaster.pid",
            &format!(".s.PGSQL.{}.lock", self.port),
        ] {
            fs::remove_file(self.directory.join(lock)).unwrap();
        }
    }

    /// Stops all responses, while connections stay open.
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

    /// Creates an empty database and returns how to connect to it.
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

    /// Returns options that connect through the socket in the server's directory.
    pub(crate) fn by_socket(&self, options: &PgConnectOptions) -> PgConnectOptions {
        options.clone().socket(&self.directory)
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
            .current_dir(&self.directory)
            .arg("--pgdata")
            .arg(self.directory.join("data"))
            .stdin(Stdio::null());
        command
    }

    fn process(&self) -> String {
        let file = fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap();
        file.lines().next().unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes the guard and waits for it.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// The server's programs: on the path, or else the newest of Debian's packages.
fn binaries() -> PathBuf {
    let has_programs = |directory: &PathBuf| {
        let programs = ["initdb", "pg_basebackup", "pg_ctl"];
        programs.iter().all(|name| directory.join(name).exists())
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).find(has_programs);
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let installed = versions
        .map(|version| version.path().join("bin"))
        .filter(has_programs)
        .max_by_key(|directory| {
            let version = directory.parent().and_then(Path::file_name);
            version.and_then(|name| name.to_str()?.parse::<u32>().ok())
        });
    on_path.or(installed).expect(
        "no PostgreSQL server found; install the Debian package `postgresql`, or add its \
         programs to the path",
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
        .expect("root cannot run PostgreSQL; create the user `postgres`")
}

/// A port below the range of outgoing connections, so that it stays free while the server is down.
fn free_port() -> u16 {
    (0..1_000)
        .map(|_| fastrand::u16(20_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

fn run(command: &mut Command) {
    if let Err(output) = attempt(command) {
        panic!("{output}");
    }
}

/// Runs a command with its output in a file: a started server keeps its output open, so a pipe
/// would not end.
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
    let mut message = format!("{command:?}: {status}: ");
    output.rewind().unwrap();
    output.read_to_string(&mut message).unwrap();
    Err(message)
}

/// The server's process, then its children.
fn processes(server: &str) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
    let children = children.split_whitespace().map(str::to_owned);
    std::iter::once(server.to_owned()).chain(children).collect()
}

fn signal(signal: &str, process: &str) {
    // The process may have ended already.
    let _ = Command::new("kill")
        .args([signal, process])
        .stderr(Stdio::null())
        .status();
}

fn is_running(process: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

#[allow(
    clippy::disallowed_methods,
    reason = "processes are polled without a runtime"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
