//! P20: customers of one provider have their API at different addresses, and a token leaves only
//! for that of its own grant.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Empty;
use tokio::{sync::Notify, task::JoinSet};
use tower::{Layer, ServiceExt, util::BoxCloneSyncService};
use tower_oauth2_client::{
    Error, ErrorKind,
    bearer::{BearerAuthLayer, CrossOrigin, ReplayBody, ResponseUri},
    cache::{TokenCache, TokenSource},
    clock::Clock,
    provider::{KeptValue, Provider, ProviderBuilder, TokenHeader, ValueSource},
    store::{MemoryStore, TokenStore},
    tenants::Tenants,
    token::{
        AccessToken, Generation, Grant, GrantState, KeptValues, RefreshToken, TenantId, TokenSet,
    },
};

use crate::support::{DAY, HOUR, MINUTE, ManualClock, Store, named, numbered, pass, put};

type Body = Empty<Bytes>;
type Inner = BoxCloneSyncService<Request<ReplayBody<Body>>, Response<Body>, Infallible>;
type Outcome = Result<StatusCode, ErrorKind>;

fn shops() -> ProviderBuilder {
    Provider::builder("https://id.example.com/token")
        .api_origin("https://{shop}.shops.example")
        .kept_value(
            "shop",
            KeptValue::new(ValueSource::Connect).pattern("[a-z0-9-]+"),
        )
        .kept_value(
            "account",
            KeptValue::new(ValueSource::Callback).pattern("[0-9]+"),
        )
}

/// A token whose name begins with the shop that it may be sent to.
fn token_set(shop: &str, number: u64, lifetime: Duration, clock: &impl Clock) -> TokenSet {
    let now = clock.wall();
    TokenSet::new(
        AccessToken::new(format!("{shop}.{number}")).unwrap(),
        lifetime,
        now,
    )
    .with_refresh_token(RefreshToken::new(format!("r-{shop}.{number}")), now)
    .with_value("shop", shop)
}

/// A provider whose refreshes take a while, and whose responses keep the address.
#[derive(Clone)]
struct Issuer {
    provider: Provider,
    clock: ManualClock,
    issued: Arc<AtomicU64>,
}

impl Issuer {
    fn new(provider: ProviderBuilder, clock: &ManualClock) -> Self {
        Self {
            provider: provider.build().unwrap(),
            clock: clock.clone(),
            issued: Arc::default(),
        }
    }

    fn refreshes(&self) -> u64 {
        self.issued.load(Ordering::SeqCst)
    }

    fn tenants(&self, store: impl TokenStore) -> Tenants {
        Tenants::builder(self.clone())
            .store(store)
            .clock(self.clock.clone())
            .jitter_seed(7)
            .background_delay(Duration::ZERO)
            .capacity(10_000)
            .build()
            .unwrap()
    }
}

impl TokenSource for Issuer {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let held = held.ok_or_else(Error::invalid_grant)?;
        let shop = held.values().get("shop").unwrap_or("unknown");
        let number = self.issued.fetch_add(1, Ordering::SeqCst) + 1_000_000;
        pass(Duration::from_millis(50)).await;
        let tokens = token_set(shop, number, HOUR, &self.clock);
        let others = held.values().iter().filter(|(name, _)| *name != "shop");
        Ok(others.fold(tokens, |tokens, (name, value)| {
            tokens.with_value(name, value)
        }))
    }

    fn provider(&self) -> Option<&Provider> {
        Some(&self.provider)
    }
}

/// A request as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    host: String,
    token: Option<String>,
    account: Option<String>,
}

impl Sent {
    fn of<B>(request: &Request<B>, header: &HeaderName) -> Self {
        let token = request.headers().get(header);
        let values = request.extensions().get::<KeptValues>();
        Self {
            host: request.uri().host().unwrap().to_owned(),
            token: token.map(|token| {
                assert!(token.is_sensitive());
                token.to_str().unwrap().to_owned()
            }),
            account: values.and_then(|values| Some(values.get("account")?.to_owned())),
        }
    }

    /// Whether the token was issued for the host that got it.
    fn is_to_its_own_host(&self) -> bool {
        let token = self.token.as_deref().unwrap_or_default();
        let token = token.strip_prefix("Bearer ").unwrap_or(token);
        let (shop, _) = token.split_once('.').unwrap_or_default();
        self.host == format!("{shop}.shops.example")
    }
}

/// The APIs of all customers. Records what arrives anywhere.
#[derive(Clone)]
struct Apis {
    sent: Arc<Mutex<Vec<Sent>>>,
    header: HeaderName,
    /// The tokens that are rejected.
    rejected: Arc<Mutex<Vec<String>>>,
    /// Notified when a request has arrived, and has to wait for the permission to respond.
    gate: Option<Arc<(Notify, Notify)>>,
}

impl Apis {
    fn new() -> Self {
        Self {
            sent: Arc::default(),
            header: AUTHORIZATION,
            rejected: Arc::default(),
            gate: None,
        }
    }

    fn reject(&self, token: &str) {
        self.rejected
            .lock()
            .unwrap()
            .push(format!("Bearer {token}"));
    }

    fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    fn service(&self) -> Inner {
        let apis = self.clone();
        BoxCloneSyncService::new(tower::service_fn(
            move |request: Request<ReplayBody<Body>>| {
                let apis = apis.clone();
                async move { Ok(apis.respond(&request).await) }
            },
        ))
    }

    async fn respond(&self, request: &Request<ReplayBody<Body>>) -> Response<Body> {
        let sent = Sent::of(request, &self.header);
        self.sent.lock().unwrap().push(sent.clone());
        match &self.gate {
            Some(gate) => {
                gate.0.notify_one();
                gate.1.notified().await;
            }
            None => pass(Duration::from_millis(20)).await,
        }
        let mut response = Response::new(Body::new());
        let is_rejected = sent
            .token
            .is_some_and(|token| self.rejected.lock().unwrap().contains(&token));
        if is_rejected {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        response
    }
}

type Layered = BearerAuthLayer<ReplayBody<Body>>;

async fn call(layer: &Layered, apis: &Apis, request: Request<Body>) -> Outcome {
    let response = layer.layer(apis.service()).oneshot(request).await;
    response
        .map(|response| response.status())
        .map_err(|error| error.kind())
}

fn to(shop: &str, tenant: &TenantId) -> Request<Body> {
    get(&format!("https://{shop}.shops.example"), Some(tenant))
}

fn get(origin: &str, tenant: Option<&TenantId>) -> Request<Body> {
    let request = Request::get(format!("{origin}/v1/company"));
    let request = match tenant {
        Some(tenant) => request.extension(tenant.clone()),
        None => request,
    };
    request.body(Body::new()).unwrap()
}

fn active(tokens: TokenSet) -> Grant {
    Grant::new(Generation::FIRST, GrantState::Active(tokens))
}

/// Values that a store contains by an attack, or since the provider's data have changed. Each
/// begins with the name of the value that is wrong.
fn forged(number: u64, tokens: TokenSet) -> (&'static str, TokenSet) {
    let shop = |value: &str| ("shop", tokens.clone().with_value("shop", value));
    let long = "a".repeat(3_000);
    match number % 14 {
        0 => shop("evil.example/"),
        1 => shop("evil.example#"),
        2 => shop("evil.example?"),
        3 => shop("evil.example:443"),
        4 => shop("user@evil"),
        5 => shop("evil.example\\"),
        6 => shop("%65vil"),
        7 => shop(""),
        8 => shop(".."),
        9 => shop("Acme"),
        10 => shop(&long),
        11 => shop("shop\n"),
        12 => {
            let now = tokens.issued_at();
            let token = AccessToken::new("forged.0").unwrap();
            ("shop", TokenSet::new(token, DAY, now))
        }
        _ => ("account", tokens.with_value("account", "../1")),
    }
}

const TENANTS: u64 = 1_000;

fn is_forged(number: u64) -> bool {
    number.is_multiple_of(10)
}

fn shop_of(number: u64) -> String {
    format!("shop-{number}")
}

/// A thousand customers on a thousand hosts behind one layer. The values of a hundred are forged.
/// Of the others, some have an expired token, some get a 401, and some move to another host.
#[tokio::test(start_paused = true)]
async fn p20_no_token_leaves_for_a_host_that_is_not_its_own() {
    let clock = ManualClock::new();
    let issuer = Issuer::new(shops(), &clock);
    let (store, apis) = (Store::default(), Apis::new());
    for number in 0..TENANTS {
        let shop = shop_of(number);
        let lifetime = if number % 10 == 2 { MINUTE } else { DAY };
        let mut tokens = token_set(&shop, number, lifetime, &clock);
        tokens = tokens.with_value("account", &number.to_string());
        if is_forged(number) {
            (_, tokens) = forged(number / 10, tokens);
        }
        if number % 10 == 1 || number % 10 == 3 {
            apis.reject(&format!("{shop}.{number}"));
        }
        put(&store.memory, &numbered(number), &active(tokens)).await;
    }
    // The tokens are old enough for a 401 to concern them.
    pass(2 * MINUTE).await;
    let tenants = issuer.tenants(store);
    let layer = BearerAuthLayer::new(tenants.clone());
    let mut callers = JoinSet::new();
    for number in 0..TENANTS {
        let (layer, apis, tenants) = (layer.clone(), apis.clone(), tenants.clone());
        let clock = clock.clone();
        callers.spawn(async move {
            let tenant = numbered(number);
            let (shop, other) = (shop_of(number), shop_of((number + 1) % TENANTS));
            // Several at once, so that they share loads, refreshes and retries.
            let own = || async { call(&layer, &apis, to(&shop, &tenant)).await };
            let foreign = || async { call(&layer, &apis, to(&other, &tenant)).await };
            let moves = async {
                if number % 10 == 3 {
                    pass(Duration::from_millis(10)).await;
                    let moved = token_set(&format!("new-{shop}"), 1, DAY, &clock);
                    tenants.set_tokens(&tenant, moved).await.unwrap();
                }
            };
            let (first, second, third, ()) = tokio::join!(own(), foreign(), own(), moves);
            if number % 10 == 3 {
                // The token of the new host does not go to the old one.
                let rejected = [first, third];
                assert_eq!(rejected, [Ok(StatusCode::UNAUTHORIZED); 2], "{number}");
                assert_eq!(own().await, Err(ErrorKind::Request), "{number}");
                let new = call(&layer, &apis, to(&format!("new-{shop}"), &tenant)).await;
                assert_eq!(new, Ok(StatusCode::OK), "{number}");
                assert_eq!(second, Err(ErrorKind::Request), "{number}");
                return;
            }
            let (expected, of_foreign) = if is_forged(number) {
                (Err(ErrorKind::KeptValue), Err(ErrorKind::KeptValue))
            } else {
                (Ok(StatusCode::OK), Err(ErrorKind::Request))
            };
            for outcome in [first, third, own().await] {
                assert_eq!(outcome, expected, "{number}");
            }
            for outcome in [second, foreign().await] {
                assert_eq!(outcome, of_foreign, "{number}");
            }
        });
    }
    callers.join_all().await;

    let sent = apis.sent();
    for sent in &sent {
        assert!(sent.is_to_its_own_host(), "{sent:?}");
        assert!(!sent.host.contains("evil"), "{sent:?}");
    }
    for number in (0..TENANTS).filter(|number| is_forged(*number)) {
        let host = format!("{}.shops.example", shop_of(number));
        assert!(sent.iter().all(|sent| sent.host != host), "{number}");
    }
    // Three requests each of those that stay, and a retry of two of those that get a 401; two
    // rejected ones and one at the new host of those that move.
    assert_eq!(sent.len(), 700 * 3 + 100 * (3 + 2) + 100 * 3);
    // One refresh each of those that have expired or get a 401.
    assert_eq!(issuer.refreshes(), 200);
}

/// Each of the states in which a request waits, while its customer connects with another host.
#[tokio::test(start_paused = true)]
async fn p20_consent_that_moves_a_tenant_strands_no_token() {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum During {
        FirstAttempt,
        WaitForToken,
        RefreshAfter401,
        PauseAfter401,
    }
    for during in [
        During::FirstAttempt,
        During::WaitForToken,
        During::RefreshAfter401,
        During::PauseAfter401,
    ] {
        let clock = ManualClock::new();
        let issuer = Issuer::new(shops(), &clock);
        let tenants = issuer.tenants(MemoryStore::new());
        let tenant = named("acme");
        let lifetime = if during == During::WaitForToken {
            MINUTE
        } else {
            DAY
        };
        let tokens = token_set("old", 1, lifetime, &clock);
        tenants.set_tokens(&tenant, tokens).await.unwrap();
        if during != During::PauseAfter401 {
            pass(2 * MINUTE).await;
        }
        let apis = Apis::new();
        apis.reject("old.1");
        let layer = BearerAuthLayer::new(tenants.clone());
        let moves = async {
            pass(match during {
                During::FirstAttempt | During::WaitForToken => Duration::from_millis(10),
                During::RefreshAfter401 => Duration::from_millis(40),
                During::PauseAfter401 => Duration::from_secs(1),
            })
            .await;
            let moved = token_set("new", 2, DAY, &clock);
            tenants.set_tokens(&tenant, moved).await.unwrap();
        };
        let request = to("old", &tenant);
        let (outcome, ()) = tokio::join!(call(&layer, &apis, request), moves);
        let expected = match during {
            During::WaitForToken => Err(ErrorKind::Request),
            _ => Ok(StatusCode::UNAUTHORIZED),
        };
        assert_eq!(outcome, expected, "{during:?}");
        let after = call(&layer, &apis, to("new", &tenant)).await;
        assert_eq!(after, Ok(StatusCode::OK), "{during:?}");
        let hosts: Vec<_> = apis.sent().into_iter().map(|sent| sent.host).collect();
        let first = (during != During::WaitForToken).then_some("old.shops.example");
        let expected: Vec<_> = first.into_iter().chain(["new.shops.example"]).collect();
        assert_eq!(hosts, expected, "{during:?}");
        assert!(apis.sent().iter().all(Sent::is_to_its_own_host));
    }
}

/// Threads send requests to both hosts of a customer that moves to and fro.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p20_token_and_address_change_at_once() {
    const HOSTS: [&str; 2] = ["even", "odd"];
    let clock = ManualClock::new();
    let issuer = Issuer::new(shops(), &clock);
    let tenants = issuer.tenants(MemoryStore::new());
    let (tenant, apis) = (named("acme"), Apis::new());
    let tokens = |number: usize| token_set(HOSTS[number % 2], number as u64, DAY, &clock);
    tenants.set_tokens(&tenant, tokens(0)).await.unwrap();
    let one = tenants.cache(&tenant).await.unwrap();
    let sent: Arc<Mutex<BTreeSet<(String, String)>>> = Arc::default();
    let has_ended = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&has_ended);
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let layer = if caller % 2 == 0 {
            BearerAuthLayer::new(tenants.clone())
        } else {
            BearerAuthLayer::new(one.clone())
        };
        let sent = Arc::clone(&sent);
        let (tenant, header) = (tenant.clone(), apis.header.clone());
        let mut service = layer.layer(tower::service_fn(
            move |request: Request<ReplayBody<Body>>| {
                let arrived = Sent::of(&request, &header);
                assert!(arrived.is_to_its_own_host(), "{arrived:?}");
                let token = arrived.token.unwrap_or_default();
                sent.lock().unwrap().insert((arrived.host, token));
                async { Ok::<_, Infallible>(Response::new(Body::new())) }
            },
        ));
        callers.spawn(async move {
            for number in 0..2_000 {
                let request = to(HOSTS[number % 2], &tenant);
                let service = service.ready().await.unwrap();
                match tower::Service::call(service, request).await {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Request),
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let callers = tokio::spawn(async move {
        callers.join_all().await;
        ended.store(true, Ordering::SeqCst);
    });
    for number in 1.. {
        tenants.set_tokens(&tenant, tokens(number)).await.unwrap();
        if has_ended.load(Ordering::SeqCst) {
            break;
        }
    }
    callers.await.unwrap();
    // Each of several tokens has reached its host.
    let sent = sent.lock().unwrap();
    for host in HOSTS {
        let host = format!("{host}.shops.example");
        let count = sent.iter().filter(|(other, _)| *other == host).count();
        assert!(count > 1, "{host}: {count}");
    }
}

/// A tenant that has moved to another host is served there, whichever replica it connected at.
#[tokio::test(start_paused = true)]
async fn p20_replica_adopts_the_address_with_the_token() {
    let clock = ManualClock::new();
    let issuer = Issuer::new(shops(), &clock);
    let store = MemoryStore::new();
    let (here, there) = (issuer.tenants(store.clone()), issuer.tenants(store));
    let (tenant, apis) = (named("acme"), Apis::new());
    let layer = BearerAuthLayer::new(here);
    for (number, shop) in ["one", "two", "three"].into_iter().enumerate() {
        let number = u64::try_from(number).unwrap();
        let tokens = token_set(shop, number, DAY, &clock);
        there.set_tokens(&tenant, tokens).await.unwrap();
        pass(MINUTE).await;
        let outcome = call(&layer, &apis, to(shop, &tenant)).await;
        assert_eq!(outcome, Ok(StatusCode::OK), "{shop}");
    }
    assert!(apis.sent().iter().all(Sent::is_to_its_own_host));
    assert_eq!(
        call(&layer, &apis, to("one", &tenant)).await,
        Err(ErrorKind::Request)
    );
}

/// Tokens of two tenants, each request of one with the host of the other.
#[tokio::test(start_paused = true)]
async fn p23_request_to_the_host_of_another_tenant_is_rejected() {
    let clock = ManualClock::new();
    let issuer = Issuer::new(shops().api_origin("https://common.example"), &clock);
    let tenants = issuer.tenants(Store::default());
    for name in ["acme", "initech"] {
        let tokens = token_set(name, 1, DAY, &clock);
        tenants.set_tokens(&named(name), tokens).await.unwrap();
    }
    let apis = Apis::new();
    let by_header: Layered = BearerAuthLayer::new(tenants.clone()).tenant_by(|head| {
        let name = head.headers.get("x-customer")?.to_str().ok()?;
        TenantId::new(name).ok()
    });
    for layer in [BearerAuthLayer::new(tenants), by_header] {
        for (name, origin, expected) in [
            ("acme", "https://initech.shops.example", false),
            ("initech", "https://acme.shops.example", false),
            ("acme", "https://acme.shops.example:8443", false),
            ("acme", "http://acme.shops.example", false),
            ("acme", "https://acme.shops.example.evil.example", false),
            ("acme", "https://x.acme.shops.example", false),
            ("acme", "https://acme@initech.shops.example", false),
            ("acme", "https://acme.shops.example", true),
            ("acme", "https://ACME.shops.example:443", true),
            ("initech", "https://initech.shops.example", true),
            ("initech", "https://common.example", true),
        ] {
            let before = apis.sent().len();
            // The first requests of a service and the later ones take different ways.
            let service = layer.layer(apis.service());
            for _ in 0..3 {
                let mut request = get(origin, Some(&named(name)));
                let header = HeaderValue::from_str(name).unwrap();
                request.headers_mut().insert("x-customer", header);
                let outcome = service.clone().oneshot(request).await;
                let outcome = outcome.map(drop).map_err(|error| error.kind());
                let expected = if expected {
                    Ok(())
                } else {
                    Err(ErrorKind::Request)
                };
                assert_eq!(outcome, expected, "{name} {origin}");
            }
            let sent = apis.sent();
            assert_eq!(sent.len() - before, if expected { 3 } else { 0 });
            for sent in &sent[before..] {
                let token = sent.token.as_deref().unwrap();
                assert_eq!(token, format!("Bearer {name}.1"), "{origin}");
            }
        }
    }
    // Some stacks route by the `Host` header.
    let tokens = token_set("acme", 1, DAY, &clock);
    let tenants = issuer.tenants(Store::default());
    tenants.set_tokens(&named("acme"), tokens).await.unwrap();
    let layer = BearerAuthLayer::new(tenants);
    for (host, expected) in [
        ("initech.shops.example", Err(ErrorKind::Request)),
        ("acme.shops.example", Ok(StatusCode::OK)),
    ] {
        let mut request = to("acme", &named("acme"));
        let host = HeaderValue::from_static(host);
        request.headers_mut().insert("host", host);
        assert_eq!(call(&layer, &apis, request).await, expected);
    }
}

/// Where the layer sends cross-origin requests without a token, the host of another tenant is
/// cross-origin. The own host never is.
#[tokio::test(start_paused = true)]
async fn p17_cross_origin_request_is_sent_without_a_token_and_others_are_not() {
    for lifetime in [DAY, MINUTE] {
        let clock = ManualClock::new();
        let issuer = Issuer::new(shops(), &clock);
        let store = MemoryStore::new();
        for name in ["acme", "initech"] {
            let grant = active(token_set(name, 1, lifetime, &clock));
            put(&store, &named(name), &grant).await;
        }
        let (_, wrong) = forged(0, token_set("forged", 1, lifetime, &clock));
        put(&store, &named("forged"), &active(wrong)).await;
        pass(2 * MINUTE).await;
        let layer = BearerAuthLayer::new(issuer.tenants(store));
        let layer: Layered = layer.cross_origin(CrossOrigin::SendUnauthenticated);
        let apis = Apis::new();
        for (tenant, shop, expected) in [
            (Some("acme"), "initech", Ok(false)),
            (Some("acme"), "acme", Ok(true)),
            (Some("acme"), "cdn", Ok(false)),
            (Some("initech"), "initech", Ok(true)),
            (None, "acme", Ok(false)),
            (Some("unknown"), "acme", Err(ErrorKind::NoGrant)),
            (Some("forged"), "forged", Err(ErrorKind::KeptValue)),
            (Some("forged"), "acme", Err(ErrorKind::KeptValue)),
        ] {
            let before = apis.sent().len();
            let tenant = tenant.map(named);
            let request = get(&format!("https://{shop}.shops.example"), tenant.as_ref());
            let outcome = call(&layer, &apis, request).await;
            assert_eq!(
                outcome.map(|_| ()),
                expected.map(|_| ()),
                "{tenant:?} {shop}"
            );
            let sent = &apis.sent()[before..];
            let has_token = sent.first().map(|sent| sent.token.is_some());
            assert_eq!(has_token, expected.ok(), "{tenant:?} {shop}");
            let is_own = |sent: &Sent| sent.token.is_none() || sent.is_to_its_own_host();
            assert!(sent.iter().all(is_own));
        }
        // A request keeps the header that its caller has set, unless it goes to the own host.
        for (shop, expected) in [
            ("cdn", Ok(StatusCode::OK)),
            ("acme", Err(ErrorKind::Request)),
        ] {
            let mut request = to(shop, &named("acme"));
            let mut own = HeaderValue::from_static("Basic x");
            own.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, own);
            assert_eq!(call(&layer, &apis, request).await, expected, "{shop}");
        }
        let last = apis.sent().pop().unwrap();
        assert_eq!(last.token.as_deref(), Some("Basic x"));
    }
}

/// The error names the value, and not what an attacker has made of it.
#[tokio::test(start_paused = true)]
async fn p21_error_of_a_forged_value_names_the_value_alone() {
    let clock = ManualClock::new();
    let issuer = Issuer::new(shops(), &clock);
    let store = MemoryStore::new();
    let mut names = Vec::new();
    for number in 0..14 {
        let (name, tokens) = forged(number, token_set("forged", number, DAY, &clock));
        put(&store, &numbered(number), &active(tokens)).await;
        names.push(name);
    }
    let tenants = issuer.tenants(store);
    let apis = Apis::new();
    for (number, name) in (0..).zip(names) {
        let service = BearerAuthLayer::new(tenants.clone()).layer(apis.service());
        let outcome = service.oneshot(to("forged", &numbered(number))).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeptValue, "{number}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(&format!("kept value {name} ")), "{text}");
        for content in ["evil", "Acme", "aaa", "../1", "%65", "tenant-0"] {
            assert!(!text.contains(content), "{text}");
        }
        let values = tenants.values(&numbered(number)).await;
        assert_eq!(values.unwrap_err().kind(), ErrorKind::KeptValue);
    }
    assert!(apis.sent().is_empty());
}

#[tokio::test(start_paused = true)]
async fn kept_values_are_in_the_extensions_of_each_attempt() {
    let clock = ManualClock::new();
    let issuer = Issuer::new(shops().api_origin("https://common.example"), &clock);
    let tenants = issuer.tenants(MemoryStore::new());
    let tenant = named("acme");
    let tokens =
        |number, account| token_set("acme", number, DAY, &clock).with_value("account", account);
    tenants.set_tokens(&tenant, tokens(1, "42")).await.unwrap();
    pass(MINUTE).await;
    let layer = BearerAuthLayer::new(tenants.clone());
    let mut apis = Apis::new();
    apis.reject("acme.1");
    let accounts = |apis: &Apis| {
        let sent = apis.sent.lock().unwrap().split_off(0);
        sent.into_iter()
            .map(|sent| sent.account)
            .collect::<Vec<_>>()
    };
    let same = Some("42".to_owned());
    for origin in ["https://acme.shops.example", "https://common.example"] {
        let outcome = call(&layer, &apis, get(origin, Some(&tenant))).await;
        assert_eq!(outcome, Ok(StatusCode::OK));
    }
    // Before and after the 401, and at the origin that all tenants share.
    assert_eq!(accounts(&apis), [same.clone(), same.clone(), same.clone()]);

    // The retry has the values of its own token.
    tenants.set_tokens(&tenant, tokens(2, "43")).await.unwrap();
    pass(MINUTE).await;
    apis.reject("acme.2");
    let gate = Arc::new((Notify::new(), Notify::new()));
    apis.gate = Some(Arc::clone(&gate));
    let consent = async {
        gate.0.notified().await;
        tenants.set_tokens(&tenant, tokens(3, "44")).await.unwrap();
        gate.1.notify_one();
        gate.0.notified().await;
        gate.1.notify_one();
    };
    let request = to("acme", &tenant);
    let (outcome, ()) = tokio::join!(call(&layer, &apis, request), consent);
    assert_eq!(outcome, Ok(StatusCode::OK));
    let (old, new) = (Some("43".to_owned()), Some("44".to_owned()));
    assert_eq!(accounts(&apis), [old, new]);
}

/// Any source may return values, also one that names no provider. All requests share them.
#[tokio::test(start_paused = true)]
async fn kept_values_are_shared_and_readable_without_a_token() {
    let clock = ManualClock::new();
    let store = MemoryStore::new();
    let tenant = named("default");
    let tokens = token_set("acme", 1, MINUTE, &clock).with_value("account", "42");
    put(&store, &tenant, &active(tokens)).await;
    put(
        &store,
        &named("bare"),
        &active(TokenSet::new(
            AccessToken::new("b").unwrap(),
            DAY,
            clock.wall(),
        )),
    )
    .await;
    let source = crate::support::Source::new(&clock);
    let cache = || source.cache().store(store.clone()).build().unwrap();
    // The access token has expired, and no refresh is made for the values.
    pass(HOUR).await;
    let cache_of_one = cache();
    let values = cache_of_one.values().await.unwrap();
    assert_eq!(values.get("account"), Some("42"));
    assert_eq!(values.iter().count(), 2);
    let tenants = source.tenants().store(store.clone()).build().unwrap();
    assert_eq!(tenants.resident_count(), 0);
    assert_eq!(tenants.values(&tenant).await.unwrap(), values);
    assert!(tenants.values(&named("bare")).await.unwrap().is_empty());
    assert_eq!(source.refreshes(), 0);
    let missing = tenants.values(&named("missing")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NoGrant);
    let empty = source.cache().build().unwrap().values().await.unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::NoGrant);

    // One copy for all requests of a service.
    let seen: Arc<Mutex<Vec<Option<usize>>>> = Arc::default();
    let record = Arc::clone(&seen);
    let inner = tower::service_fn(move |request: Request<ReplayBody<Body>>| {
        let values = request.extensions().get::<KeptValues>();
        let address = values.map(|values| values.get("account").unwrap().as_ptr().addr());
        record.lock().unwrap().push(address);
        async { Ok::<_, Infallible>(Response::new(Body::new())) }
    });
    let fresh = token_set("acme", 2, DAY, &clock).with_value("account", "42");
    cache_of_one.set_tokens(fresh).await.unwrap();
    let mut service = BearerAuthLayer::new(cache_of_one.clone()).layer(inner);
    for _ in 0..4 {
        let request = get(crate::support::API, None);
        service.ready().await.unwrap();
        tower::Service::call(&mut service, request).await.unwrap();
    }
    let seen: Vec<_> = seen.lock().unwrap().split_off(0);
    assert!(seen.iter().all(Option::is_some));
    assert_eq!(seen[1], seen[2]);
    assert_eq!(seen[2], seen[3]);

    // A grant without values: nothing is inserted.
    let bare = TokenSet::new(AccessToken::new("b").unwrap(), DAY, clock.wall())
        .with_refresh_token(RefreshToken::new("r"), clock.wall());
    cache_of_one.set_tokens(bare).await.unwrap();
    let apis = Apis::new();
    let layer = BearerAuthLayer::new(cache_of_one.clone());
    call(&layer, &apis, get(crate::support::API, None))
        .await
        .unwrap();
    assert_eq!(apis.sent()[0].account, None);
    cache_of_one.revoke().await.unwrap();
    let revoked = cache_of_one.values().await.unwrap_err();
    assert_eq!(revoked.kind(), ErrorKind::Revoked);
}

#[tokio::test(start_paused = true)]
async fn p20_one_grant_has_an_address_too() {
    let clock = ManualClock::new();
    let issuer = Issuer::new(shops(), &clock);
    let cache = TokenCache::builder(issuer.clone())
        .clock(clock.clone())
        .build()
        .unwrap();
    assert!(cache.origins().is_empty());
    cache
        .set_tokens(token_set("acme", 1, DAY, &clock))
        .await
        .unwrap();
    let token = cache.token().await.unwrap();
    let origin = "https://acme.shops.example".parse().unwrap();
    assert_eq!(token.tenant_origins().unwrap(), [origin]);
    let apis = Apis::new();
    let mut service = BearerAuthLayer::new(cache).layer(apis.service());
    // From the second request on, the service has its own copy of the token.
    for _ in 0..4 {
        for (shop, is_own) in [("acme", true), ("initech", false)] {
            let request = get(&format!("https://{shop}.shops.example"), None);
            service.ready().await.unwrap();
            let outcome = tower::Service::call(&mut service, request).await;
            assert_eq!(outcome.is_ok(), is_own, "{shop}");
        }
    }
    assert_eq!(apis.sent().len(), 4);
    assert!(apis.sent().iter().all(Sent::is_to_its_own_host));
}

/// A 401 of the host of another tenant, to which the HTTP client has followed a redirect, says
/// nothing about the token.
#[tokio::test(start_paused = true)]
async fn p20_401_of_the_host_of_another_tenant_causes_no_refresh() {
    let clock = ManualClock::new();
    let issuer = Issuer::new(shops(), &clock);
    let tenants = issuer.tenants(MemoryStore::new());
    for (name, from, refreshes) in [
        ("acme", "https://initech.shops.example/", 0),
        ("initech", "https://elsewhere.example/", 0),
        ("hooli", "https://hooli.shops.example/moved", 1),
    ] {
        let tokens = token_set(name, 1, DAY, &clock);
        tenants.set_tokens(&named(name), tokens).await.unwrap();
        pass(MINUTE).await;
        let inner = tower::service_fn(move |_: Request<ReplayBody<Body>>| async move {
            let mut response = Response::new(Body::new());
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            let uri = ResponseUri::new(from.parse().unwrap());
            response.extensions_mut().insert(uri);
            Ok::<_, Infallible>(response)
        });
        let service = BearerAuthLayer::new(tenants.clone()).layer(inner);
        let response = service.oneshot(to(name, &named(name))).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(issuer.refreshes(), refreshes, "{name}");
    }
}

/// As `Authorization` is treated.
#[tokio::test(start_paused = true)]
async fn p20_token_has_the_header_of_its_provider() {
    let clock = ManualClock::new();
    let name = HeaderName::from_static("x-shopify-access-token");
    let header = TokenHeader::new("X-Shopify-Access-Token");
    let issuer = Issuer::new(shops().token_header(header), &clock);
    let tenants = issuer.tenants(MemoryStore::new());
    let tenant = named("acme");
    let tokens = token_set("acme", 1, DAY, &clock);
    tenants.set_tokens(&tenant, tokens).await.unwrap();
    pass(MINUTE).await;
    let apis = Apis {
        header: name.clone(),
        rejected: Arc::new(Mutex::new(vec!["acme.1".to_owned()])),
        ..Apis::new()
    };
    let layer = BearerAuthLayer::new(tenants.clone());
    // The retry after the 401 has one such header, and the header of the caller.
    let mut request = to("acme", &tenant);
    let other = HeaderValue::from_static("Basic x");
    request.headers_mut().insert(AUTHORIZATION, other);
    assert_eq!(call(&layer, &apis, request).await, Ok(StatusCode::OK));
    let tokens: Vec<_> = apis.sent().into_iter().map(|sent| sent.token).collect();
    assert_eq!(
        tokens,
        [Some("acme.1".to_owned()), Some("acme.1000000".to_owned())]
    );
    assert!(apis.sent().iter().all(Sent::is_to_its_own_host));
    let token = tenants.token(&tenant).await.unwrap();
    assert_eq!(token.header_name(), name);
    assert_eq!(token.header_value(), "acme.1000000");

    // A caller that has set the header. Both with a fresh token and with one that has expired.
    for _ in 0..2 {
        let mut request = to("acme", &tenant);
        request
            .headers_mut()
            .insert(&name, HeaderValue::from_static("own"));
        let service = layer.layer(apis.service());
        let error = service.oneshot(request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request);
        assert!(error.to_string().contains("x-shopify-access-token"));
        assert!(!error.to_string().contains("own;"), "{error}");
        pass(2 * DAY).await;
    }
    assert_eq!(apis.sent().len(), 2);
}

/// The pause before the retry of a new token ends with another token in the same header.
#[tokio::test(start_paused = true)]
async fn p06_token_after_a_pause_replaces_the_first_one_in_its_header() {
    let clock = ManualClock::new();
    let header = TokenHeader::new("X-Token").scheme("T");
    let issuer = Issuer::new(shops().token_header(header), &clock);
    let tenants = issuer.tenants(MemoryStore::new());
    let tenant = named("acme");
    let first = token_set("acme", 1, DAY, &clock).with_value("account", "42");
    tenants.set_tokens(&tenant, first).await.unwrap();
    let apis = Apis {
        header: HeaderName::from_static("x-token"),
        rejected: Arc::new(Mutex::new(vec!["T acme.1".to_owned()])),
        ..Apis::new()
    };
    let layer = BearerAuthLayer::new(tenants.clone());
    let consent = async {
        pass(Duration::from_secs(1)).await;
        let second = token_set("acme", 2, DAY, &clock);
        tenants.set_tokens(&tenant, second).await.unwrap();
    };
    let request = to("acme", &tenant);
    let (outcome, ()) = tokio::join!(call(&layer, &apis, request), consent);
    assert_eq!(outcome, Ok(StatusCode::OK));
    let sent = |token: &str, account: Option<&str>| Sent {
        host: "acme.shops.example".to_owned(),
        token: Some(token.to_owned()),
        account: account.map(str::to_owned),
    };
    let expected = [sent("T acme.1", Some("42")), sent("T acme.2", None)];
    assert_eq!(apis.sent(), expected);
}
