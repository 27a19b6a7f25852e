//! A request names its tenant, and is sent with that tenant's token or not at all.

use http::Request;
use tower_oauth2_client::{
    ErrorKind, bearer::BearerAuthLayer, cache::TokenCache, tenants::Tenants,
};

use crate::support::{
    Api, DAY, MINUTE, ManualClock, Source, Store, grant_of, named, numbered, pass, put, request,
    tenants_over, tokens_of,
};

async fn two() -> (Tenants, Source, ManualClock) {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    for name in ["acme", "initech"] {
        put(
            &store.memory,
            &named(name),
            &grant_of(&named(name), DAY, &clock),
        )
        .await;
    }
    let tenants = tenants_over(&source, store).build().unwrap();
    (tenants, source, clock)
}

#[tokio::test(start_paused = true)]
async fn p23_each_request_carries_the_token_of_the_tenant_that_it_names() {
    let (tenants, _, _) = two().await;
    let (layer, api) = (BearerAuthLayer::new(tenants), Api::default());
    for _ in 0..3 {
        for name in ["acme", "initech"] {
            let token = api.call(&layer, request(Some(&named(name)))).await;
            assert_eq!(token, Ok(format!("Bearer a-{name}")));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p17_a_request_without_a_tenant_is_not_sent() {
    let (tenants, _, _) = two().await;
    let (layer, api) = (BearerAuthLayer::new(tenants), Api::default());
    assert_eq!(
        api.call(&layer, request(None)).await,
        Err(ErrorKind::Request)
    );
    assert!(api.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn p17_a_request_of_an_unknown_tenant_is_not_sent() {
    let (tenants, source, _) = two().await;
    let (layer, api) = (BearerAuthLayer::new(tenants), Api::default());
    let unknown = request(Some(&named("hooli")));
    assert_eq!(api.call(&layer, unknown).await, Err(ErrorKind::NoGrant));
    assert!(api.seen().is_empty());
    assert_eq!(source.refreshes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_function_of_the_request_can_name_the_tenant() {
    let (tenants, _, _) = two().await;
    let layer = BearerAuthLayer::new(tenants).tenant_by(|head| {
        let customer = head.headers.get("x-customer")?.to_str().ok()?;
        tower_oauth2_client::token::TenantId::new(customer).ok()
    });
    let api = Api::default();
    let by_header = |name: &str| {
        let mut request = request(Some(&named("acme")));
        request
            .headers_mut()
            .insert("x-customer", name.parse().unwrap());
        request
    };
    assert_eq!(
        api.call(&layer, by_header("initech")).await,
        Ok("Bearer a-initech".into())
    );
    assert_eq!(
        api.call(&layer, by_header("hooli")).await,
        Err(ErrorKind::NoGrant)
    );
    // The extensions are ignored then.
    assert_eq!(
        api.call(&layer, request(Some(&named("acme")))).await,
        Err(ErrorKind::Request)
    );
}

#[tokio::test(start_paused = true)]
async fn a_single_grant_needs_no_tenant_in_the_request() {
    let source = Source::new(&ManualClock::new());
    let tokens: TokenCache = source.cache().build().unwrap();
    let layer = BearerAuthLayer::new(tokens).tenant_by(|_| None);
    let api = Api::default();
    assert_eq!(
        api.call(&layer, request(None)).await,
        Ok("Bearer a1".into())
    );
    let named = request(Some(&named("acme")));
    assert_eq!(api.call(&layer, named).await, Ok("Bearer a1".into()));
}

#[tokio::test(start_paused = true)]
async fn p20_no_tenants_token_is_sent_cross_origin() {
    let (tenants, _, _) = two().await;
    let (layer, api) = (BearerAuthLayer::new(tenants), Api::default());
    let mut cross_origin = Request::get("https://example.org/");
    cross_origin = cross_origin.extension(named("acme"));
    let cross_origin = cross_origin.body(http_body_util::Empty::new()).unwrap();
    assert_eq!(
        api.call(&layer, cross_origin).await,
        Err(ErrorKind::Request)
    );
    assert!(api.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn p05_an_expired_token_is_refreshed_for_its_own_tenant() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let tenants = tenants_over(&source, store.clone()).build().unwrap();
    for number in 0..3 {
        let tenant = numbered(number);
        let tokens = tokens_of(&tenant, MINUTE, &clock);
        tenants.set_tokens(&tenant, tokens).await.unwrap();
    }
    pass(2 * MINUTE).await;
    let (layer, api) = (BearerAuthLayer::new(tenants), Api::default());
    api.call(&layer, request(Some(&numbered(1)))).await.unwrap();
    assert_eq!(
        source.sent_refresh_tokens(),
        [Some("r-tenant-000001".to_owned())]
    );
}
