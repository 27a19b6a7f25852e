//! The life of a grant, against an HTTP server on loopback: consent, requests, a stampede, a
//! background refresh, a 401, a restart, a revocation.
//!
//! Prints a line for each step, and fails if the sandbox counted anything unexpected.
//!
//! ```sh
//! cargo run --example quickstart --features sandbox
//! ```

use std::{
    env,
    error::Error,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt, limit::ConcurrencyLimit};
use tower_oauth2_client::{
    ErrorKind,
    bearer::{BearerAuth, BearerAuthLayer},
    cache::TokenCache,
    clock::{Clock, SystemClock},
    oauth::OAuthClient,
    provider,
    sandbox::{Counters, Endpoint, Fault, Sandbox},
    store::FileStore,
};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;
type Http = Client<HttpConnector, Full<Bytes>>;
type Api = BearerAuth<ConcurrencyLimit<Http>, Full<Bytes>>;

const HOUR: Duration = Duration::from_secs(3_600);

/// A token request waits for its response for up to a minute.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(90);

#[tokio::main]
async fn main() -> Outcome {
    // The step `restart` runs this program again, with these arguments.
    if let [_, url, id, secret, directory, ahead] = &env::args().collect::<Vec<_>>()[..] {
        let clock = SkewedClock::ahead_by(Duration::from_secs(ahead.parse()?));
        return run_restarted(url, id, secret, Path::new(directory), clock).await;
    }

    let sandbox = Sandbox::start().await?;
    let directory = tempfile::tempdir()?;
    let clock = SkewedClock::ahead_by(Duration::ZERO);
    let partner = Partner::new(
        &sandbox.url(),
        (sandbox.client_id(), sandbox.client_secret()),
        directory.path(),
        clock.clone(),
    )?;
    println!(
        "sandbox at {}, grants in {}",
        sandbox.url(),
        directory.path().display()
    );

    connect(&sandbox, &partner).await?;
    call(&sandbox, &partner).await?;
    stampede(&sandbox, &partner, &clock).await?;
    background(&sandbox, &partner, &clock).await?;
    unauthorized(&sandbox, &partner, &clock).await?;
    restart(&sandbox, directory.path(), &clock)?;
    revoke(&sandbox, &partner).await?;
    partner.tokens.shutdown(SHUTDOWN_DEADLINE).await?;
    println!("all steps succeeded");
    Ok(())
}

/// A user consents in a browser, and the code of the callback is exchanged.
async fn connect(sandbox: &Sandbox, partner: &Partner) -> Outcome {
    let step = Step::start("connect", sandbox);
    let (url, pending) = partner.oauth.authorization_url()?;
    let callback = sandbox.consent(&url).await?;
    partner
        .tokens
        .complete_authorization(&partner.oauth, &pending, &callback)
        .await?;
    step.check("consents", sandbox.counters().consents, 1)?;
    step.check_token_requests(1)?;
    step.end("a user consented, one code was exchanged, the grant is in the store");
    Ok(())
}

async fn call(sandbox: &Sandbox, partner: &Partner) -> Outcome {
    let step = Step::start("call", sandbox);
    let company = partner.company().await?;
    step.check_token_requests(0)?;
    step.end(&format!(
        "GET /v1/company: 200 with {} bytes",
        company.len()
    ));
    Ok(())
}

/// Sends 1,000 requests at once, with a token that expired an hour ago.
async fn stampede(sandbox: &Sandbox, partner: &Partner, clock: &SkewedClock) -> Outcome {
    sandbox.advance(25 * HOUR);
    clock.advance(25 * HOUR);
    let step = Step::start("stampede", sandbox);
    partner.companies(1_000).await?;
    step.check_token_requests(1)?;
    step.check("401s", step.unauthorized(), 0)?;
    step.end("1,000 requests at once with an expired token: all got a 200, one refresh");
    Ok(())
}

/// Sends requests with a token that is about to expire, while the token endpoint is slow.
async fn background(sandbox: &Sandbox, partner: &Partner, clock: &SkewedClock) -> Outcome {
    // In the last 1.8 hours a request starts a refresh with any jitter.
    sandbox.advance(22 * HOUR + HOUR / 2);
    clock.advance(22 * HOUR + HOUR / 2);
    sandbox.inject(Endpoint::Token, Fault::delay(Duration::from_millis(1_500)));
    let step = Step::start("background", sandbox);
    partner.companies(100).await?;
    step.check_token_requests(0)?;
    let waited = step.started.elapsed();
    // The refresh continues in the background. This call joins it.
    partner.tokens.refresh_now().await?;
    step.check_token_requests(1)?;
    step.end(&format!(
        "100 requests near expiry: all got a 200 within {waited:.0?}, the refresh ended later"
    ));
    Ok(())
}

/// The provider revokes the access token before it expires.
async fn unauthorized(sandbox: &Sandbox, partner: &Partner, clock: &SkewedClock) -> Outcome {
    // An API may not know a new token for some seconds, so only an older one is refreshed.
    sandbox.advance(HOUR);
    clock.advance(HOUR);
    sandbox.revoke_access_tokens();
    let step = Step::start("unauthorized", sandbox);
    partner.companies(100).await?;
    step.check_token_requests(1)?;
    let refused = step.unauthorized();
    step.check("has 401s", u64::from(refused > 0), 1)?;
    step.end(&format!(
        "100 requests with a revoked token: {refused} got a 401 first, all got a 200, one refresh"
    ));
    Ok(())
}

/// Runs a new process over the store of this one.
fn restart(sandbox: &Sandbox, directory: &Path, clock: &SkewedClock) -> Outcome {
    let step = Step::start("restart", sandbox);
    let status = Command::new(env::current_exe()?)
        .args([&sandbox.url(), sandbox.client_id(), sandbox.client_secret()])
        .arg(directory)
        .arg(clock.ahead().as_secs().to_string())
        .status()?;
    if !status.success() {
        return Err("restart: the new process failed".into());
    }
    step.check("consents", sandbox.counters().consents, 1)?;
    step.check_token_requests(0)?;
    step.end("a new process loaded the grant: no consent, no token request");
    Ok(())
}

async fn run_restarted(
    url: &str,
    id: &str,
    secret: &str,
    directory: &Path,
    clock: SkewedClock,
) -> Outcome {
    let partner = Partner::new(url, (id, secret), directory, clock)?;
    partner.company().await?;
    Ok(partner.tokens.shutdown(SHUTDOWN_DEADLINE).await?)
}

async fn revoke(sandbox: &Sandbox, partner: &Partner) -> Outcome {
    let step = Step::start("revoke", sandbox);
    partner.tokens.revoke().await?;
    let requests = sandbox.counters().requests;
    let Err(error) = partner.company().await else {
        return Err("revoke: a revoked grant was used".into());
    };
    let kind = error
        .downcast_ref::<tower_oauth2_client::Error>()
        .map(tower_oauth2_client::Error::kind);
    if kind != Some(ErrorKind::Revoked) {
        return Err(error);
    }
    step.check("requests sent", sandbox.counters().requests - requests, 0)?;
    step.check(
        "has revocations",
        u64::from(sandbox.counters().revocations > 0),
        1,
    )?;
    step.end(&format!("the next request fails unsent: {error}"));
    Ok(())
}

/// A partner's integration, for one customer.
struct Partner {
    oauth: OAuthClient,
    tokens: TokenCache,
    api: Api,
    company: String,
}

impl Partner {
    fn new(
        url: &str,
        (id, secret): (&str, &str),
        directory: &Path,
        clock: SkewedClock,
    ) -> Outcome<Self> {
        let http: Http = Client::builder(TokioExecutor::new()).build_http();
        let oauth = OAuthClient::builder(provider::justworks().on_origin(url)?, id)
            .client_secret(secret)
            .redirect_uri("http://127.0.0.1:8000/callback")
            .scopes(["company.basic:read"])
            .clock(clock.clone())
            .build(http.clone())?;
        let tokens = TokenCache::builder(oauth.clone())
            .store(FileStore::open(directory)?)
            .clock(clock)
            // This program ends with a shutdown, so it need not show first that it stays.
            .background_delay(Duration::ZERO)
            .build()?;
        let api = ServiceBuilder::new()
            .layer(BearerAuthLayer::new(tokens.clone()))
            // Inside the layer: a request that waits for a token uses no permit.
            .concurrency_limit(64)
            .service(http);
        let company = format!("{url}/v1/company");
        Ok(Self {
            oauth,
            tokens,
            api,
            company,
        })
    }

    /// Sends one request and expects a 200.
    async fn company(&self) -> Outcome<Bytes> {
        get(self.api.clone(), self.company.clone()).await
    }

    /// Sends `count` requests at once and expects a 200 for each.
    async fn companies(&self, count: usize) -> Outcome {
        let mut requests = JoinSet::new();
        for _ in 0..count {
            requests.spawn(get(self.api.clone(), self.company.clone()));
        }
        while let Some(response) = requests.join_next().await {
            response??;
        }
        Ok(())
    }
}

async fn get(api: Api, url: String) -> Outcome<Bytes> {
    let request = Request::get(url).body(Full::default())?;
    let response = api.oneshot(request).await?;
    if response.status() != 200 {
        return Err(format!("the API responded {}", response.status()).into());
    }
    Ok(response.into_body().collect().await?.to_bytes())
}

/// A step, with the sandbox's counters at its start.
struct Step<'a> {
    name: &'static str,
    sandbox: &'a Sandbox,
    before: Counters,
    started: Instant,
}

impl<'a> Step<'a> {
    fn start(name: &'static str, sandbox: &'a Sandbox) -> Self {
        let before = sandbox.counters();
        Self {
            name,
            sandbox,
            before,
            started: now(),
        }
    }

    fn check(&self, what: &str, is: u64, expected: u64) -> Outcome {
        if is == expected {
            return Ok(());
        }
        Err(format!("{}: {what}: {is}, expected {expected}", self.name).into())
    }

    fn check_token_requests(&self, expected: u64) -> Outcome {
        let counters = self.sandbox.counters();
        self.check(
            "token requests",
            counters.tokens_issued - self.before.tokens_issued,
            expected,
        )?;
        self.check(
            "refresh tokens used twice",
            counters.refresh_tokens_reused,
            0,
        )
    }

    fn unauthorized(&self) -> u64 {
        self.sandbox.counters().unauthorized - self.before.unauthorized
    }

    fn end(self, what: &str) {
        println!("{:<13} {:>9.1?}  {what}", self.name, self.started.elapsed());
    }
}

fn now() -> Instant {
    SystemClock.monotonic()
}

/// A clock that is ahead of the system's, as if the machine had been suspended.
#[derive(Clone, Debug)]
struct SkewedClock {
    ahead: Arc<AtomicU64>,
}

impl SkewedClock {
    fn ahead_by(time: Duration) -> Self {
        let ahead = Arc::new(AtomicU64::new(time.as_secs()));
        Self { ahead }
    }

    fn advance(&self, time: Duration) {
        self.ahead.fetch_add(time.as_secs(), Ordering::Relaxed);
    }

    fn ahead(&self) -> Duration {
        Duration::from_secs(self.ahead.load(Ordering::Relaxed))
    }
}

impl Clock for SkewedClock {
    fn monotonic(&self) -> Instant {
        SystemClock.monotonic() + self.ahead()
    }

    fn wall(&self) -> SystemTime {
        SystemClock.wall() + self.ahead()
    }
}
