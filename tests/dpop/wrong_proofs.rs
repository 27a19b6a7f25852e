//! The sandbox refuses wrong proofs, each of which is made by hand.

use std::time::UNIX_EPOCH;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower_oauth2_client::{
    clock::{Clock, SystemClock},
    sandbox::{Dpop, DpopNonce, Sandbox},
};

use crate::partner::{http, sandbox};

struct Key(EcdsaKeyPair);

/// A change of a valid header and valid claims.
type Change = fn(&mut Value, &mut Value);

impl Key {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn proof(&self, method: &str, target: &str, token: Option<&str>, change: Change) -> String {
        let point = self.0.public_key().as_ref();
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let mut header = json!({
            "typ": "dpop+jwt",
            "alg": "ES256",
            "jwk": {"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])},
        });
        let now = SystemClock.wall().duration_since(UNIX_EPOCH).unwrap();
        let mut claims = json!({
            "jti": next_id().to_string(),
            "htm": method,
            "htu": target,
            "iat": now.as_secs(),
        });
        if let Some(token) = token {
            claims["ath"] = encode(&hmac_sha256::Hash::hash(token.as_bytes())).into();
        }
        change(&mut header, &mut claims);
        let [header, claims] = [header, claims].map(|part| encode(part.to_string().as_bytes()));
        let input = format!("{header}.{claims}");
        let signature = self.0.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", encode(signature.as_ref()))
    }
}

fn next_id() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

const SAME: Change = |_, _| {};

/// Sends a token request with a new code, and returns the status, the error and the nonce.
async fn exchange_code(
    sandbox: &Sandbox,
    proofs: &[String],
) -> (StatusCode, Value, Option<String>) {
    let url = format!(
        "{}/oauth/authorize?response_type=code&client_id={}&redirect_uri={}",
        sandbox.url(),
        sandbox.client_id(),
        sandbox.redirect_uri()
    );
    let callback = sandbox.consent(&url).await.unwrap();
    let code = callback.split("code=").nth(1).unwrap();
    let code = code.split('&').next().unwrap();
    let form = format!(
        "grant_type=authorization_code&code={code}&redirect_uri={}&client_id={}&client_secret={}",
        sandbox.redirect_uri(),
        sandbox.client_id(),
        sandbox.client_secret()
    );
    token_request(sandbox, form, proofs).await
}

async fn refresh(sandbox: &Sandbox, token: &str, proof: String) -> (StatusCode, Value) {
    let form = format!(
        "grant_type=refresh_token&refresh_token={token}&client_id={}&client_secret={}",
        sandbox.client_id(),
        sandbox.client_secret()
    );
    let (status, body, _) = token_request(sandbox, form, &[proof]).await;
    (status, body)
}

async fn token_request(
    sandbox: &Sandbox,
    form: String,
    proofs: &[String],
) -> (StatusCode, Value, Option<String>) {
    let mut request = Request::post(format!("{}/oauth/token", sandbox.url()))
        .header("content-type", "application/x-www-form-urlencoded");
    for proof in proofs {
        request = request.header("dpop", proof);
    }
    let request = request.body(Full::new(Bytes::from(form))).unwrap();
    send(request).await
}

async fn call(
    sandbox: &Sandbox,
    scheme: &str,
    token: &str,
    proof: Option<String>,
) -> (StatusCode, Value) {
    let mut request = Request::get(format!("{}/v1/company?x=y", sandbox.url()))
        .header("authorization", format!("{scheme} {token}"));
    if let Some(proof) = proof {
        request = request.header("dpop", proof);
    }
    let (status, body, _) = send(request.body(Full::default()).unwrap()).await;
    (status, body["error"].clone())
}

async fn send(request: Request<Full<Bytes>>) -> (StatusCode, Value, Option<String>) {
    let response = http().request(request).await.unwrap();
    let status = response.status();
    let nonce = response.headers().get("dpop-nonce");
    let nonce = nonce.map(|nonce| nonce.to_str().unwrap().to_owned());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap(), nonce)
}

const WRONG: &[(&str, Change)] = &[
    ("typ", |header, _| header["typ"] = "JWT".into()),
    ("no typ", |header, _| header["typ"] = Value::Null),
    ("alg", |header, _| header["alg"] = "HS256".into()),
    ("alg none", |header, _| header["alg"] = "none".into()),
    ("no key", |header, _| header["jwk"] = Value::Null),
    ("private key", |header, _| header["jwk"]["d"] = "AA".into()),
    ("symmetric key", |header, _| {
        header["jwk"]["k"] = "AA".into();
    }),
    ("curve", |header, _| header["jwk"]["crv"] = "P-384".into()),
    ("another key", |header, _| {
        let x = header["jwk"]["x"].clone();
        header["jwk"]["x"] = header["jwk"]["y"].clone();
        header["jwk"]["y"] = x;
    }),
    ("method", |_, claims| claims["htm"] = "PUT".into()),
    ("case of the method", |_, claims| {
        claims["htm"] = "post".into();
    }),
    ("no method", |_, claims| claims["htm"] = Value::Null),
    ("path", |_, claims| {
        claims["htu"] = format!("{}/", claims["htu"].as_str().unwrap()).into();
    }),
    ("query", |_, claims| {
        claims["htu"] = format!("{}?x=y", claims["htu"].as_str().unwrap()).into();
    }),
    ("scheme", |_, claims| {
        claims["htu"] = claims["htu"]
            .as_str()
            .unwrap()
            .replace("http:", "https:")
            .into();
    }),
    ("host", |_, claims| {
        claims["htu"] = claims["htu"]
            .as_str()
            .unwrap()
            .replace("127.0.0.1", "127.0.0.2")
            .into();
    }),
    ("no target", |_, claims| claims["htu"] = Value::Null),
    ("too old", |_, claims| {
        claims["iat"] = (claims["iat"].as_u64().unwrap() - 90).into();
    }),
    ("too new", |_, claims| {
        claims["iat"] = (claims["iat"].as_u64().unwrap() + 90).into();
    }),
    ("time as text", |_, claims| {
        claims["iat"] = claims["iat"].to_string().into();
    }),
    ("no time", |_, claims| claims["iat"] = Value::Null),
    ("no identifier", |_, claims| claims["jti"] = Value::Null),
    ("empty identifier", |_, claims| claims["jti"] = "".into()),
];

#[tokio::test]
async fn wrong_proof_is_refused_at_the_token_endpoint() {
    let sandbox = sandbox(Dpop::REQUIRED).await;
    let key = Key::new();
    let target = format!("{}/oauth/token", sandbox.url());
    let refused = json!("invalid_dpop_proof");
    for (what, change) in WRONG {
        let proof = key.proof("POST", &target, None, *change);
        let (status, body, _) = exchange_code(&sandbox, &[proof]).await;
        assert_eq!((status.as_u16(), &body["error"]), (400, &refused), "{what}");
    }
    let good = || key.proof("POST", &target, None, SAME);
    let mut damaged = good();
    damaged.truncate(damaged.len() - 4);
    for proofs in [
        vec![],
        vec![good(), good()],
        vec![damaged],
        vec!["a.b".to_owned()],
        vec![format!("{}.", good())],
    ] {
        let (status, body, _) = exchange_code(&sandbox, &proofs).await;
        assert_eq!(
            (status.as_u16(), &body["error"]),
            (400, &refused),
            "{proofs:?}"
        );
    }
    let proof = good();
    let (status, body, nonce) = exchange_code(&sandbox, std::slice::from_ref(&proof)).await;
    assert_eq!((status.as_u16(), nonce), (200, None));
    assert_eq!(body["token_type"], "DPoP");
    let (status, body, _) = exchange_code(&sandbox, &[proof]).await;
    assert_eq!(
        (status.as_u16(), &body["error"]),
        (400, &refused),
        "used before"
    );
}

#[tokio::test]
async fn wrong_proof_is_refused_by_the_api() {
    let sandbox = sandbox(Dpop::REQUIRED).await;
    let (key, other) = (Key::new(), Key::new());
    let target = format!("{}/oauth/token", sandbox.url());
    let proof = key.proof("POST", &target, None, SAME);
    let (_, tokens, _) = exchange_code(&sandbox, &[proof]).await;
    let token = tokens["access_token"].as_str().unwrap();
    let target = format!("{}/v1/company", sandbox.url());
    let proof = |key: &Key, change| key.proof("GET", &target, Some(token), change);

    for (what, change) in WRONG {
        let (status, error) = call(&sandbox, "DPoP", token, Some(proof(&key, *change))).await;
        assert_eq!(
            (status.as_u16(), error),
            (401, json!("invalid_dpop_proof")),
            "{what}"
        );
    }
    for change in [
        (|_, claims| claims["ath"] = Value::Null) as Change,
        |_, claims| claims["ath"] = "AA".into(),
    ] {
        let (status, error) = call(&sandbox, "DPoP", token, Some(proof(&key, change))).await;
        assert_eq!((status.as_u16(), error), (401, json!("invalid_dpop_proof")));
    }
    let (status, _) = call(&sandbox, "DPoP", token, None).await;
    assert_eq!(status, 401, "no proof");
    let (status, error) = call(&sandbox, "DPoP", token, Some(proof(&other, SAME))).await;
    assert_eq!(
        (status.as_u16(), error),
        (401, json!("invalid_token")),
        "another key"
    );
    let (status, error) = call(&sandbox, "Bearer", token, Some(proof(&key, SAME))).await;
    assert_eq!(
        (status.as_u16(), error),
        (401, json!("invalid_token")),
        "as a bearer token"
    );
    let (status, _) = call(&sandbox, "DPoP", token, Some(proof(&key, SAME))).await;
    assert_eq!(status, 200);

    // The refresh token is bound to the key too.
    let token_endpoint = format!("{}/oauth/token", sandbox.url());
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    let of_other = other.proof("POST", &token_endpoint, None, SAME);
    let (status, body) = refresh(&sandbox, refresh_token, of_other).await;
    assert_eq!(
        (status.as_u16(), &body["error"]),
        (400, &json!("invalid_grant"))
    );
    let own = key.proof("POST", &token_endpoint, None, SAME);
    let (status, _) = refresh(&sandbox, refresh_token, own).await;
    assert_eq!(status, 200, "it was not used up");
}

#[tokio::test]
async fn proof_without_the_nonce_is_refused() {
    let sandbox = sandbox(Dpop::Required {
        token_endpoint: DpopNonce::Rotating,
        api: DpopNonce::None,
    })
    .await;
    let key = Key::new();
    let target = format!("{}/oauth/token", sandbox.url());
    let proof = key.proof("POST", &target, None, SAME);
    let (status, body, nonce) = exchange_code(&sandbox, &[proof]).await;
    assert_eq!(
        (status.as_u16(), &body["error"]),
        (400, &json!("use_dpop_nonce"))
    );
    assert_eq!(nonce.as_deref(), Some("nonce-1"));
    let with_first: Change = |_, claims| claims["nonce"] = "nonce-1".into();
    let proof = key.proof("POST", &target, None, with_first);
    let (status, _, nonce) = exchange_code(&sandbox, &[proof]).await;
    assert_eq!((status.as_u16(), nonce.as_deref()), (200, Some("nonce-2")));
    let proof = key.proof("POST", &target, None, with_first);
    let (status, body, _) = exchange_code(&sandbox, &[proof]).await;
    assert_eq!(
        (status.as_u16(), &body["error"]),
        (400, &json!("use_dpop_nonce")),
        "spent"
    );
}
