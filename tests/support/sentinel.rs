//! A Redis primary with replicas, three Sentinels that watch them, and an HAProxy that follows the
//! primary. All end with the test.

use std::{
    collections::HashMap,
    env,
    fmt::Write,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::redis_server::{Server, free_port, program};

/// Longer than a failover takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The name by which the Sentinels know the primary.
pub(crate) const NAME: &str = "grants";

pub(crate) struct Deployment {
    /// The first was the primary at the start.
    pub(crate) servers: Vec<Server>,
    sentinels: Vec<Daemon>,
    proxy: Daemon,
    _directory: TempDir,
}

/// A process that ends with this value.
struct Daemon {
    child: Child,
    port: u16,
}

impl Deployment {
    /// Starts a primary and two replicas with these options.
    pub(crate) async fn start(options: &[&str]) -> Self {
        let mut servers = vec![Server::launch_with(options).await];
        let primary = servers[0].port().to_string();
        for _ in 0..2 {
            let replica = ["--replicaof", "127.0.0.1", &primary];
            servers.push(Server::launch_with(&[options, &replica].concat()).await);
        }
        let directory = tempfile::Builder::new().prefix("sentinel-").tempdir();
        let directory = directory.unwrap();
        let sentinels: Vec<_> = (0..3)
            .map(|number| {
                let port = free_port();
                let file = directory.path().join(format!("{number}.conf"));
                let settings = format!(
                    "port {port}\nbind 127.0.0.1\n\
                     sentinel monitor {NAME} 127.0.0.1 {primary} 2\n\
                     sentinel down-after-milliseconds {NAME} 1000\n\
                     sentinel failover-timeout {NAME} 5000\n"
                );
                fs::write(&file, settings).unwrap();
                let program = program();
                let child = daemon(&[
                    program.to_str().unwrap(),
                    file.to_str().unwrap(),
                    "--sentinel",
                ]);
                Daemon { child, port }
            })
            .collect();
        let proxy = free_port();
        let file = directory.path().join("haproxy.cfg");
        let ports: Vec<_> = sentinels.iter().map(|sentinel| sentinel.port).collect();
        fs::write(&file, proxy_settings(proxy, &servers, &ports)).unwrap();
        let haproxy = haproxy();
        let child = daemon(&[haproxy.to_str().unwrap(), "-f", file.to_str().unwrap()]);
        let deployment = Self {
            servers,
            sentinels,
            proxy: Daemon { child, port: proxy },
            _directory: directory,
        };
        timeout(LIMIT, deployment.is_ready()).await.unwrap();
        deployment
    }

    /// The URL of the proxy.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.proxy.port)
    }

    /// The URLs of the Sentinels.
    pub(crate) fn sentinels(&self) -> Vec<String> {
        let url = |sentinel: &Daemon| format!("redis://127.0.0.1:{}/", sentinel.port);
        self.sentinels.iter().map(url).collect()
    }

    /// The server that a Sentinel names.
    pub(crate) async fn primary(&self) -> Option<usize> {
        let client = redis::Client::open(self.sentinels().remove(0)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        let mut command = redis::cmd("SENTINEL");
        let command = command.arg("get-master-addr-by-name").arg(NAME);
        let (_, port): (String, u16) = command.query_async(&mut connection).await.ok()?;
        self.servers.iter().position(|server| server.port() == port)
    }

    async fn is_ready(&self) {
        for sentinel in self.sentinels() {
            let client = redis::Client::open(sentinel).unwrap();
            until(async || {
                let mut connection = client.get_multiplexed_async_connection().await.ok()?;
                let mut command = redis::cmd("SENTINEL");
                let command = command.arg("master").arg(NAME);
                let state: HashMap<String, String> =
                    command.query_async(&mut connection).await.ok()?;
                let is_complete = state["num-other-sentinels"] == "2" && state["num-slaves"] == "2";
                is_complete.then_some(())
            })
            .await;
        }
        for replica in &self.servers[1..] {
            until(async || {
                let info: String = replica.try_command("INFO replication").await.ok()?;
                info.contains("master_link_status:up").then_some(())
            })
            .await;
        }
        let client = redis::Client::open(self.url()).unwrap();
        until(async || {
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            redis::cmd("PING").exec_async(&mut connection).await.ok()
        })
        .await;
    }
}

/// Repeats an attempt until it succeeds.
async fn until<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// New connections reach the server that two Sentinels name. A server that reports another role
/// loses its connections.
fn proxy_settings(port: u16, servers: &[Server], sentinels: &[u16]) -> String {
    let mut settings = format!(
        "defaults\n mode tcp\n timeout connect 1s\n timeout check 500ms\n timeout client 1h\n \
         timeout server 1h\n default-server check inter 200ms fall 1 rise 1 on-marked-down \
         shutdown-sessions\nfrontend grants\n bind 127.0.0.1:{port}\n"
    );
    for (number, _) in servers.iter().enumerate() {
        writeln!(
            settings,
            " use_backend redis{number} if {{ nbsrv(sentinels{number}) ge 2 }}"
        )
        .unwrap();
    }
    for (number, server) in servers.iter().enumerate() {
        let server = server.port();
        writeln!(
            settings,
            "backend sentinels{number}\n option tcp-check\n tcp-check send \
             SENTINEL\\ get-master-addr-by-name\\ {NAME}\\r\\n\n tcp-check expect string {server}"
        )
        .unwrap();
        for sentinel in sentinels {
            writeln!(settings, " server s{sentinel} 127.0.0.1:{sentinel}").unwrap();
        }
        writeln!(
            settings,
            "backend redis{number}\n option tcp-check\n tcp-check send info\\ replication\\r\\n\n \
             tcp-check expect string role:master\n server redis 127.0.0.1:{server}"
        )
        .unwrap();
    }
    settings
}

fn daemon(words: &[&str]) -> Child {
    let mut command = Command::new("setpriv");
    // The kernel kills the process when the thread that launched it ends without a drop.
    command.args(["--pdeathsig", "KILL", "--"]).args(words);
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).spawn().unwrap()
}

fn haproxy() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|directory| directory.join("haproxy"))
        .find(|path| path.is_file())
        .expect("no HAProxy found; install the Debian package `haproxy`")
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
