//! A Redis server for one test, which ends with the test.

#![allow(dead_code, reason = "each test uses a part of this module")]

use std::{
    env, fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, chown},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// Longer than a start takes on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The ids of the unprivileged user and its group.
const UNPRIVILEGED: u32 = 65_534;

/// A server with a directory of its own, which is synced on each write.
pub(crate) struct Server {
    child: Child,
    port: u16,
    directory: TempDir,
    arguments: Vec<String>,
}

impl Server {
    pub(crate) async fn launch() -> Self {
        Self::launch_with(&[]).await
    }

    /// Launches a server with arguments before the usual ones.
    pub(crate) async fn launch_with(arguments: &[&str]) -> Self {
        let mut arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        // Another process may take the free port first.
        for _ in 0..5 {
            let directory = tempfile::Builder::new().prefix("redis-").tempdir().unwrap();
            if is_root() {
                chown(directory.path(), Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
            }
            let port = free_port();
            let child = spawn(port, &directory, &arguments);
            let mut server = Self {
                child,
                port,
                directory,
                arguments,
            };
            if server.is_up().await {
                return server;
            }
            arguments = std::mem::take(&mut server.arguments);
        }
        panic!("no server has started");
    }

    /// Restarts the server with its port and its data.
    pub(crate) async fn start(&mut self) {
        assert!(
            self.child.try_wait().unwrap().is_some(),
            "the server is running"
        );
        self.child = spawn(self.port, &self.directory, &self.arguments);
        let log = self.directory.path().join("log");
        assert!(
            self.is_up().await,
            "{}",
            fs::read_to_string(log).unwrap_or_default()
        );
    }

    /// Shuts the server down.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        self.child.wait().unwrap();
    }

    /// Kills the server, as in a crash.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops all responses until `thaw`.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Runs a command, with words separated by spaces, over a connection of its own.
    pub(crate) async fn command<T: redis::FromRedisValue>(&self, words: &str) -> T {
        self.try_command(words).await.unwrap()
    }

    pub(crate) async fn try_command<T: redis::FromRedisValue>(
        &self,
        words: &str,
    ) -> redis::RedisResult<T> {
        let mut connection = self.client().get_multiplexed_async_connection().await?;
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>());
        command.query_async(&mut connection).await
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.unwrap().success());
    }

    /// Waits until this server responds on the port. Returns `false` if another server does.
    async fn is_up(&mut self) -> bool {
        let own = format!("process_id:{}\r", self.child.id());
        let is_ready = async {
            while self.child.try_wait().unwrap().is_none() {
                if let Ok(info) = self.try_command::<String>("INFO").await {
                    if !info.contains(&own) {
                        return false;
                    }
                    if info.contains("\nloading:0\r") {
                        return true;
                    }
                }
                sleep(Duration::from_millis(20)).await;
            }
            false
        };
        timeout(START_TIMEOUT, is_ready).await.unwrap_or(false)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The server may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, directory: &TempDir, arguments: &[String]) -> Child {
    let program = program();
    let mut command = if let Some(setpriv) = find("setpriv") {
        let mut command = Command::new(setpriv);
        // The kernel kills the server when the thread that launched it ends without a drop.
        command.args(["--pdeathsig", "KILL"]);
        if is_root() {
            let (user, group) = (
                format!("--reuid={UNPRIVILEGED}"),
                format!("--regid={UNPRIVILEGED}"),
            );
            command.args([&user, &group, "--clear-groups"]);
        }
        command.arg("--").arg(program);
        command
    } else {
        Command::new(program)
    };
    command
        .args(arguments)
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--appendonly", "yes", "--appendfsync", "always"])
        .args(["--save", "", "--logfile", "log", "--dir"])
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

pub(crate) fn program() -> PathBuf {
    find("redis-server")
        .or_else(|| find("valkey-server"))
        .expect("no Redis server found; install the Debian package `redis-server`")
}

fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// A free port. The cluster bus needs the port 10,000 above it.
pub(crate) fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let second = port.checked_add(10_000);
        if second.is_some_and(|second| TcpListener::bind(("127.0.0.1", second)).is_ok()) {
            return port;
        }
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
