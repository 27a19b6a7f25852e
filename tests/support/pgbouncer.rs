//! A PgBouncer in front of a server, which ends with the test.

use std::{
    env,
    fs::{self, Permissions},
    io::Write,
    net::{TcpListener, TcpStream},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::{NamedTempFile, TempDir};
use tokio::time::{sleep, timeout};

pub(crate) struct PgBouncer {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl PgBouncer {
    /// Starts a proxy to the server on a port, with four connections per database.
    pub(crate) async fn start(server: u16, pool_mode: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("pgbouncer-")
            .tempdir()
            .unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr();
        let port = port.unwrap().port();
        let statements = if supports_prepared_statements() {
            "max_prepared_statements = 200"
        } else {
            ""
        };
        let mut file = NamedTempFile::new_in(directory.path()).unwrap();
        write!(
            file,
            "[databases]\n* = host=127.0.0.1 port={server} user=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = {pool_mode}\ndefault_pool_size = 4\n\
             ignore_startup_parameters = extra_float_digits\n{statements}\n"
        )
        .unwrap();
        let path = directory.path().join("pgbouncer.ini");
        file.persist(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let mut command = Command::new("setpriv");
        // The kernel kills the proxy when the thread that launched it ends without a drop.
        command.args(["--pdeathsig", "KILL"]);
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        let child = command
            .arg(program())
            .arg("--quiet")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let is_up = async {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), is_up).await.unwrap();
        Self {
            child,
            port,
            _directory: directory,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // The proxy may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether transaction pooling supports prepared statements, as version 1.21 does.
pub(crate) fn supports_prepared_statements() -> bool {
    let output = Command::new(program()).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let minor = text.lines().next().and_then(|line| {
        let version = line.strip_prefix("PgBouncer 1.")?;
        version.split('.').next()?.parse::<u32>().ok()
    });
    minor.expect("a version of PgBouncer") >= 21
}

fn program() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|directory| directory.join("pgbouncer"))
        .find(|path| path.is_file())
        .expect("no PgBouncer found; install the Debian package `pgbouncer`")
}
