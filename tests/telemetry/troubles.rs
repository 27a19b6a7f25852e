//! The log of a production system: one line for each trouble, which says what to do.
//!
//! `cargo test --all-features --test telemetry six_troubles -- --nocapture` prints the lines.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use tower_oauth2_client::{
    Error,
    cache::TokenSource,
    clock::Clock,
    oauth::{CircuitState, OAuthClient},
    provider,
    sandbox::{Endpoint, Fault, Sandbox},
    store::{
        EncryptedStore, EncryptionKey, EncryptionKeys, LeaseOutcome, LeaseOwner, MemoryStore,
        SaveOutcome, TokenStore,
    },
    telemetry::{EndpointListener, GrantListener},
    tenants::Tenants,
    token::{
        AccessToken, Generation, Grant, ReauthorizationReason, RefreshToken, TenantId, TokenSet,
    },
};
use tracing::level_filters::LevelFilter;

use super::support::{HOUR, MINUTE, ManualClock, SECOND, log::Log, pass};

const CUSTOMERS: [&str; 3] = ["acme", "globex", "initech"];

/// The lines of a log, as a program with `tracing_subscriber::fmt` writes them.
#[derive(Clone, Default)]
struct Lines(Log);

impl Lines {
    /// Collects the lines of this thread.
    fn collect(&self, level: LevelFilter) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(self.0.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn lines(&self) -> Vec<String> {
        let text = self.0.text();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    fn clear(&self) {
        self.0.clear();
    }

    /// The lines at the levels warn and error.
    fn alarms(&self) -> Vec<String> {
        let mut lines = self.lines();
        lines.retain(|line| line.starts_with("WARN") || line.starts_with("ERROR"));
        lines
    }

    fn count(&self, event: &str) -> usize {
        let field = format!("event=\"{event}\"");
        let lines = self.lines();
        lines.iter().filter(|line| line.contains(&field)).count()
    }
}

/// Checks each line: its parts, and that it names no tenant.
#[track_caller]
fn check(lines: &[String], expected: &[&[&str]]) {
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, parts) in lines.iter().zip(expected) {
        for part in *parts {
            assert!(line.contains(part), "{part} is missing: {line}");
        }
        assert!(!CUSTOMERS.iter().any(|name| line.contains(name)), "{line}");
    }
}

/// A database that can be stopped.
#[derive(Clone, Default)]
struct Database {
    rows: MemoryStore,
    is_down: Arc<AtomicBool>,
}

impl Database {
    fn stop(&self, stop: bool) {
        self.is_down.store(stop, Ordering::SeqCst);
    }

    fn connection(&self) -> Result<&MemoryStore, Error> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Error::store(io::Error::from(
                io::ErrorKind::ConnectionRefused,
            )));
        }
        Ok(&self.rows)
    }
}

impl TokenStore for Database {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.connection()?.load(tenant).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        self.connection()?.save(tenant, expected, grant).await
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        self.connection()?.acquire(tenant, owner, duration).await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        self.connection()?.release(tenant, owner).await
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        self.connection()?.tenants(after, limit).await
    }

    fn subscribe(&self) -> Option<tower_oauth2_client::store::Subscription> {
        self.rows.subscribe()
    }
}

/// The calls of a listener.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    fn push(&self, call: String) {
        self.0.lock().unwrap().push(call);
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl GrantListener for Calls {
    fn reauthorization_required(&self, tenant: &TenantId, _: ReauthorizationReason) {
        self.push(format!("{tenant} has ended"));
    }

    fn reauthorization_saved(&self, tenant: &TenantId, reason: ReauthorizationReason) {
        self.push(format!("notify {tenant}: {}", reason.as_str()));
    }

    fn connected(&self, tenant: &TenantId, _: Generation) {
        self.push(format!("{tenant} is connected"));
    }
}

impl EndpointListener for Calls {
    fn circuit_opened(&self, endpoint: &str, error: &Error, duration: Duration) {
        assert!(endpoint.ends_with("/oauth/token") && error.is_transient());
        self.push(format!("opened for {} s", duration.as_secs()));
    }

    fn circuit_closed(&self, _: &str) {
        self.push("closed".to_owned());
    }

    fn client_rejected(&self, _: &str, error: &Error) {
        self.push(error.oauth_code().unwrap().to_string());
    }
}

/// A provider, and a program with three customers.
struct Scene {
    clock: ManualClock,
    sandbox: Sandbox,
    oauth: OAuthClient,
    calls: Calls,
    database: Database,
    log: Lines,
}

impl Scene {
    fn new() -> Self {
        let clock = ManualClock::new();
        let sandbox = Sandbox::builder().clock_starts_at(clock.wall()).build();
        let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
        let calls = Calls::default();
        let oauth = OAuthClient::builder(provider, sandbox.client_id())
            .client_secret(sandbox.client_secret())
            .redirect_uri(sandbox.redirect_uri())
            .clock(clock.clone())
            .endpoint_listener(calls.clone())
            .build::<_, Full<Bytes>, _>(sandbox.service())
            .unwrap();
        Self {
            clock,
            sandbox,
            oauth,
            calls,
            database: Database::default(),
            log: Lines::default(),
        }
    }

    fn tenants(&self, store: impl TokenStore) -> Tenants {
        self.tenants_with(store, self.calls.clone())
    }

    fn tenants_with(&self, store: impl TokenStore, calls: Calls) -> Tenants {
        Tenants::builder(self.oauth.clone())
            .store(store)
            .clock(self.clock.clone())
            .background_delay(Duration::ZERO)
            .jitter_seed(7)
            .listener(calls)
            .build()
            .unwrap()
    }

    /// Three customers connect.
    async fn connect(&self, tenants: &Tenants) {
        for name in CUSTOMERS {
            let (url, pending) = self.oauth.authorization_url().unwrap();
            let callback = self.sandbox.consent(&url).await.unwrap();
            let tenant = TenantId::new(name).unwrap();
            let completed =
                tenants.complete_authorization(&tenant, &self.oauth, &pending, &callback);
            completed.await.unwrap();
        }
        pass(MINUTE).await;
        self.log.clear();
        self.calls.taken();
    }

    /// Requests of all customers, each second for a minute.
    async fn requests(&self, tenants: &Tenants) {
        for _ in 0..60 {
            for name in CUSTOMERS {
                let _ = tenants.token(&TenantId::new(name).unwrap()).await;
            }
            pass(SECOND).await;
        }
    }

    /// Makes the next request of each customer refresh.
    async fn invalidate(&self, tenants: &Tenants) {
        for name in CUSTOMERS {
            let cache = tenants.cache(&TenantId::new(name).unwrap()).await;
            cache.unwrap().invalidate();
        }
    }
}

fn encrypted(database: &Database, id: &str) -> EncryptedStore<Database> {
    let key = EncryptionKeys::new(EncryptionKey::generate(id).unwrap());
    EncryptedStore::new(database.clone(), key, "client").unwrap()
}

impl Scene {
    /// A new version of the program has the wrong key.
    async fn wrong_key(&self) {
        let earlier = self.tenants(encrypted(&self.database, "k1"));
        self.connect(&earlier).await;
        earlier.shutdown(MINUTE).await.unwrap();
        drop(earlier);
        let tenants = self.tenants(encrypted(&self.database, "k2"));
        self.requests(&tenants).await;
        pass(MINUTE).await;
    }

    async fn dead_database(&self) -> Tenants {
        let tenants = self.tenants(self.database.clone());
        self.connect(&tenants).await;
        self.invalidate(&tenants).await;
        self.database.stop(true);
        self.requests(&tenants).await;
        tenants
    }

    async fn dead_provider(&self) -> Tenants {
        let tenants = self.tenants(self.database.clone());
        self.connect(&tenants).await;
        self.invalidate(&tenants).await;
        let down = Fault::status(StatusCode::SERVICE_UNAVAILABLE).always();
        self.sandbox.inject(Endpoint::Token, down);
        self.requests(&tenants).await;
        tenants
    }

    async fn wrong_secret(&self) -> Tenants {
        let tenants = self.tenants(self.database.clone());
        self.connect(&tenants).await;
        self.invalidate(&tenants).await;
        self.oauth.replace_secret("not-the-secret").unwrap();
        self.requests(&tenants).await;
        tenants
    }

    /// One customer removes the application at the provider.
    async fn dead_grant(&self) {
        let tenants = self.tenants(self.database.clone());
        self.connect(&tenants).await;
        self.sandbox.revoke_grants();
        let acme = tenants
            .cache(&TenantId::new("acme").unwrap())
            .await
            .unwrap();
        acme.invalidate();
        self.requests(&tenants).await;
    }

    /// The response with the new refresh token is lost, and the provider accepts no replay.
    async fn lost_rotation(&self) {
        let tenants = self.tenants(self.database.clone());
        self.connect(&tenants).await;
        let lost = Fault::drop_connection().after_processing();
        self.sandbox.inject(Endpoint::Token, lost);
        let refused = Fault::status(StatusCode::BAD_REQUEST).body(r#"{"error":"invalid_grant"}"#);
        self.sandbox.inject(Endpoint::Token, refused);
        let acme = tenants
            .cache(&TenantId::new("acme").unwrap())
            .await
            .unwrap();
        acme.invalidate();
        self.requests(&tenants).await;
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_key_is_one_line() {
    let scene = Scene::new();
    let _guard = scene.log.collect(LevelFilter::DEBUG);
    scene.wrong_key().await;
    check(
        &scene.log.alarms(),
        &[&[
            "ERROR",
            "event=\"store.load_failed\"",
            "kind=\"store\"",
            "the key \\\"k1\\\" is missing; add it by `with_decryption_key`",
            "most likely an encryption key",
        ]],
    );
    assert!(scene.log.count("sweep.finished") >= 1);
}

#[tokio::test(start_paused = true)]
async fn wrong_key_of_a_program_without_requests_is_one_line() {
    let scene = Scene::new();
    let _guard = scene.log.collect(LevelFilter::DEBUG);
    let earlier = scene.tenants(encrypted(&scene.database, "k1"));
    scene.connect(&earlier).await;
    earlier.shutdown(MINUTE).await.unwrap();
    let _tenants = scene.tenants(encrypted(&scene.database, "k2"));
    pass(MINUTE).await;
    check(
        &scene.log.alarms(),
        &[&[
            "ERROR",
            "event=\"sweep.finished\"",
            "unreadable=3",
            "the key \\\"k1\\\" is missing",
            "check the encryption key",
        ]],
    );
}

#[tokio::test(start_paused = true)]
async fn dead_database_is_one_line_and_one_when_it_works_again() {
    let scene = Scene::new();
    let _guard = scene.log.collect(LevelFilter::DEBUG);
    let tenants = scene.dead_database().await;
    check(
        &scene.log.alarms(),
        &[&[
            "ERROR",
            "event=\"store.load_failed\"",
            "kind=\"store\"",
            "connection refused",
            "check that the store is reachable",
        ]],
    );
    assert!(scene.log.count("refresh.failed") > 3);
    scene.database.stop(false);
    scene.requests(&tenants).await;
    assert_eq!(scene.log.count("store.recovered"), 1);
    assert_eq!(scene.log.alarms().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn database_that_is_down_at_the_start_is_one_line() {
    let scene = Scene::new();
    let _guard = scene.log.collect(LevelFilter::DEBUG);
    scene.database.stop(true);
    let tenants = scene.tenants(scene.database.clone());
    pass(20 * MINUTE).await;
    scene.requests(&tenants).await;
    check(
        &scene.log.alarms(),
        &[&["ERROR", "event=\"store.load_failed\"", "connection refused"]],
    );
    assert!(scene.log.count("sweep.failed") > 1);
}

#[tokio::test(start_paused = true)]
async fn dead_provider_is_two_lines_for_all_customers() {
    let scene = Scene::new();
    let _guard = scene.log.collect(LevelFilter::DEBUG);
    let tenants = scene.dead_provider().await;
    let endpoint = format!("endpoint=\"{}/oauth/token\"", scene.sandbox.url());
    check(
        &scene.log.alarms(),
        &[
            &[
                "WARN",
                "event=\"refresh.failed\"",
                &endpoint,
                "kind=\"unavailable\"",
                "(503)",
            ],
            &[
                "WARN",
                "event=\"endpoint.circuit_opened\"",
                &endpoint,
                "token endpoint is unavailable (503)",
            ],
        ],
    );
    assert!(scene.log.count("refresh.failed") > 10);
    assert_eq!(scene.calls.taken(), ["opened for 30 s"]);
    scene.sandbox.clear_faults();
    scene.requests(&tenants).await;
    assert_eq!(scene.log.alarms().len(), 2);
    assert_eq!(scene.log.count("endpoint.circuit_closed"), 1);
    assert_eq!(scene.calls.taken(), ["closed"]);
}

#[tokio::test(start_paused = true)]
async fn wrong_secret_is_one_line_until_it_is_replaced() {
    let scene = Scene::new();
    let _guard = scene.log.collect(LevelFilter::DEBUG);
    let tenants = scene.wrong_secret().await;
    check(
        &scene.log.alarms(),
        &[&[
            "ERROR",
            "event=\"endpoint.client_rejected\"",
            "endpoint=",
            "provider_code=\"invalid_client\"",
            "compare both with the provider's console now",
        ]],
    );
    assert!(scene.log.count("endpoint.circuit_opened") >= 1, "repeated");
    assert_eq!(scene.calls.taken(), ["invalid_client"]);
    // The next one is wrong too.
    scene.oauth.replace_secret("not-this-one").unwrap();
    scene.requests(&tenants).await;
    assert_eq!(scene.log.alarms().len(), 2);
    assert_eq!(scene.calls.taken(), ["invalid_client"]);
    let secret = scene.sandbox.client_secret();
    scene.oauth.replace_secret(secret).unwrap();
    scene.requests(&tenants).await;
    assert_eq!(scene.log.alarms().len(), 2);
    assert_eq!(scene.calls.taken(), ["closed"]);
}

#[tokio::test(start_paused = true)]
async fn dead_grant_is_one_line() {
    let scene = Scene::new();
    let _guard = scene.log.collect(LevelFilter::DEBUG);
    scene.dead_grant().await;
    check(
        &scene.log.alarms(),
        &[&[
            "WARN",
            "event=\"grant.reauthorization_required\"",
            "endpoint=",
            "reason=\"invalid_grant\"",
            "provider_code=\"invalid_grant\"",
            "customer has to connect again: the provider ended the grant",
        ]],
    );
    assert_eq!(
        scene.calls.taken(),
        ["acme has ended", "notify acme: invalid_grant"]
    );
}

#[tokio::test(start_paused = true)]
async fn lost_rotation_is_a_line_when_it_is_lost_and_one_when_the_grant_ends() {
    let scene = Scene::new();
    let _guard = scene.log.collect(LevelFilter::DEBUG);
    scene.lost_rotation().await;
    check(
        &scene.log.alarms(),
        &[
            &[
                "WARN",
                "event=\"refresh.response_lost\"",
                "is_replayed=true",
            ],
            &[
                "WARN",
                "event=\"grant.reauthorization_required\"",
                "reason=\"rotation_lost\"",
                "customer has to connect again: after a lost response, the provider refused the refresh token",
            ],
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn single_unreadable_grant_is_one_line() {
    let scene = Scene::new();
    let _guard = scene.log.collect(LevelFilter::DEBUG);
    let tenants = scene.tenants(encrypted(&scene.database, "k1"));
    scene.connect(&tenants).await;
    let acme = TenantId::new("acme").unwrap();
    let mut row = scene.database.load(&acme).await.unwrap().unwrap();
    let expected = Some(row.generation);
    row.generation = row.generation.next();
    scene.database.save(&acme, expected, &row).await.unwrap();
    // Others can be read.
    let globex = TenantId::new("globex").unwrap();
    tenants.status(&globex).await.unwrap();
    for _ in 0..10 {
        for name in CUSTOMERS {
            let _ = tenants.status(&TenantId::new(name).unwrap()).await;
        }
        pass(SECOND).await;
    }
    check(
        &scene.log.alarms(),
        &[&[
            "WARN",
            "event=\"store.grant_unreadable\"",
            "cannot be decrypted",
        ]],
    );
}

#[tokio::test(start_paused = true)]
async fn one_of_two_replicas_notifies_the_customer() {
    let scene = Scene::new();
    let (one, two) = (Calls::default(), Calls::default());
    let _guard = scene.log.collect(LevelFilter::DEBUG);
    let first = scene.tenants_with(scene.database.clone(), one.clone());
    let second = scene.tenants_with(scene.database.clone(), two.clone());
    scene.connect(&first).await;
    assert_eq!(one.taken().len(), 3, "one process has connected them");
    scene.requests(&second).await;
    assert!(two.taken().is_empty());
    scene.sandbox.revoke_grants();
    let acme = TenantId::new("acme").unwrap();
    first.cache(&acme).await.unwrap().invalidate();
    first.token(&acme).await.unwrap_err();
    pass(HOUR).await;
    second.token(&acme).await.unwrap_err();
    let mut calls = [one.taken(), two.taken()].concat();
    calls.sort();
    assert_eq!(
        calls,
        [
            "acme has ended",
            "acme has ended",
            "notify acme: invalid_grant"
        ]
    );
    assert_eq!(scene.log.alarms().len(), 1);
    assert_eq!(scene.log.count("grant.reauthorization_required"), 2);
}

/// A database whose errors name the row.
struct Verbose(Database);

impl TokenStore for Verbose {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.0.load(tenant).await?;
        Err(Error::store(format!("the row `{tenant}` is damaged")))
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        self.0.save(tenant, expected, grant).await
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        self.0.acquire(tenant, owner, duration).await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        self.0.release(tenant, owner).await
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        self.0.tenants(after, limit).await
    }
}

#[tokio::test(start_paused = true)]
async fn p21_sweep_names_no_tenant_of_a_grant_that_cannot_be_read() {
    let scene = Scene::new();
    let _guard = scene.log.collect(LevelFilter::DEBUG);
    let earlier = scene.tenants(scene.database.clone());
    scene.connect(&earlier).await;
    earlier.shutdown(MINUTE).await.unwrap();
    let tenants = scene.tenants(Verbose(scene.database.clone()));
    tenants.sweep().await.unwrap();
    assert_eq!(scene.log.count("sweep.finished"), 1);
    for line in scene.log.lines() {
        assert!(!CUSTOMERS.iter().any(|name| line.contains(name)), "{line}");
    }
}

/// A source that fails for one customer, or for all.
struct Failing(Arc<AtomicBool>);

impl TokenSource for Failing {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let held = held.unwrap();
        let is_initech = held.refresh_token().unwrap().expose() == "initech";
        if is_initech || self.0.load(Ordering::SeqCst) {
            return Err(Error::unavailable("down"));
        }
        let (token, issued_at) = (held.access_token().clone(), held.issued_at() + HOUR);
        let kept = held.refresh_token().unwrap().clone();
        Ok(TokenSet::new(token, HOUR, issued_at).with_refresh_token(kept, issued_at))
    }
}

#[tokio::test(start_paused = true)]
async fn customer_whose_trouble_outlasts_an_outage_is_reported() {
    let scene = Scene::new();
    let _guard = scene.log.collect(LevelFilter::DEBUG);
    let is_down = Arc::new(AtomicBool::new(true));
    let tenants = Tenants::builder(Failing(is_down.clone()))
        .store(scene.database.clone())
        .origin("https://api.example.com")
        .clock(scene.clock.clone())
        .background_delay(Duration::ZERO)
        .build()
        .unwrap();
    for name in CUSTOMERS {
        let now = scene.clock.wall();
        let tokens = TokenSet::new(AccessToken::new("a").unwrap(), HOUR, now)
            .with_refresh_token(RefreshToken::new(name), now);
        let tenant = TenantId::new(name).unwrap();
        tenants.set_tokens(&tenant, tokens).await.unwrap();
    }
    pass(2 * HOUR).await;
    scene.requests(&tenants).await;
    is_down.store(false, Ordering::SeqCst);
    scene.log.clear();
    for _ in 0..12 {
        pass(10 * MINUTE).await;
        scene.requests(&tenants).await;
    }
    assert!(scene.log.count("refresh.failed") > 5);
    check(
        &scene.log.alarms(),
        &[&["WARN", "event=\"refresh.failed\"", "down"]],
    );
}

#[tokio::test(start_paused = true)]
async fn outage_that_begins_with_one_customer_is_reported_for_all() {
    let scene = Scene::new();
    let _guard = scene.log.collect(LevelFilter::DEBUG);
    let tenants = scene.tenants(scene.database.clone());
    scene.connect(&tenants).await;
    let down = Fault::status(StatusCode::SERVICE_UNAVAILABLE).always();
    scene.sandbox.inject(Endpoint::Token, down);
    let acme = TenantId::new("acme").unwrap();
    tenants.cache(&acme).await.unwrap().invalidate();
    for _ in 0..30 {
        tenants.token(&acme).await.unwrap_err();
        pass(10 * SECOND).await;
    }
    assert_eq!(scene.calls.taken(), ["opened for 30 s"]);
    let status = tenants.health().await.endpoint.unwrap();
    assert_eq!(status.circuit, CircuitState::Closed, "for the others");
    scene.invalidate(&tenants).await;
    scene.log.clear();
    for _ in 0..10 {
        scene.requests(&tenants).await;
    }
    assert_eq!(scene.calls.taken(), ["opened for 30 s"]);
    check(
        &scene.log.alarms(),
        &[&["WARN", "event=\"endpoint.circuit_opened\""]],
    );
}

/// Prints what an operator sees of all six.
#[tokio::test(start_paused = true)]
async fn six_troubles_are_a_few_lines() {
    let mut alarms = 0;
    for trouble in 1..=6 {
        let scene = Scene::new();
        let _guard = scene.log.collect(LevelFilter::INFO);
        let name = match trouble {
            1 => {
                scene.wrong_key().await;
                "wrong encryption key"
            }
            2 => {
                drop(scene.dead_database().await);
                "dead database"
            }
            3 => {
                drop(scene.dead_provider().await);
                "dead provider"
            }
            4 => {
                drop(scene.wrong_secret().await);
                "wrong client secret"
            }
            5 => {
                scene.dead_grant().await;
                "dead grant"
            }
            _ => {
                scene.lost_rotation().await;
                "lost rotation"
            }
        };
        println!("\n{name}, three customers, one minute of requests:");
        for line in scene.log.lines() {
            println!("  {line}");
        }
        alarms += scene.log.alarms().len();
    }
    assert_eq!(alarms, 8);
}
