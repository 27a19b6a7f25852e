//! Token requests to a scripted token endpoint.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::Value;
use tower_oauth2_client::{
    ErrorKind,
    cache::{ClientCredentials, TokenCache, TokenExchange, TokenSource},
    oauth::OAuthClient,
    provider::Provider,
    store::{MemoryStore, TokenStore},
    token::{RefreshToken, TenantId, TokenSet},
};

type Body = Full<Bytes>;
type Sent = Arc<Mutex<Vec<Request<Body>>>>;

/// Responses of the token endpoint: a status, a nonce, and a body.
type Script = &'static [(u16, Option<&'static str>, &'static str)];

const USE_NONCE: &str = r#"{"error":"use_dpop_nonce"}"#;
const TOKENS: &str =
    r#"{"access_token":"a2","token_type":"DPoP","refresh_token":"r2","expires_in":3600}"#;
const BEARER: &str =
    r#"{"access_token":"a3","token_type":"Bearer","refresh_token":"r3","expires_in":3600}"#;

fn client(script: Script) -> (OAuthClient, Sent) {
    let sent = Sent::default();
    let script: VecDeque<_> = script.iter().copied().collect();
    let script = Arc::new(Mutex::new(script));
    let http = tower::service_fn({
        let sent = Arc::clone(&sent);
        move |request: Request<Body>| {
            sent.lock().unwrap().push(request);
            let (status, nonce, body) = script.lock().unwrap().pop_front().unwrap();
            let mut response = Response::builder().status(status);
            if let Some(nonce) = nonce {
                response = response.header("dpop-nonce", nonce);
            }
            async move { Ok::<_, Infallible>(response.body(Body::from(body)).unwrap()) }
        }
    });
    let provider = Provider::builder("https://id.example.com/token?audience=a")
        .api_origin("https://api.example.com")
        .dpop(true)
        .build()
        .unwrap();
    let builder = OAuthClient::builder(provider, "the-client").client_secret("secret");
    (builder.build(http).unwrap(), sent)
}

/// Header and claims of the proof of each request.
fn proofs(sent: &Sent) -> Vec<(Value, Value)> {
    let decoded = |part: &str| -> Value {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let sent = sent.lock().unwrap();
    let proofs = sent.iter().map(|request| {
        let headers = request.headers();
        assert_eq!(headers.get_all("dpop").iter().count(), 1);
        assert!(headers["dpop"].is_sensitive());
        let proof = headers["dpop"].to_str().unwrap();
        let mut parts = proof.split('.');
        (
            decoded(parts.next().unwrap()),
            decoded(parts.next().unwrap()),
        )
    });
    proofs.collect()
}

/// A grant with a key.
async fn held() -> TokenSet {
    let (client, _) = client(&[(200, None, TOKENS)]);
    client.client_credentials().await.unwrap()
}

/// A grant from before the provider's data named DPoP.
fn unbound() -> TokenSet {
    let at = std::time::SystemTime::UNIX_EPOCH;
    let access = tower_oauth2_client::token::AccessToken::new("a1").unwrap();
    TokenSet::new(access, None, at).with_refresh_token(RefreshToken::new("r1"), at)
}

async fn saved(store: &MemoryStore) -> TokenSet {
    let tenant = TenantId::new("default").unwrap();
    let grant = store.load(&tenant).await.unwrap().unwrap();
    grant.tokens().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn each_attempt_carries_a_proof_of_its_own() {
    let (client, sent) = client(&[
        (503, None, ""),
        (400, Some("n1"), USE_NONCE),
        (429, Some("n2"), ""),
        (200, Some("n3"), TOKENS),
        (200, None, TOKENS),
    ]);
    let tokens = client.refresh(&held().await).await.unwrap();
    let key = tokens.dpop_key().unwrap().clone();
    let tokens = client.refresh(&tokens).await.unwrap();
    assert_eq!(tokens.dpop_key(), Some(&key));

    let proofs = proofs(&sent);
    let claim = |name| proofs.iter().map(move |(_, claims)| claims[name].clone());
    let nonces: Vec<Value> = claim("nonce").collect();
    assert_eq!(
        nonces,
        [
            Value::Null,
            Value::Null,
            "n1".into(),
            "n2".into(),
            "n3".into()
        ]
    );
    assert!(claim("htm").all(|method| method == "POST"));
    assert!(claim("htu").all(|target| target == "https://id.example.com/token"));
    assert!(claim("ath").all(|hash| hash.is_null()));
    let ids: std::collections::BTreeSet<String> = claim("jti")
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 5);
    assert!(proofs.iter().all(|(header, _)| *header == proofs[0].0));
}

#[tokio::test]
async fn code_exchange_and_client_credentials_carry_proofs() {
    let (client, sent) = client(&[(400, Some("n1"), USE_NONCE), (200, None, TOKENS)]);
    let tokens = client.client_credentials().await.unwrap();
    assert!(tokens.dpop_key().is_some());
    assert_eq!(proofs(&sent).len(), 2);
}

#[tokio::test]
async fn p11_nonce_loop_proves_the_refresh_token_unused() {
    let scripts: [(Script, usize); 3] = [
        (
            &[(400, Some("n1"), USE_NONCE), (400, Some("n2"), USE_NONCE)],
            2,
        ),
        // Without a nonce there is nothing to retry with.
        (&[(400, None, USE_NONCE)], 1),
        (&[(401, Some("bad nonce"), USE_NONCE)], 1),
    ];
    for (script, sent_requests) in scripts {
        let (client, sent) = client(script);
        let error = client.fetch(Some(&held().await)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("use_dpop_nonce"), "{error}");
        assert!(!error.is_response_lost());
        assert_eq!(sent.lock().unwrap().len(), sent_requests);
    }
    // A server error with such a body proves nothing.
    let (client, sent) = client(&[(500, Some("n1"), USE_NONCE)]);
    let error = client.fetch(Some(&held().await)).await.unwrap_err();
    assert!(error.is_response_lost());
    assert_eq!(sent.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn p24_unbound_access_token_is_not_used_and_its_refresh_token_is_kept() {
    let (client, sent) = client(&[
        (200, None, TOKENS),
        (200, None, BEARER),
        (200, None, TOKENS),
    ]);
    let store = MemoryStore::new();
    let tokens = TokenCache::builder(client.clone()).store(store.clone());
    let tokens = tokens.min_refresh_interval(std::time::Duration::ZERO);
    let tokens = tokens.build().unwrap();
    let first = client.refresh(&held().await).await.unwrap();
    let key = first.dpop_key().unwrap().clone();
    tokens.set_tokens(first).await.unwrap();

    let error = tokens.refresh_now().await.unwrap_err();
    assert!(
        error.to_string().contains("token_type is Bearer"),
        "{error}"
    );
    let saved = saved(&store).await;
    assert_eq!(saved.refresh_token().unwrap().expose(), "r3");
    assert_eq!(saved.access_token().expose(), "a2");
    assert_eq!(saved.dpop_key(), Some(&key));
    assert_eq!(sent.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p11_replay_after_a_lost_response_presents_the_same_key() {
    for (held, response) in [(held().await, TOKENS), (unbound(), BEARER)] {
        let script: Script = Box::leak(Box::new([(502, None, ""), (200, None, response)]));
        let (client, sent) = client(script);
        let store = MemoryStore::new();
        let tokens = TokenCache::builder(client).store(store.clone());
        let tokens = tokens.build().unwrap();
        tokens.set_tokens(held.clone()).await.unwrap();
        tokens.refresh_now().await.unwrap();
        assert_eq!(saved(&store).await.dpop_key(), held.dpop_key());
        if held.dpop_key().is_some() {
            let proofs = proofs(&sent);
            assert_eq!(proofs.len(), 2);
            assert_eq!(proofs[0].0, proofs[1].0);
        } else {
            let sent = sent.lock().unwrap();
            assert_eq!(sent.len(), 2);
            assert!(
                sent.iter()
                    .all(|request| !request.headers().contains_key("dpop"))
            );
        }
    }
}

/// A token that is no access token is not bound, and carries no proof (RFC 8693 section 2.2.1).
#[tokio::test]
async fn token_of_another_type_is_bound_or_has_no_key() {
    const ID_TOKEN: &str = r#"{"access_token":"a4","token_type":"N_A","expires_in":60,
        "issued_token_type":"urn:ietf:params:oauth:token-type:id_token"}"#;
    const BOUND: &str = r#"{"access_token":"a4","token_type":"DPoP","expires_in":60,
        "issued_token_type":"urn:ietf:params:oauth:token-type:id_token"}"#;
    const UNBOUND: &str = r#"{"access_token":"a4","token_type":"Bearer","expires_in":60,
        "issued_token_type":"urn:ietf:params:oauth:token-type:id_token"}"#;
    let cases: [(Script, bool, Result<&str, &str>); 4] = [
        (
            &[(200, None, TOKENS), (200, None, ID_TOKEN)],
            true,
            Ok("Bearer a4"),
        ),
        (
            &[(200, None, TOKENS), (200, None, BOUND)],
            true,
            Ok("DPoP a4"),
        ),
        (
            &[(200, None, TOKENS), (200, None, UNBOUND)],
            true,
            Err("token_type is Bearer"),
        ),
        (
            &[(200, None, TOKENS), (200, None, ID_TOKEN)],
            false,
            Err("no access token: its token_type is N_A"),
        ),
    ];
    for (script, is_requested, expected) in cases {
        let (oauth, sent) = client(script);
        let subject = TokenCache::builder(ClientCredentials::new(oauth.clone()));
        let mut exchange = TokenExchange::builder(oauth, subject.build().unwrap());
        if is_requested {
            exchange = exchange.requested_token_type(TokenExchange::ID_TOKEN);
        }
        let tokens = TokenCache::builder(exchange.build().unwrap());
        let tokens = tokens.build().unwrap();
        let token = tokens.token().await;
        match (token, expected) {
            (Ok(token), Ok(header)) => assert_eq!(token.header_value(), header),
            (Err(error), Err(problem)) => assert!(error.to_string().contains(problem), "{error}"),
            (token, expected) => panic!("{token:?} instead of {expected:?}"),
        }
        // The provider may require a proof of each token request.
        assert_eq!(proofs(&sent).len(), 2);
    }
}
