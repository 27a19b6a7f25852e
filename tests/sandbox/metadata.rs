//! The well-known documents: which are served where, and whether they are true.

use bytes::Bytes;
use http::{Request, StatusCode, header::AUTHORIZATION};
use http_body_util::Full;
use serde_json::{Value, json};
use tower_oauth2_client::sandbox::{
    ClientAuthentication, Endpoint, Fault, MetadataDocuments, Pkce, SCOPES, Sandbox,
};

use crate::support::{Response, sandbox_with, send};

const OAUTH: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

async fn load(sandbox: &Sandbox, path: &str) -> Response {
    let request = Request::get(path).body(Full::default()).unwrap();
    send(sandbox, request).await
}

async fn document(sandbox: &Sandbox) -> Value {
    let response = load(sandbox, OAUTH).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(response.header("content-type"), Some("application/json"));
    response.json()
}

#[tokio::test(start_paused = true)]
async fn documents_are_served_only_if_they_are_enabled() {
    let sandbox = Sandbox::builder().build();
    for (documents, served) in [
        (MetadataDocuments::None, [false, false]),
        (MetadataDocuments::OAuth, [true, false]),
        (MetadataDocuments::OpenId, [false, true]),
        (MetadataDocuments::Both, [true, true]),
    ] {
        sandbox.change_behavior(|behavior| behavior.metadata = documents);
        for (path, is_served) in [OAUTH, OPENID].into_iter().zip(served) {
            let status = load(&sandbox, path).await.status;
            let expected = if is_served { 200 } else { 404 };
            assert_eq!(status, expected, "{documents:?} {path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn documents_of_an_issuer_with_a_path_are_at_its_paths() {
    for issuer in ["https://id.example.com/a/b", "https://id.example.com/a/b/"] {
        let sandbox = sandbox_with(|behavior| {
            behavior.metadata = MetadataDocuments::Both;
            behavior.issuer = Some(issuer.to_owned());
        });
        for (path, status) in [
            ("/.well-known/oauth-authorization-server/a/b", 200),
            ("/.well-known/openid-configuration/a/b", 200),
            ("/a/b/.well-known/openid-configuration", 200),
            ("/a/b/.well-known/oauth-authorization-server", 404),
            ("/.well-known/oauth-authorization-server", 404),
            ("/.well-known/openid-configuration", 404),
            ("/.well-known/oauth-authorization-server/a/b/", 404),
            ("/.well-known/oauth-authorization-server/a", 404),
        ] {
            let response = load(&sandbox, path).await;
            assert_eq!(response.status, status, "{path}");
            if status == 200 {
                assert_eq!(response.text("issuer"), issuer);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn document_describes_the_behavior() {
    let sandbox = sandbox_with(|behavior| behavior.metadata = MetadataDocuments::Both);
    assert_eq!(
        document(&sandbox).await,
        json!({
            "issuer": "http://localhost",
            "authorization_endpoint": "http://localhost/oauth/authorize",
            "token_endpoint": "http://localhost/oauth/token",
            "revocation_endpoint": "http://localhost/v1/oauth/revoke",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "form_post"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "revocation_endpoint_auth_methods_supported": ["client_secret_post"],
            "scopes_supported": SCOPES,
            "authorization_response_iss_parameter_supported": false,
            "code_challenge_methods_supported": ["S256", "plain"],
        })
    );
    for (authentication, methods) in [
        (
            ClientAuthentication::BodyOrBasic,
            json!(["client_secret_post", "client_secret_basic"]),
        ),
        (ClientAuthentication::Basic, json!(["client_secret_basic"])),
        (
            ClientAuthentication::BasicRaw,
            json!(["client_secret_basic"]),
        ),
        (ClientAuthentication::None, json!(["none"])),
    ] {
        sandbox.change_behavior(|behavior| behavior.client_authentication = authentication);
        let document = document(&sandbox).await;
        assert_eq!(document["token_endpoint_auth_methods_supported"], methods);
    }
    sandbox.change_behavior(|behavior| {
        behavior.client_authentication = ClientAuthentication::ClientSecretJwt;
    });
    // RFC 8414 section 2 asks for the algorithms of each endpoint with such a method.
    let of_assertions = document(&sandbox).await;
    for endpoint in ["token", "revocation"] {
        let name = |of| format!("{endpoint}_endpoint_auth_{of}_supported");
        assert_eq!(of_assertions[name("methods")], json!(["client_secret_jwt"]));
        assert_eq!(of_assertions[name("signing_alg_values")], json!(["HS256"]));
    }
    for (pkce, methods) in [
        (Pkce::Required, json!(["S256"])),
        (Pkce::Ignored, Value::Null),
    ] {
        sandbox.change_behavior(|behavior| behavior.pkce = pkce);
        let document = document(&sandbox).await;
        assert_eq!(document["code_challenge_methods_supported"], methods);
    }
    sandbox.change_behavior(|behavior| behavior.issuer = Some("https://id.example.com".into()));
    let document = document(&sandbox).await;
    assert_eq!(document["issuer"], "https://id.example.com");
    assert_eq!(
        document["authorization_response_iss_parameter_supported"],
        true
    );
}

#[tokio::test]
async fn document_names_the_address_of_the_socket() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.metadata = MetadataDocuments::OAuth)
        .start()
        .await
        .unwrap();
    let document = document(&sandbox).await;
    assert_eq!(document["issuer"], sandbox.url());
    let token_endpoint = format!("{}/oauth/token", sandbox.url());
    assert_eq!(document["token_endpoint"], token_endpoint);
}

#[tokio::test(start_paused = true)]
async fn request_for_a_document_is_a_plain_get() {
    let sandbox = sandbox_with(|behavior| behavior.metadata = MetadataDocuments::Both);
    let request = Request::post(OAUTH).body(Full::<Bytes>::default()).unwrap();
    let response = send(&sandbox, request).await;
    assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.header("allow"), Some("GET"));
    let query = load(&sandbox, &format!("{OAUTH}?issuer=x")).await;
    assert_eq!(query.status, StatusCode::BAD_REQUEST);
    let request = Request::get(OAUTH).header(AUTHORIZATION, "Bearer x");
    let response = send(&sandbox, request.body(Full::default()).unwrap()).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn faults_change_a_member_or_redirect() {
    let sandbox = sandbox_with(|behavior| behavior.metadata = MetadataDocuments::Both);
    sandbox.inject(
        Endpoint::Metadata,
        Fault::member("issuer", "https://evil.example"),
    );
    let changed = document(&sandbox).await;
    assert_eq!(changed["issuer"], "https://evil.example");
    assert_eq!(changed["token_endpoint"], "http://localhost/oauth/token");
    sandbox.inject(
        Endpoint::Metadata,
        Fault::redirect("https://evil.example/x"),
    );
    let response = load(&sandbox, OPENID).await;
    assert_eq!(response.status, StatusCode::FOUND);
    assert_eq!(response.header("location"), Some("https://evil.example/x"));
    assert_eq!(document(&sandbox).await["issuer"], "http://localhost");
}
