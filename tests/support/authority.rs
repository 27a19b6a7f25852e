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
        authority.issue("server", "localhost");
        authority
    }

    /// Issues a certificate, and returns its file and that of its key.
    pub(crate) fn issue(&self, file: &str, subject: &str) -> [PathBuf; 2] {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
             -subj /CN={subject} -keyout {file}.key -out {file}.csr",
        ));
        self.openssl(&format!(
            "x509 -req -in {file}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile extensions -out {file}.pem",
        ));
        let files = [format!("{file}.pem"), format!("{file}.key")].map(|file| self.file(&file));
        // Servers run as another user.
        for (file, mode) in [(&self.file(""), 0o755), (&files[1], 0o644)] {
            fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
        }
        files
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
