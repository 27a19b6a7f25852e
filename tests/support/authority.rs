//! A certificate authority for one test, with a certificate for the server `localhost`.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
};

use tempfile::TempDir;

pub(crate) struct Authority {
    directory: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("ca-").tempdir().unwrap();
        let authority = Self { directory };
        let extensions = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\n";
        fs::write(authority.file("extensions"), extensions).unwrap();
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
             -subj /CN=authority -keyout ca.key -out ca.pem",
        );
        authority.openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
             -subj /CN=localhost -keyout server.key -out server.csr",
        );
        authority.openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile extensions -out server.pem",
        );
        // Servers run as another user.
        for (name, mode) in [("", 0o755), ("server.key", 0o644)] {
            fs::set_permissions(authority.file(name), Permissions::from_mode(mode)).unwrap();
        }
        authority
    }

    /// The certificate of the authority.
    pub(crate) fn root(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// The certificate of the server.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.file("server.pem")
    }

    /// The key of the server.
    pub(crate) fn key(&self) -> PathBuf {
        self.file("server.key")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace());
        run(command.current_dir(&self.directory));
    }
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .expect("install the Debian package `openssl`");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}
