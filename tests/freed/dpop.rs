//! Keys that tokens are bound to.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tower_oauth2_client::{
    bearer::BearerAuthLayer,
    cache::TokenCache,
    oauth::OAuthClient,
    provider::Provider,
    store::{EncryptedStore, FileStore, MemoryStore},
    token::{DpopKey, TokenSet},
};

use crate::{
    http_client::{Fixed, always},
    stores::{keys, use_store},
    support::{freed, frees_no_secret, secret, token_set},
};

/// PKCS #8 without a public key, up to the 32 bytes of a private key on P-256.
const HEAD: [u8; 35] = [
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01,
    0x01, 0x04, 0x20,
];

/// A text that is never freed, of a key whose private part contains the mark.
fn key() -> &'static str {
    let private = &secret!("")[..32];
    let der = [&HEAD, private.as_bytes()].concat().leak();
    BASE64_URL_SAFE_NO_PAD.encode(der).leak()
}

fn tokens() -> TokenSet {
    token_set(secret!("a1"), secret!("r1")).with_dpop_key(DpopKey::new(key()))
}

const RESPONSE: Fixed = Fixed {
    status: 200,
    frames: &[
        br#"{"token_type":"DPoP","access_token":"a2"#,
        secret!("").as_bytes(),
        br#"","refresh_token":"r2"#,
        secret!("").as_bytes(),
        br#"","expires_in":3600}"#,
    ],
};

fn client() -> OAuthClient {
    let provider = Provider::builder("https://id.example.com/token")
        .api_origin("https://api.example.com")
        .dpop(true)
        .build()
        .unwrap();
    let builder = OAuthClient::builder(provider, "the-client").client_secret(secret!("c "));
    builder.build(always(RESPONSE)).unwrap()
}

#[test]
fn keys_in_freed_memory_are_found() {
    let der = || BASE64_URL_SAFE_NO_PAD.decode(key()).unwrap();
    assert!(!freed(async || drop(der())).is_empty());
    assert!(!freed(async || drop(key().to_owned())).is_empty());
}

#[test]
fn p21_keys_in_token_requests_are_wiped() {
    frees_no_secret(async || {
        let oauth = client();
        let refreshed = oauth.refresh(&tokens()).await.unwrap();
        assert_eq!(refreshed.dpop_key().unwrap().expose(), key());
        let _ = oauth.client_credentials().await.unwrap();
    });
}

#[test]
fn p21_keys_in_stores_are_wiped() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    frees_no_secret(async || {
        use_store(&MemoryStore::new(), &tokens()).await;
        use_store(&FileStore::open(path("plain")).unwrap(), &tokens()).await;
        let inner = FileStore::open(path("encrypted")).unwrap();
        let encrypted = EncryptedStore::new(inner, keys(), "client").unwrap();
        use_store(&encrypted, &tokens()).await;
    });
}

#[test]
fn p21_keys_in_caches_and_requests_are_wiped() {
    frees_no_secret(async || {
        let cache = TokenCache::builder(client()).store(MemoryStore::new());
        let cache = cache.build().unwrap();
        cache.set_tokens(tokens()).await.unwrap();
        let http = service_fn(|request: Request<Full<Bytes>>| async move {
            assert!(request.headers()["dpop"].is_sensitive());
            Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
        });
        let api = BearerAuthLayer::<Full<Bytes>>::new(cache.clone()).layer(http);
        for _ in 0..3 {
            let request = Request::get("https://api.example.com/");
            let request = request.body(Full::default()).unwrap();
            api.clone().oneshot(request).await.unwrap();
        }
        let _ = cache.refresh_now().await;
    });
}
