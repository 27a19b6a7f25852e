//! The commands, each in a process of its own. Every output is searched for secrets.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use clap::{CommandFactory as _, Parser as _};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};
use tower_oauth2_client::{
    clock::{Clock as _, SystemClock},
    provider,
    sandbox::Sandbox,
    store::{AnyStore, EncryptedStore, EncryptionKey, EncryptionKeys, FileStore, TokenStore},
    token::{
        AccessToken, Generation, Grant, GrantState, ReauthorizationReason, RefreshToken, TenantId,
        TokenSet,
    },
};

use super::{arguments::Arguments, exit::Exit};

mod lists;
mod migrations;
mod parsing;
mod reencryption;
mod servers;
mod single_grants;

const DAY: Duration = Duration::from_secs(86_400);

/// A part of each token, so that a search of an output finds all of them.
const SECRET: &str = "seeded-secret";

/// The variable that makes a process of this test binary the tool.
const ARGUMENTS: &str = "GRANTS_TEST_ARGUMENTS";

/// The test harness writes this before the tool starts.
const HARNESS: &str = "\nrunning 1 test\n";

/// The tool itself, in the processes that the tests start.
#[test]
#[ignore = "runs the tool with the arguments of a test"]
fn program() {
    let Ok(arguments) = env::var(ARGUMENTS) else {
        return;
    };
    let arguments: Vec<String> = serde_json::from_str(&arguments).unwrap();
    let arguments = Arguments::parse_from(["grants".to_owned()].into_iter().chain(arguments));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let exit = runtime.block_on(super::run(arguments));
    std::process::exit(exit.code().into());
}

#[test]
fn the_help_names_each_command() {
    let mut command = Arguments::command();
    command.clone().debug_assert();
    let help = command.render_long_help().to_string();
    for name in [
        "list",
        "show",
        "diagnose",
        "revoke",
        "reencrypt",
        "migrate",
        "health",
    ] {
        assert!(help.contains(&format!("\n  {name} ")), "{help}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_command_lines_end_with_2_and_missing_stores_with_1() {
    let scene = Scene::new().await;
    for (arguments, code, text) in [
        (vec!["lst"], 2, "list"),
        (
            vec!["list", "--state", "old"],
            2,
            "reauthorization_required",
        ),
        (
            vec!["list", "--expiring-within", "soon"],
            2,
            "s, m, h, d or w",
        ),
        (
            vec!["list", "--store", "file:///missing/of/all"],
            1,
            "grants:",
        ),
        (
            vec!["list", "--store", "mysql://a"],
            1,
            "there is no store mysql://",
        ),
        (vec!["show", ""], 1, "the name is empty"),
        (vec!["reencrypt"], 1, "no encryption key"),
        (vec!["list", "--accept-plaintext"], 1, "no encryption key"),
        (vec!["migrate"], 1, "--to"),
        (vec!["list", "--help"], 0, ""),
    ] {
        let ended = scene.run(&arguments).await;
        assert_eq!(ended.code, code, "{arguments:?} {ended:?}");
        assert!(ended.stderr.contains(text), "{arguments:?} {ended:?}");
    }
    let mut command = scene.command(&["list", "--store", &scene.url("grants")]);
    let ended = Ended::of(command.env_remove("SANDBOX_URL"), None).await;
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("SANDBOX_URL"), "{ended:?}");
}

/// A provider, and a directory with a store and key files.
struct Scene {
    sandbox: Sandbox,
    directory: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let scene = Self {
            sandbox: Sandbox::start().await.unwrap(),
            directory: tempfile::tempdir().unwrap(),
        };
        scene.store("grants");
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn url(&self, name: &str) -> String {
        format!("file://{}", self.path(name).display())
    }

    /// A store in a directory of this name.
    fn store(&self, name: &str) -> AnyStore {
        AnyStore::new(FileStore::open(self.path(name)).unwrap())
    }

    /// A key of this id, also in a file of this name.
    fn key(&self, id: &str) -> EncryptionKey {
        let mut bytes = [0; 32];
        bytes[..id.len()].copy_from_slice(id.as_bytes());
        let key = EncryptionKey::new(id, bytes).unwrap();
        fs::write(self.path(id), &*key.expose_base64()).unwrap();
        key
    }

    fn encrypted(&self, name: &str, key: &str) -> EncryptedStore<AnyStore> {
        let keys = EncryptionKeys::new(self.key(key));
        EncryptedStore::new(self.store(name), keys, self.sandbox.client_id()).unwrap()
    }

    /// The options that name a key.
    fn key_options(&self, id: &str) -> [String; 4] {
        let file = self.path(id).display().to_string();
        ["--key-id".into(), id.into(), "--key-file".into(), file]
    }

    fn oauth(&self) -> tower_oauth2_client::oauth::OAuthClient {
        let provider = provider::justworks()
            .on_origin(&self.sandbox.url())
            .unwrap();
        tower_oauth2_client::oauth::OAuthClient::builder(provider, self.sandbox.client_id())
            .client_secret(self.sandbox.client_secret())
            .redirect_uri(self.sandbox.redirect_uri())
            .build::<_, http_body_util::Full<bytes::Bytes>, _>(self.sandbox.service())
            .unwrap()
    }

    /// The tool with these arguments, over the store `grants`.
    fn command(&self, arguments: &[impl AsRef<str>]) -> Command {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["tests::program", "--exact", "--ignored", "--nocapture"])
            .env(ARGUMENTS, serde_json::to_string(&arguments).unwrap())
            .env("SANDBOX_URL", self.sandbox.url())
            .env("SANDBOX_CLIENT_ID", self.sandbox.client_id())
            .env("SANDBOX_CLIENT_SECRET", self.sandbox.client_secret())
            .env("JUSTWORKS_GRANTS", self.path("grants"))
            .env_remove("GRANTS_STORE")
            .env_remove("GRANTS_TO")
            .env_remove("GRANT_KEY")
            .env_remove("GRANT_KEY_ID")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[impl AsRef<str>]) -> Ended {
        Ended::of(&mut self.command(arguments), None).await
    }
}

/// The exit code and the output of a command.
#[derive(Debug)]
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// Runs a command, with this input.
    async fn of(command: &mut Command, input: Option<&str>) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin
            .write_all(input.unwrap_or_default().as_bytes())
            .await
            .unwrap();
        drop(stdin);
        Self::of_child(child).await
    }

    async fn of_child(child: Child) -> Self {
        let output = child.wait_with_output().await.unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let ended = Self {
            code: output.status.code().unwrap_or(-1),
            stdout: stdout.strip_prefix(HARNESS).unwrap_or(&stdout).to_owned(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        // The secret of the client, and encrypted tokens, are not shown either.
        for secret in [SECRET, "sandbox-client-secret", "tow1."] {
            assert!(!ended.stdout.contains(secret), "{ended:?}");
            assert!(!ended.stderr.contains(secret), "{ended:?}");
        }
        ended
    }

    fn json_lines(&self) -> Vec<serde_json::Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// A token set with seeded secrets, whose refresh token expires in so many days.
fn tokens(name: &str, days: u32) -> TokenSet {
    let (now, name) = (SystemClock.wall(), name.replace(' ', "-"));
    let access_token = AccessToken::new(format!("{SECRET}-a-{name}")).unwrap();
    let refresh_token = RefreshToken::new(format!("{SECRET}-r-{name}"));
    // An hour more, so that the days are whole while the test runs.
    let lifetime = DAY * days + DAY / 24;
    TokenSet::new(access_token, DAY, now)
        .with_refresh_token(refresh_token, now)
        .with_refresh_token_lifetime(lifetime)
        .with_scope("company.basic:read")
}

fn grant(name: &str, days: u32) -> Grant {
    Grant::new(Generation::FIRST, GrantState::Active(tokens(name, days)))
}

async fn save(store: &impl TokenStore, name: &str, grant: &Grant) {
    let saved = store.save(&tenant(name), None, grant).await.unwrap();
    assert_eq!(saved, tower_oauth2_client::store::SaveOutcome::Committed);
}

/// Cuts a tenant's file off after its name.
fn damage(directory: &Path, name: &str) {
    let entries = fs::read_dir(directory).unwrap();
    let mut files = entries.map(|entry| entry.unwrap().path()).filter(|path| {
        let file = path.file_name().unwrap().to_str().unwrap();
        file.starts_with(name) && path.extension().is_some_and(|end| end == "json")
    });
    let file = files.next().unwrap();
    let content = fs::read_to_string(&file).unwrap();
    let head = content.split("\"generation\"").next().unwrap();
    fs::write(file, head).unwrap();
}

fn has_ended(name: &str) -> Grant {
    let since: SystemTime = SystemClock.wall();
    let reason = ReauthorizationReason::InvalidGrant;
    let tokens = tokens(name, 20);
    Grant::new(
        Generation::FIRST,
        GrantState::ReauthorizationRequired {
            tokens,
            reason,
            since,
        },
    )
}

fn revoked() -> Grant {
    let since = SystemClock.wall();
    Grant::new(Generation::FIRST, GrantState::Revoked { since })
}

fn code(exit: Exit) -> i32 {
    exit.code().into()
}
