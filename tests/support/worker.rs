//! A replica in a process of its own: this test binary again, configured by environment variables.

#![allow(dead_code, reason = "each test uses a part of this module")]

use std::{
    env,
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    bearer::{BearerAuth, BearerAuthLayer},
    cache::{TokenCache, TokenCacheBuilder},
    oauth::OAuthClient,
    provider,
    sandbox::Sandbox,
};

pub(crate) type Http = Client<HttpConnector, Full<Bytes>>;

const PREFIX: &str = "REPLICA_";

/// Returns a setting of this process if it is a replica.
pub(crate) fn setting(name: &str) -> Option<String> {
    env::var(format!("{PREFIX}{name}")).ok()
}

/// A process that runs one ignored test of this binary.
pub(crate) struct Replica {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Replica {
    pub(crate) fn spawn(name: &str, sandbox: &Sandbox, settings: &[(&str, String)]) -> Self {
        let program = Command::new(env::current_exe().unwrap());
        Self::spawn_by(program, name, sandbox, settings)
    }

    /// Spawns a replica in which every write to a file fails, as on a full disk.
    pub(crate) fn spawn_without_room(
        name: &str,
        sandbox: &Sandbox,
        settings: &[(&str, String)],
    ) -> Self {
        let mut shell = Command::new("sh");
        let limit = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
        shell.args(["-c", limit]).arg(env::current_exe().unwrap());
        Self::spawn_by(shell, name, sandbox, settings)
    }

    fn spawn_by(
        mut command: Command,
        name: &str,
        sandbox: &Sandbox,
        settings: &[(&str, String)],
    ) -> Self {
        command
            .args([
                name,
                "--exact",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(format!("{PREFIX}URL"), sandbox.url())
            .env(format!("{PREFIX}ID"), sandbox.client_id())
            .env(format!("{PREFIX}SECRET"), sandbox.client_secret())
            .stdout(Stdio::piped());
        for (name, value) in settings {
            command.env(format!("{PREFIX}{name}"), value);
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the rest of the next line that starts with this word, or `None` if the process ends
    /// first.
    pub(crate) fn wait_for(&mut self, word: &str) -> Option<String> {
        self.lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix(word).map(|rest| rest.trim().to_owned()))
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn end(mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

/// The parts of a replica, in its own process.
pub(crate) struct Partner {
    pub(crate) tokens: TokenCache,
    pub(crate) api: BearerAuth<Http, Full<Bytes>>,
    pub(crate) url: String,
}

impl Partner {
    pub(crate) fn of_this_process(
        set: impl FnOnce(TokenCacheBuilder) -> TokenCacheBuilder,
    ) -> Self {
        let url = setting("URL").unwrap();
        let oauth = oauth(
            &url,
            &setting("ID").unwrap(),
            &setting("SECRET").unwrap(),
            None,
            setting("DPOP").is_some(),
        );
        let tokens = set(TokenCache::builder(oauth)).build().unwrap();
        let api = BearerAuthLayer::new(tokens.clone()).layer(http());
        Self { tokens, api, url }
    }

    /// Returns the status of one request, or the error that prevented it.
    pub(crate) async fn call(&self) -> Result<StatusCode, String> {
        let company = Request::get(format!("{}/v1/company", self.url));
        let company = company.body(Full::default()).unwrap();
        let response = self.api.clone().oneshot(company).await;
        let (head, body) = response.map_err(|error| format!("{error:?}"))?.into_parts();
        body.collect().await.map_err(|error| error.to_string())?;
        Ok(head.status)
    }
}

/// A client for consents. The replicas only refresh.
pub(crate) fn client_of(sandbox: &Sandbox) -> OAuthClient {
    let (id, secret) = (sandbox.client_id(), sandbox.client_secret());
    #[cfg(feature = "dpop")]
    let is_dpop = sandbox.behavior().dpop != tower_oauth2_client::sandbox::Dpop::Off;
    #[cfg(not(feature = "dpop"))]
    let is_dpop = false;
    let redirect_uri = Some(sandbox.redirect_uri());
    oauth(&sandbox.url(), id, secret, redirect_uri, is_dpop)
}

fn oauth(
    url: &str,
    id: &str,
    secret: &str,
    redirect_uri: Option<&str>,
    is_dpop: bool,
) -> OAuthClient {
    let provider = provider::justworks().on_origin(url).unwrap();
    let provider = provider.to_builder().dpop(is_dpop).build().unwrap();
    let mut builder = OAuthClient::builder(provider, id).client_secret(secret);
    if let Some(redirect_uri) = redirect_uri {
        builder = builder.redirect_uri(redirect_uri);
    }
    builder.build(http()).unwrap()
}

pub(crate) fn http() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

/// How long a soak test lasts: `SOAK_SECONDS`, or a short default.
pub(crate) fn soak(short: Duration) -> Duration {
    env::var("SOAK_SECONDS")
        .ok()
        .and_then(|seconds| seconds.parse().ok())
        .map_or(short, Duration::from_secs)
}
