//! Every event, span and metric is documented on the page of `telemetry` with its fields and
//! labels, and the reverse. Tenants are named only if they are recorded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use tower::{Layer as _, ServiceExt};
use tower_oauth2_client::{
    Error,
    bearer::BearerAuthLayer,
    cache::{TokenCache, TokenCacheBuilder},
    clock::Clock,
    discovery::Discovery,
    oauth::OAuthClient,
    provider::{self, ClientAuthentication, KeptValue, Provider, ValueSource},
    sandbox::{DateHeader, Endpoint, ExpiresAt, Fault, Sandbox},
    store::{
        EncryptedStore, EncryptionKey, EncryptionKeys, LeaseOutcome, LeaseOwner, MemoryStore,
        SaveOutcome, TokenStore,
    },
    token::{
        AccessToken, ConsentDecision, Generation, Grant, GrantState, RefreshToken, TenantId,
        TokenSet,
    },
};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt, registry::LookupSpan};

#[path = "support/mod.rs"]
mod support;
#[path = "telemetry/troubles.rs"]
mod troubles;

use support::{
    DAY, HOUR, MINUTE, ManualClock, SECOND, Scripted, Source, Store, connect, unavailable,
};

type Fields = BTreeMap<String, BTreeSet<String>>;

/// Records the fields of every event and span of this crate by name, and all their values.
#[derive(Clone, Default)]
struct Recorder {
    fields: Arc<Mutex<Fields>>,
    values: Arc<Mutex<String>>,
}

impl Recorder {
    fn record_fields(&self, metadata: &tracing::Metadata<'_>, record: impl FnOnce(&mut dyn Visit)) {
        if metadata.target() != "tower_oauth2_client" {
            return;
        }
        let mut visitor = Visitor::default();
        record(&mut visitor);
        let mut fields = self.fields.lock().unwrap();
        let known = fields.entry(metadata.name().to_owned()).or_default();
        known.extend(visitor.names);
        self.values.lock().unwrap().push_str(&visitor.values);
    }
}

#[derive(Default)]
struct Visitor {
    names: Vec<String>,
    values: String,
}

impl Visit for Visitor {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() != "message" {
            self.names.push(field.name().to_owned());
        }
        writeln!(self.values, "{value:?}").unwrap();
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.record_fields(event.metadata(), |visit| event.record(visit));
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        self.record_fields(attributes.metadata(), |visit| attributes.record(visit));
    }
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry/mod.rs");
    fs::read_to_string(path).unwrap()
}

/// The rows of the page's tables with `columns` columns: the name, and the words in backquotes in
/// `column`.
fn documented(columns: usize, column: usize) -> Fields {
    let mut rows = Fields::new();
    for line in page().lines() {
        let cells: Vec<_> = line.trim_start_matches("//! ").split('|').collect();
        if cells.len() != columns + 2 || !cells[1].contains('`') {
            continue;
        }
        let quoted = |text: &str| -> BTreeSet<String> {
            let parts = text.split('`').enumerate();
            parts
                .filter(|(index, _)| index % 2 == 1)
                .map(|(_, part)| part.to_owned())
                .collect()
        };
        let name = quoted(cells[1]).pop_first().unwrap();
        rows.insert(name, quoted(cells[column]));
    }
    rows
}

struct Emitted {
    fields: Fields,
    values: String,
}

/// Makes every kind of event happen, and returns what was emitted.
fn everything(set: impl Fn(TokenCacheBuilder) -> TokenCacheBuilder) -> Emitted {
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            use_a_grant(&set).await;
            use_an_endpoint(&set).await;
            use_stores_that_fail(&set).await;
            sweep_tenants().await;
            load_metadata_again_in_vain().await;
        });
    });
    let fields = recorder.fields.lock().unwrap().clone();
    let values = recorder.values.lock().unwrap().clone();
    Emitted { fields, values }
}

/// Makes a sweep that finishes, and one with a store that cannot list its tenants.
async fn sweep_tenants() {
    let source = Source::new(&ManualClock::new());
    let tenants = source.tenants().store(Store::default());
    let tenants = tenants.build().unwrap();
    tenants.sweep().await.unwrap();
    let rows = MemoryStore::new();
    let tenant = TenantId::new("acme").unwrap();
    let grant = Grant::new(Generation::FIRST, GrantState::Active(source.issue(DAY)));
    rows.save(&tenant, None, &grant).await.unwrap();
    // Not encrypted.
    let unreadable = source.tenants().store(encrypted(rows)).build().unwrap();
    unreadable.sweep().await.unwrap();
    let unlisted = source.tenants().store(Unlisted);
    let _unlisted = unlisted.build().unwrap();
    pass(MINUTE).await;
}

fn encrypted(rows: MemoryStore) -> EncryptedStore<MemoryStore> {
    let keys = EncryptionKeys::new(EncryptionKey::generate("k1").unwrap());
    EncryptedStore::new(rows, keys, "client").unwrap()
}

/// A store that can be neither read nor written, and one with a grant that cannot be decrypted.
async fn use_stores_that_fail(set: &impl Fn(TokenCacheBuilder) -> TokenCacheBuilder) {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    let tokens = set(source.cache().store(store.clone()).tenant("acme"));
    let tokens = tokens.build().unwrap();
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    store.fail_loads(true);
    tokens.refresh_now().await.unwrap_err();
    store.fail_loads(false);
    store.fail_intents(true);
    tokens.refresh_now().await.unwrap_err();
    store.fail_intents(false);
    tokens.refresh_now().await.unwrap();

    let rows = MemoryStore::new();
    let tokens = set(source.cache().store(encrypted(rows.clone())).tenant("acme"));
    let tokens = tokens.build().unwrap();
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    tokens.load_status().await.unwrap();
    let tenant = TenantId::new("acme").unwrap();
    let mut row = rows.load(&tenant).await.unwrap().unwrap();
    let expected = Some(row.generation);
    row.generation = row.generation.next();
    rows.save(&tenant, expected, &row).await.unwrap();
    tokens.load_status().await.unwrap_err();
}

/// A store that cannot list its tenants.
struct Unlisted;

impl TokenStore for Unlisted {
    async fn load(&self, _: &TenantId) -> Result<Option<Grant>, Error> {
        Ok(None)
    }

    async fn save(
        &self,
        _: &TenantId,
        _: Option<Generation>,
        _: &Grant,
    ) -> Result<SaveOutcome, Error> {
        Ok(SaveOutcome::Committed)
    }

    async fn acquire(
        &self,
        _: &TenantId,
        _: &LeaseOwner,
        _: Duration,
    ) -> Result<LeaseOutcome, Error> {
        Ok(LeaseOutcome::Acquired)
    }

    async fn release(&self, _: &TenantId, _: &LeaseOwner) -> Result<(), Error> {
        Ok(())
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

async fn use_a_grant(set: &impl Fn(TokenCacheBuilder) -> TokenCacheBuilder) {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let new = || {
        let builder = source.cache().store(store.clone()).tenant("acme");
        set(builder.refresh_token_lifetime(30 * DAY))
            .build()
            .unwrap()
    };
    let (tokens, replica) = (new(), new());
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    tokens.token().await.unwrap();
    replica.token().await.unwrap();
    tokens.refresh_now().await.unwrap();
    clock.shift_wall(3 * 86_400);
    pass(MINUTE).await;
    pass(HOUR).await;
    replica.token().await.unwrap();
    tokens.token().await.unwrap();
    tokens.invalidate();
    store.fail_saves(true);
    tokens.token().await.unwrap();
    pass(MINUTE).await;
    store.fail_saves(false);
    pass(MINUTE).await;
    source.then(Scripted::Fail(Error::response_lost("cut")));
    tokens.refresh_now().await.unwrap();
    for _ in 0..100_000 {
        source.then(Scripted::Fail(unavailable()));
    }
    pass(25 * DAY).await;
    source.clear_script();
    source.then(Scripted::Fail(Error::invalid_grant()));
    tokens.refresh_now().await.unwrap_err();
    // Another replica wins the race for the save, and its token set is adopted.
    let newer = source.issue(DAY);
    tokens.set_tokens(newer).await.unwrap();
    // A consent without a refresh token is rejected.
    let bare = TokenSet::new(AccessToken::new("bare").unwrap(), DAY, clock.wall());
    tokens.set_tokens(bare.clone()).await.unwrap_err();
    // The program rejects one.
    let rejected = tokens.set_tokens_with(bare, ConsentDecision::Reject);
    rejected.await.unwrap_err();
    store.before_next_save({
        let (memory, source) = (store.memory.clone(), source.clone());
        move || async move {
            let tenant = TenantId::new("acme").unwrap();
            let mut grant = memory.load(&tenant).await.unwrap().unwrap();
            let held = grant.generation;
            grant.generation = held.next();
            grant.state = GrantState::Active(source.issue(DAY));
            memory.save(&tenant, Some(held), &grant).await.unwrap();
        }
    });
    tokens.refresh_now().await.unwrap();
    tokens.revoke().await.unwrap();
}

async fn use_an_endpoint(set: &impl Fn(TokenCacheBuilder) -> TokenCacheBuilder) {
    let clock = ManualClock::new();
    let sandbox = Sandbox::builder().clock_starts_at(clock.wall()).build();
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .clock(clock.clone())
        .build::<_, Full<Bytes>, _>(sandbox.service())
        .unwrap();
    let tokens = TokenCache::builder(oauth.clone())
        .clock(clock.clone())
        .tenant("acme");
    let tokens = set(tokens).build().unwrap();
    connect(&sandbox, &oauth, &tokens).await;
    sandbox.change_behavior(|behavior| {
        behavior.expires_at = ExpiresAt::Absent;
        behavior.date = DateHeader::Ahead(HOUR);
    });
    tokens.refresh_now().await.unwrap();
    exchange_a_code_without_a_lifetime(&sandbox).await;
    let api = BearerAuthLayer::<Full<Bytes>>::new(tokens.clone()).layer(sandbox.service());
    for _ in 0..2 {
        pass(31 * SECOND).await;
        sandbox.revoke_access_tokens();
        let company = http::Request::get(format!("{}/v1/company", sandbox.url()));
        let company = company.body(Full::<Bytes>::default()).unwrap();
        assert_eq!(api.clone().oneshot(company).await.unwrap().status(), 200);
    }
    let fault = Fault::status(StatusCode::SERVICE_UNAVAILABLE).retry_after("60");
    sandbox.inject(Endpoint::Token, fault);
    tokens.refresh_now().await.unwrap_err();
    pass(2 * MINUTE).await;
    tokens.refresh_now().await.unwrap();
    // The grant becomes stuck, and recovers.
    for _ in 0..5 {
        let body = r#"{"error":"invalid_scope","error_description":"unknown scope"}"#;
        let fault = Fault::status(StatusCode::BAD_REQUEST).body(body);
        sandbox.inject(Endpoint::Token, fault);
        tokens.refresh_now().await.unwrap_err();
        pass(4 * MINUTE).await;
    }
    tokens.refresh_now().await.unwrap();
    sandbox.inject(Endpoint::Token, Fault::drop_connection());
    pass(MINUTE).await;
    tokens.refresh_now().await.unwrap();
    // The secret is wrong for a while, and then the provider ends the grant.
    oauth.replace_secret("not-the-secret").unwrap();
    pass(MINUTE).await;
    tokens.refresh_now().await.unwrap_err();
    oauth.replace_secret(sandbox.client_secret()).unwrap();
    pass(MINUTE).await;
    tokens.refresh_now().await.unwrap();
    sandbox.revoke_grants();
    pass(MINUTE).await;
    tokens.refresh_now().await.unwrap_err();
}

/// At a provider whose responses and data state no lifetime, and name an account that does not
/// match its pattern.
async fn exchange_a_code_without_a_lifetime(sandbox: &Sandbox) {
    let provider = Provider::builder(format!("{}/oauth/token", sandbox.url()))
        .authorization_endpoint(format!("{}/oauth/authorize", sandbox.url()))
        .client_authentication(ClientAuthentication::RequestBody)
        .kept_value(
            "account",
            KeptValue::new(ValueSource::Response)
                .name("access_token")
                .pattern("[a-z]{3}"),
        )
        .build()
        .unwrap();
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .build::<_, Full<Bytes>, _>(sandbox.service())
        .unwrap();
    let (url, pending) = oauth.authorization_url().unwrap();
    let callback = sandbox.consent(&url).await.unwrap();
    let code = pending.accept(&callback).unwrap();
    let tokens = oauth.exchange_code(code).await.unwrap();
    assert_eq!(tokens.lifetime(), None);
    assert!(tokens.values().is_empty());
}

async fn load_metadata_again_in_vain() {
    let mut responses = vec![r#"{"issuer": "https://id.example.com"}"#, "{}"].into_iter();
    let responses = Arc::new(Mutex::new(move || responses.next().unwrap_or_default()));
    let http = tower::service_fn(move |_: http::Request<Full<Bytes>>| {
        let body = (responses.lock().unwrap())();
        async move { Ok::<_, std::io::Error>(http::Response::new(Full::<Bytes>::from(body))) }
    });
    let discovery = Discovery::builder("https://id.example.com");
    let discovery = discovery.build(http).unwrap();
    discovery.metadata().await.unwrap();
    discovery.refresh().await.unwrap_err();
}

#[test]
fn every_event_and_span_is_documented_with_its_fields() {
    let mut documented: Fields = documented(4, 3);
    // The tests of `connect` cover the events of the router.
    documented.retain(|name, _| name.contains('.') && !name.starts_with("connect."));
    let mut emitted = everything(TokenCacheBuilder::record_tenant).fields;
    for (name, fields) in &mut emitted {
        // Documented once above the table, for all events.
        let is_span = name == "token.refresh";
        assert!(is_span || fields.remove("event"), "{name} has no name");
        let of_no_grant = ["discovery.", "endpoint.", "sweep.", "store.recovered"];
        let is_of_a_grant = !of_no_grant.iter().any(|group| name.starts_with(group));
        // Documented once above the table. The span has it in its row.
        if is_of_a_grant && !is_span {
            assert!(fields.remove("tenant"), "{name} does not name the tenant");
        }
    }
    assert_eq!(emitted, documented);
}

#[test]
fn no_event_names_the_tenant_unless_it_is_recorded() {
    let emitted = everything(|builder| builder);
    assert!(!emitted.values.contains("acme"));
    assert!(
        emitted
            .fields
            .values()
            .all(|fields| !fields.contains("tenant"))
    );
    let emitted = everything(TokenCacheBuilder::record_tenant);
    assert!(emitted.values.contains("acme"));
}

#[test]
fn only_the_telemetry_module_emits_events_and_metrics() {
    fn visit(directory: &Path) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("telemetry") {
                visit(&path);
            } else if path.is_file() {
                let text = fs::read_to_string(&path).unwrap();
                for word in [
                    "trace!(",
                    "debug!(",
                    "info!(",
                    "warn!(",
                    "error!(",
                    "metrics::",
                ] {
                    assert!(!text.contains(&format!("tracing::{word}")), "{path:?}");
                }
            }
        }
    }
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
}

#[cfg(feature = "metrics")]
mod metrics {
    use metrics_util::{
        MetricKind,
        debugging::{DebugValue, DebuggingRecorder},
    };

    use super::{BTreeSet, Fields, documented, everything};

    /// Names and labels of what was measured, and all values of labels.
    fn measured(records_tenant: bool) -> (Fields, BTreeSet<(String, String)>) {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, || {
            everything(|builder| {
                if records_tenant {
                    builder.record_tenant()
                } else {
                    builder
                }
            });
        });
        let (mut names, mut values) = (Fields::new(), BTreeSet::new());
        for (key, _, _, value) in snapshotter.snapshot().into_vec() {
            let (kind, key) = key.into_parts();
            let labels = names.entry(key.name().to_owned()).or_default();
            for label in key.labels() {
                labels.insert(label.key().to_owned());
                values.insert((label.key().to_owned(), label.value().to_owned()));
            }
            match (kind, value) {
                (MetricKind::Counter, DebugValue::Counter(count)) => assert!(count > 0),
                (MetricKind::Gauge, DebugValue::Gauge(value)) => assert!(value.0 >= 0.0),
                (MetricKind::Histogram, DebugValue::Histogram(durations)) => {
                    assert!(!durations.is_empty());
                }
                (kind, value) => panic!("{kind:?} {value:?}"),
            }
        }
        (names, values)
    }

    #[test]
    fn every_metric_is_documented_with_its_labels() {
        let mut documented = documented(4, 3);
        documented.retain(|name, _| name.starts_with("tower_oauth2_client_"));
        let (mut names, values) = measured(true);
        for (name, labels) in &mut names {
            let is_of_a_grant =
                !name.contains("circuit") && !name.contains("clock") && !name.contains("_grants");
            let is_in_its_row = name.ends_with("_remaining_seconds");
            if is_of_a_grant && !is_in_its_row {
                assert!(labels.remove("tenant"), "{name} does not name the tenant");
            }
        }
        assert_eq!(names, documented);
        let page = super::page();
        for (label, value) in values {
            let is_constant = label != "tenant";
            assert!(
                !is_constant || page.contains(&format!("`{value}`")),
                "{value}"
            );
        }
    }

    #[test]
    fn no_label_or_gauge_is_of_one_grant_unless_the_tenant_is_recorded() {
        let (names, values) = measured(false);
        assert!(values.iter().all(|(label, _)| label != "tenant"));
        assert!(
            names
                .keys()
                .all(|name| !name.ends_with("_remaining_seconds"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p21_no_secret_is_emitted() {
    let at = ManualClock::new().wall();
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let source = Source::new(&ManualClock::new());
    let tokens = source.cache().store(MemoryStore::new()).record_tenant();
    let tokens = tokens.build().unwrap();
    let secret = TokenSet::new(AccessToken::new("seeded-access").unwrap(), DAY, at)
        .with_refresh_token(RefreshToken::new("seeded-refresh"), at);
    tokens.set_tokens(secret).await.unwrap();
    source.then(Scripted::Fail(Error::response_lost("cut")));
    tokens.refresh_now().await.unwrap();
    assert_eq!(
        tokens.status().generation,
        Some(Generation::from_u64(2)),
        "{:?}",
        tokens.status()
    );
    let values = recorder.values.lock().unwrap();
    assert!(!values.is_empty() && !values.contains("seeded"));
    assert!(!format!("{:?}", tokens.status()).contains("seeded"));
}
