//! The whole job against a real HTTP server on loopback: consent, requests, a stampede, renewal in the background, a 401, a
//! restart, a revocation. Prints a line for each step, and fails if a figure is not what it should be.
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

#[tokio::main]
async fn main() -> Outcome {
    // The step `restart` runs this program once more, with what a new process needs to know.
    if let [_, url, id, secret, folder, ahead] = &env::args().collect::<Vec<_>>()[..] {
        let clock = Ahead::by(Duration::from_secs(ahead.parse()?));
        return restarted(url, id, secret, Path::new(folder), clock).await;
    }

    let sandbox = Sandbox::start().await?;
    let folder = tempfile::tempdir()?;
    let clock = Ahead::by(Duration::ZERO);
    let partner = Partner::new(
        &sandbox.url(),
        (sandbox.client_id(), sandbox.client_secret()),
        folder.path(),
        clock.clone(),
    )?;
    println!(
        "sandbox on {}, tokens in {}",
        sandbox.url(),
        folder.path().display()
    );

    connect(&sandbox, &partner).await?;
    call(&sandbox, &partner).await?;
    stampede(&sandbox, &partner, &clock).await?;
    background(&sandbox, &partner, &clock).await?;
    unauthorized(&sandbox, &partner).await?;
    restart(&sandbox, folder.path(), &clock)?;
    revoke(&sandbox, &partner).await?;
    println!("everything was as it should be");
    Ok(())
}

/// A person consents in a browser, and the code that comes back is exchanged.
async fn connect(sandbox: &Sandbox, partner: &Partner) -> Outcome {
    let step = Step::begin("connect", sandbox);
    let (url, pending) = partner.oauth.authorization_url()?;
    let callback = sandbox.consent(&url).await?;
    partner
        .tokens
        .complete_authorization(&partner.oauth, &pending, &callback)
        .await?;
    step.check("consents", sandbox.counters().consents, 1)?;
    step.check_exchanges(1)?;
    step.end("a person consented, one code was exchanged, the tokens are in the file");
    Ok(())
}

async fn call(sandbox: &Sandbox, partner: &Partner) -> Outcome {
    let step = Step::begin("call", sandbox);
    let company = partner.company().await?;
    step.check_exchanges(0)?;
    step.end(&format!(
        "GET /v1/company answered 200 with {} bytes",
        company.len()
    ));
    Ok(())
}

/// A thousand requests at once, with a token that expired an hour ago.
async fn stampede(sandbox: &Sandbox, partner: &Partner, clock: &Ahead) -> Outcome {
    sandbox.advance(25 * HOUR);
    clock.advance(25 * HOUR);
    let step = Step::begin("stampede", sandbox);
    partner.companies(1_000).await?;
    step.check_exchanges(1)?;
    step.check("401s", step.unauthorized(), 0)?;
    step.end("1,000 requests at once with an expired token: all 200, one exchange");
    Ok(())
}

/// Two hours before the end, with a token endpoint that takes its time.
async fn background(sandbox: &Sandbox, partner: &Partner, clock: &Ahead) -> Outcome {
    // In the last 1.8 hours the renewal is due, whatever chance decides.
    sandbox.advance(22 * HOUR + HOUR / 2);
    clock.advance(22 * HOUR + HOUR / 2);
    sandbox.inject(Endpoint::Token, Fault::delay(Duration::from_millis(1_500)));
    let step = Step::begin("background", sandbox);
    partner.companies(100).await?;
    step.check_exchanges(0)?;
    let waited = step.began.elapsed();
    // It goes on without them; whoever asks for it joins it.
    partner.tokens.refresh_now().await?;
    step.check_exchanges(1)?;
    step.end(&format!(
        "100 requests near expiry were all answered after {waited:.0?}, the exchange ended later"
    ));
    Ok(())
}

/// The provider kills the access token before its time.
async fn unauthorized(sandbox: &Sandbox, partner: &Partner) -> Outcome {
    sandbox.revoke_access_tokens();
    let step = Step::begin("unauthorized", sandbox);
    partner.companies(100).await?;
    step.check_exchanges(1)?;
    let refused = step.unauthorized();
    step.check("requests refused at first", u64::from(refused > 0), 1)?;
    step.end(&format!(
        "100 requests with a dead token: {refused} got a 401 at first, all got a 200, one exchange"
    ));
    Ok(())
}

/// A new process over the same file.
fn restart(sandbox: &Sandbox, folder: &Path, clock: &Ahead) -> Outcome {
    let step = Step::begin("restart", sandbox);
    let status = Command::new(env::current_exe()?)
        .args([&sandbox.url(), sandbox.client_id(), sandbox.client_secret()])
        .arg(folder)
        .arg(clock.time().as_secs().to_string())
        .status()?;
    if !status.success() {
        return Err("the new process failed".into());
    }
    step.check("consents", sandbox.counters().consents, 1)?;
    step.check_exchanges(0)?;
    step.end("a new process read the file and went on: no consent, no exchange");
    Ok(())
}

async fn restarted(url: &str, id: &str, secret: &str, folder: &Path, clock: Ahead) -> Outcome {
    Partner::new(url, (id, secret), folder, clock)?
        .company()
        .await?;
    Ok(())
}

async fn revoke(sandbox: &Sandbox, partner: &Partner) -> Outcome {
    let step = Step::begin("revoke", sandbox);
    partner.tokens.revoke().await?;
    let requests = sandbox.counters().requests;
    let Err(error) = partner.company().await else {
        return Err("a revoked grant was used".into());
    };
    let kind = error
        .downcast_ref::<tower_oauth2_client::Error>()
        .map(tower_oauth2_client::Error::kind);
    if kind != Some(ErrorKind::Revoked) {
        return Err(error);
    }
    step.check("requests sent", sandbox.counters().requests - requests, 0)?;
    step.check(
        "revocations",
        u64::from(sandbox.counters().revocations > 0),
        1,
    )?;
    step.end(&format!("the next request was not sent: {error}"));
    Ok(())
}

/// What a partner integration holds for one customer.
struct Partner {
    oauth: OAuthClient,
    tokens: TokenCache,
    api: Api,
    company: String,
}

impl Partner {
    fn new(url: &str, (id, secret): (&str, &str), folder: &Path, clock: Ahead) -> Outcome<Self> {
        let http: Http = Client::builder(TokioExecutor::new()).build_http();
        let oauth = OAuthClient::builder(provider::justworks().on_origin(url)?, id)
            .client_secret(secret)
            .redirect_uri("http://127.0.0.1:8000/callback")
            .scopes(["company.basic:read"])
            .clock(clock.clone())
            .build(http.clone())?;
        let tokens = TokenCache::builder(oauth.clone())
            .store(FileStore::open(folder)?)
            .clock(clock)
            .build()?;
        let api = ServiceBuilder::new()
            .layer(BearerAuthLayer::new(tokens.clone()))
            // Waiting for a token takes up none of these.
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

    /// One request, answered with 200.
    async fn company(&self) -> Outcome<Bytes> {
        get(self.api.clone(), self.company.clone()).await
    }

    /// Many at once, all answered with 200.
    async fn companies(&self, count: usize) -> Outcome {
        let mut requests = JoinSet::new();
        for _ in 0..count {
            requests.spawn(get(self.api.clone(), self.company.clone()));
        }
        while let Some(answer) = requests.join_next().await {
            answer??;
        }
        Ok(())
    }
}

async fn get(api: Api, url: String) -> Outcome<Bytes> {
    let request = Request::get(url).body(Full::default())?;
    let response = api.oneshot(request).await?;
    if response.status() != 200 {
        return Err(format!("answered {}", response.status()).into());
    }
    Ok(response.into_body().collect().await?.to_bytes())
}

/// A step, and what the sandbox had counted when it began.
struct Step<'a> {
    name: &'static str,
    sandbox: &'a Sandbox,
    before: Counters,
    began: Instant,
}

impl<'a> Step<'a> {
    fn begin(name: &'static str, sandbox: &'a Sandbox) -> Self {
        let before = sandbox.counters();
        Self {
            name,
            sandbox,
            before,
            began: now(),
        }
    }

    fn check(&self, what: &str, is: u64, should_be: u64) -> Outcome {
        if is == should_be {
            return Ok(());
        }
        Err(format!("{}: {what}: {is}, should be {should_be}", self.name).into())
    }

    fn check_exchanges(&self, should_be: u64) -> Outcome {
        let counters = self.sandbox.counters();
        self.check(
            "exchanges",
            counters.tokens_issued - self.before.tokens_issued,
            should_be,
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
        println!("{:<13} {:>9.1?}  {what}", self.name, self.began.elapsed());
    }
}

fn now() -> Instant {
    SystemClock.monotonic()
}

/// The clock of a machine that has been asleep: both hands are ahead of the system's.
#[derive(Clone, Debug)]
struct Ahead {
    by: Arc<AtomicU64>,
}

impl Ahead {
    fn by(time: Duration) -> Self {
        let by = Arc::new(AtomicU64::new(time.as_secs()));
        Self { by }
    }

    fn advance(&self, time: Duration) {
        self.by.fetch_add(time.as_secs(), Ordering::Relaxed);
    }

    fn time(&self) -> Duration {
        Duration::from_secs(self.by.load(Ordering::Relaxed))
    }
}

impl Clock for Ahead {
    fn monotonic(&self) -> Instant {
        SystemClock.monotonic() + self.time()
    }

    fn wall(&self) -> SystemTime {
        SystemClock.wall() + self.time()
    }
}
