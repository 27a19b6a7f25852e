//! A Redis server of a test's own, that ends with it.

#![allow(dead_code, reason = "each test uses its own part of this")]

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

/// Beyond what a start takes on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

/// The user `nobody`, and its group.
const NOBODY: u32 = 65_534;

/// Keeps what it has in a folder of its own, synced with each write.
pub(crate) struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
    arguments: Vec<String>,
}

impl Server {
    pub(crate) async fn begin() -> Self {
        Self::begin_with(&[]).await
    }

    /// With settings that go before the usual ones.
    pub(crate) async fn begin_with(arguments: &[&str]) -> Self {
        let mut arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        // Between finding a free port and listening to it somebody else may take it.
        for _ in 0..5 {
            let folder = tempfile::Builder::new().prefix("redis-").tempdir().unwrap();
            if is_root() {
                chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            }
            let port = free_port();
            let child = spawn(port, &folder, &arguments);
            let mut server = Self {
                child,
                port,
                folder,
                arguments,
            };
            if server.is_up().await {
                return server;
            }
            arguments = std::mem::take(&mut server.arguments);
        }
        panic!("no server will start");
    }

    /// Once more, after it has been ended: on the same port, with what it has kept.
    pub(crate) async fn start(&mut self) {
        assert!(self.child.try_wait().unwrap().is_some(), "it runs already");
        self.child = spawn(self.port, &self.folder, &self.arguments);
        let log = self.folder.path().join("log");
        assert!(
            self.is_up().await,
            "{}",
            fs::read_to_string(log).unwrap_or_default()
        );
    }

    /// In good order.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        self.child.wait().unwrap();
    }

    /// At once, as by a crash.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Alive, but answers nothing until it is thawed.
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

    /// What somebody else does, over a connection of its own: a command, its words between blanks.
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

    /// Whether it, and no other, has come to answer on the port.
    async fn is_up(&mut self) -> bool {
        let own = format!("process_id:{}\r", self.child.id());
        let answers = async {
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
        timeout(PATIENCE, answers).await.unwrap_or(false)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, folder: &TempDir, arguments: &[String]) -> Child {
    let program = program();
    let mut command = if let Some(setpriv) = find("setpriv") {
        let mut command = Command::new(setpriv);
        // The kernel ends it with the thread that begins it, should that not come to drop it.
        command.args(["--pdeathsig", "KILL"]);
        if is_root() {
            let (user, group) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
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
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn program() -> PathBuf {
    find("redis-server")
        .or_else(|| find("valkey-server"))
        .expect("this test needs a server: install Debian's package redis-server")
}

fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// One that leaves room for a cluster's second port, 10,000 above it.
fn free_port() -> u16 {
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
    fs::metadata("/proc/self").is_ok_and(|of_this_process| of_this_process.uid() == 0)
}
