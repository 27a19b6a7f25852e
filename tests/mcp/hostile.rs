//! Servers that lie.

use futures_util::FutureExt;
use http::header;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;
use tower_oauth2_client::{ErrorKind, mcp::PreRegistered, store::MemoryStore};

use crate::support::{Consents, ENDPOINT, ISSUER, World, send_by};

const RESOURCE_URL: &str = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
const ISSUER_URL: &str = "https://id.example.com/.well-known/oauth-authorization-server";

const INVALID: ErrorKind = ErrorKind::InvalidResponse;
const WRONG: ErrorKind = ErrorKind::Configuration;

fn with_document(url: &str, status: u16, body: Vec<u8>) -> World {
    let world = World::new();
    world.state().documents.insert(url.into(), (status, body));
    world
}

/// The first request fails in this way, and neither a user nor a token endpoint is asked.
async fn assert_refused(world: World, kind: ErrorKind, problem: &str, registrations: usize) {
    let error = send_by(&world.auth(), &world).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{problem}: {error}");
    assert!(error.to_string().contains(problem), "{problem}: {error}");
    assert!(!error.to_string().contains("evil"), "{error}");
    assert_eq!((world.asked(), world.count("/token")), (0, 0), "{problem}");
    assert_eq!(world.count("/register"), registrations, "{problem}");
}

#[tokio::test(start_paused = true)]
async fn p20_hostile_resource_gets_neither_a_user_nor_a_client() {
    let servers = "authorization_servers";
    for (member, value, kind, problem) in [
        (
            "resource",
            json!("https://evil.example/mcp"),
            INVALID,
            "another resource",
        ),
        (
            "resource",
            json!("https://mcp.example.com/mcp/x"),
            INVALID,
            "another resource",
        ),
        ("resource", Value::Null, INVALID, "missing"),
        (servers, json!([]), WRONG, "no authorization server"),
        (servers, json!(["http://id.example.com"]), INVALID, "https"),
        (servers, json!(["http://127.0.0.1:1"]), INVALID, "https"),
        (servers, json!("https://id.example.com"), INVALID, "list"),
    ] {
        let world = World::new();
        world.state().resource[member] = value;
        assert_refused(world, kind, problem, 0).await;
    }
    let twice = format!(r#"{{"resource":"{ENDPOINT}","resource":"https://evil.example"}}"#);
    for (status, body, kind, problem) in [
        (302, vec![], INVALID, "redirect"),
        (200, vec![b' '; 2 << 20], INVALID, "1 MiB"),
        (200, twice.into_bytes(), INVALID, "repeats a member"),
        (404, vec![], WRONG, "protected resource metadata"),
        (500, vec![], ErrorKind::Unavailable, "500"),
    ] {
        let world = with_document(RESOURCE_URL, status, body);
        assert_refused(world, kind, problem, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p20_hostile_authorization_server_gets_neither_a_user_nor_a_client() {
    let pkce = "code_challenge_methods_supported";
    for (member, value, kind, problem) in [
        (
            "issuer",
            json!("https://other.example.com"),
            INVALID,
            "another issuer",
        ),
        (
            "token_endpoint",
            json!("http://id.example.com/token"),
            INVALID,
            "https",
        ),
        ("token_endpoint", Value::Null, WRONG, "token_endpoint"),
        (
            "authorization_endpoint",
            json!("http://127.0.0.1/a"),
            INVALID,
            "https",
        ),
        (
            "registration_endpoint",
            json!("ftp://id.example.com/r"),
            INVALID,
            "https",
        ),
        ("registration_endpoint", Value::Null, WRONG, "client: "),
        (pkce, Value::Null, WRONG, "S256"),
        (pkce, json!(["plain"]), WRONG, "S256"),
    ] {
        let world = World::new();
        world.state().metadata[member] = value;
        assert_refused(world, kind, problem, 0).await;
    }
    for (status, body, kind, problem) in [
        (302, vec![], INVALID, "redirect"),
        (200, vec![b' '; 2 << 20], INVALID, "1 MiB"),
        (200, b"[]".to_vec(), INVALID, "object"),
        (404, vec![], WRONG, "authorization server metadata"),
    ] {
        let world = with_document(ISSUER_URL, status, body);
        assert_refused(world, kind, problem, 0).await;
    }
    let world = with_document("https://id.example.com/register", 302, vec![]);
    assert_refused(world, INVALID, "redirect", 1).await;
}

#[tokio::test(start_paused = true)]
async fn p22_server_that_is_silent_ends_in_an_error_in_time() {
    let world = World::new();
    world.state().latency = Duration::from_secs(3_600);
    let auth = world.auth();
    world.state().latency = Duration::from_millis(1);
    let first = send_by(&auth, &world);
    let slow = async {
        sleep(Duration::from_millis(2)).await;
        world.state().latency = Duration::from_secs(3_600);
    };
    let (outcome, ()) = tokio::join!(first, slow);
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("within 10 s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn p25_credentials_of_one_issuer_are_never_sent_to_another() {
    const EVIL: &str = "https://evil.example";
    let world = World::new();
    let evil = json!({
        "issuer": EVIL,
        "authorization_endpoint": format!("{EVIL}/authorize"),
        "token_endpoint": format!("{EVIL}/token"),
        "code_challenge_methods_supported": ["S256"],
    });
    let well_known = format!("{EVIL}/.well-known/oauth-authorization-server");
    world
        .state()
        .documents
        .insert(well_known, (200, evil.to_string().into_bytes()));
    let store = MemoryStore::new();

    // The program has a client and a grant at the first issuer.
    let auth = world.builder().store(store.clone()).build().unwrap();
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
    // Then the MCP server names another one.
    world.state().resource["authorization_servers"] = json!([EVIL]);
    world.revoke_access_tokens();
    sleep(Duration::from_secs(3_700)).await;
    // The stored grant is refreshed where it came from.
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
    world.revoke_grants();
    sleep(Duration::from_secs(60)).await;
    let error = send_by(&auth, &world).await.unwrap_err();
    assert!(error.to_string().starts_with("client: "), "{error}");

    let client = PreRegistered::new(ISSUER, "mine").client_secret("seeded-mine");
    let auth = world.builder().pre_registered(client).build().unwrap();
    let error = send_by(&auth, &world).await.unwrap_err();
    assert!(error.to_string().starts_with("client: "), "{error}");
    // Of several servers, the one is used where the program is registered.
    world.state().resource["authorization_servers"] = json!([EVIL, ISSUER]);
    sleep(Duration::from_secs(31)).await;
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);

    let state = world.state();
    let to_evil = state
        .requests
        .iter()
        .filter(|sent| sent.uri.starts_with(EVIL));
    let mut count = 0;
    for sent in to_evil {
        count += 1;
        assert!(
            !sent.headers.contains_key(header::AUTHORIZATION),
            "{sent:?}"
        );
        assert!(!format!("{sent:?}").contains("seeded"), "{sent:?}");
    }
    assert!(count > 0);
}

#[tokio::test(start_paused = true)]
async fn forged_callbacks_are_refused() {
    for user in [Consents::NamesAnotherIssuer, Consents::ForgesTheState] {
        let world = World::new();
        world.state().user = user;
        let error = send_by(&world.auth(), &world).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Callback);
        assert_eq!(world.count("/token"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn legacy_server_speaks_for_its_own_origin_only() {
    let root = "https://mcp.example.com";
    let well_known = format!("{root}/.well-known/oauth-authorization-server");
    for (issuer, is_accepted) in [
        (root.to_owned(), true),
        (format!("{root}/oauth"), true),
        ("https://mcp.example.com.evil.example".to_owned(), false),
        ("https://evil.example".to_owned(), false),
        ("http://mcp.example.com".to_owned(), false),
    ] {
        let world = World::new();
        {
            let mut state = world.state();
            state.documents.insert(RESOURCE_URL.into(), (404, vec![]));
            let plain = b"{}".to_vec();
            let bare = format!("{root}/.well-known/oauth-protected-resource");
            state.documents.insert(bare, (404, plain));
            let metadata = json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{ISSUER}/authorize"),
                "token_endpoint": format!("{ISSUER}/token"),
                "registration_endpoint": format!("{ISSUER}/register"),
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                "code_challenge_methods_supported": ["S256"],
            });
            let body = metadata.to_string().into_bytes();
            state.documents.insert(well_known.clone(), (200, body));
        }
        let auth = world.builder().legacy_servers().build().unwrap();
        // A server that names its metadata is not one of 2025-03-26.
        let error = send_by(&auth, &world).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        let connected = auth.connect().boxed().await;
        let asked = world.asked();
        assert_eq!(asked, usize::from(is_accepted), "{issuer}: {connected:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn registration_that_no_request_can_carry_is_not_kept() {
    for registered in [
        json!({ "client_id": "caf\u{e9}" }),
        json!({ "client_id": "a", "client_secret": "seeded\n" }),
    ] {
        let (world, store) = (World::new(), MemoryStore::new());
        let auth = || world.builder().store(store.clone()).build().unwrap();
        let register = format!("{ISSUER}/register");
        let body = registered.to_string().into_bytes();
        world
            .state()
            .documents
            .insert(register.clone(), (201, body));
        let error = send_by(&auth(), &world).await.unwrap_err();
        assert!(
            error.to_string().starts_with("client registration: "),
            "{error}"
        );
        assert!(!format!("{error:?}").contains("seeded"), "{error:?}");
        world.state().documents.remove(&register);
        assert_eq!(send_by(&auth(), &world).await.unwrap(), 200);
    }
}
