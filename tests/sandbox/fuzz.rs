//! Random requests to every endpoint cause no 5xx and no panic, and every response has a `Date`.

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;
use proptest::prelude::*;
use tower_oauth2_client::sandbox::{Consent, MetadataDocuments, Sandbox};

use crate::support::{connect, encoded, send};

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "NONSENSE"];

const PATHS: [&str; 12] = [
    "/oauth/authorize",
    "/oauth/login",
    "/oauth/consent",
    "/oauth/token",
    "/.well-known/oauth-authorization-server",
    "/v1/oauth/revoke",
    "/v1/company",
    "/v1/members",
    "/v1/members/%00",
    "/v1/deductions",
    "/sandbox",
    "/sandbox/action",
];

const CONTENT_TYPES: [&str; 4] = [
    "application/x-www-form-urlencoded",
    "application/json",
    "text/plain",
    ";",
];

const NAMES: [&str; 22] = [
    "response_type",
    "client_id",
    "client_secret",
    "redirect_uri",
    "scope",
    "state",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "grant_type",
    "refresh_token",
    "token",
    "consent",
    "decision",
    "email",
    "password",
    "limit",
    "cursor",
    "updated_at",
    "status",
    "action",
];

const VALUES: [&str; 14] = [
    "",
    "code",
    "sandbox-client",
    "sandbox-client-secret",
    "http://127.0.0.1:8000/callback",
    "authorization_code",
    "refresh_token",
    "member.basic:read",
    "S256",
    "allow",
    "advance",
    "99999999999999999999",
    "-999999999-01-01T00:00:00Z",
    "+9999-12-31T23:59:60+25:59",
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(&VALUES[..]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![
        9 => prop::sample::select(&NAMES[..]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    prop::collection::vec((name, value()), 0..8)
}

fn urlencoded(fields: &[(String, String)]) -> String {
    let fields: Vec<_> = fields
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    encoded(&fields)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let json = prop::sample::select(
        &[
            r#"{"items":[{"operation_id":"a","member_id":1}]}"#,
            r#"{"items":[null,{},[],""]}"#,
            "null",
        ][..],
    );
    prop_oneof![
        6 => fields().prop_map(|fields| urlencoded(&fields).into_bytes()),
        1 => json.prop_map(|json| json.as_bytes().to_vec()),
        1 => any::<Vec<u8>>(),
    ]
}

fn authorization() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        Just(None),
        Just(Some(b"Bearer TOKEN".to_vec())),
        Just(Some(b"Basic c2FuZGJveC1jbGllbnQ6Og==".to_vec())),
        prop::collection::vec(32_u8..127, 0..40).prop_map(Some),
        prop::collection::vec(128_u8..=255, 0..10).prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_request_causes_a_server_error(
        method in prop::sample::select(&METHODS[..]),
        path in prop::sample::select(&PATHS[..]),
        query in fields(),
        content_type in prop::sample::select(&CONTENT_TYPES[..]),
        authorization in authorization(),
        body in body(),
        page in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let consent = if page { Consent::Page } else { Consent::Allow };
            let sandbox = Sandbox::builder().status_page(true).behavior(|behavior| {
                behavior.consent = consent;
                behavior.metadata = MetadataDocuments::Both;
            }).seed(seed).build();
            let token = connect(&sandbox).await.access;
            let uri: Uri = format!("{path}?{}", urlencoded(&query)).parse().unwrap();
            let mut request = Request::builder()
                .method(method)
                .uri(uri)
                .header(CONTENT_TYPE, content_type)
                .body(Full::from(body))
                .unwrap();
            if let Some(value) = authorization {
                let value = match value.as_slice() {
                    b"Bearer TOKEN" => format!("Bearer {token}").into_bytes(),
                    _ => value,
                };
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    request.headers_mut().insert(AUTHORIZATION, value);
                }
            }
            let response = send(&sandbox, request).await;
            assert!(!response.status.is_server_error(), "{response:?}");
            assert!(response.header("date").is_some());
            let location = response.header("location").unwrap_or("/sandbox");
            assert!(
                location == "/sandbox" || location.starts_with("http://127.0.0.1:8000/callback?"),
                "{location}"
            );
        });
    }
}
