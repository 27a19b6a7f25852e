//! The server process.

use std::{path::PathBuf, process::Stdio};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, Command},
};

/// A running provider. It ends with this value.
pub(crate) struct Server {
    pub(crate) issuer: String,
    _process: Child,
    _input: ChildStdin,
}

impl Server {
    /// Starts a provider. `None` if it is not installed: the command is in CONTRIBUTING.md.
    pub(crate) async fn start(settings: &Value) -> Option<Self> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oidc_provider");
        if !folder.join("node_modules/oidc-provider").exists() {
            assert!(
                std::env::var_os("OIDC_PROVIDER_REQUIRED").is_none(),
                "oidc-provider is not installed"
            );
            println!("skipped: oidc-provider is not installed, see CONTRIBUTING.md");
            return None;
        }
        let mut process = Command::new("node")
            .arg("server.mjs")
            .current_dir(folder)
            .env("SETTINGS", settings.to_string())
            .env("NODE_ENV", "test")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let issuer = output.lines().next_line().await.unwrap();
        Some(Self {
            issuer: issuer.expect("the server prints its issuer"),
            _process: process,
            _input: input,
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }
}
