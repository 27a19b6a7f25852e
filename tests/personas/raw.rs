//! The personas by plain HTTP: a client that keeps to the provider file is served, and one that
//! does not is refused.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value, json};
use tower::ServiceExt;
use tower_oauth2_client::{
    provider::catalog,
    sandbox::{Endpoint, Persona, Sandbox},
};

const VERIFIER: &str = "0123456789012345678901234567890123456789012345";
/// `VERIFIER` as an S256 challenge.
const CHALLENGE: &str = "Rk-HdX7T3F2OqGIdRdT5fYz0N-GJsF3E9gJUD5rq8q0";

/// A client that keeps to a provider file, at the provider's own addresses.
struct Raw {
    sandbox: Sandbox,
    persona: Persona,
    file: Value,
    tenant: String,
}

struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{:?}", self.body))
    }
}

fn raw(name: &str) -> Raw {
    let entry = catalog::all().find(|entry| entry.name() == name).unwrap();
    let file: Value = serde_json::from_str(entry.file()).unwrap();
    let persona = Persona::named(name).unwrap();
    Raw {
        sandbox: Sandbox::persona(persona.clone()).build(),
        tenant: persona.tenant().to_owned(),
        persona,
        file: file["provider"].clone(),
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    catalog::all().map(|entry| entry.name())
}

fn encoded<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

/// A parameter of a callback URL.
fn parameter(callback: &str, name: &str) -> Option<String> {
    let (_, query) = callback.split_once('?')?;
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

impl Raw {
    /// The URL of an endpoint of the tenant.
    fn url(&self, endpoint: &str) -> Option<String> {
        let url = match endpoint {
            "api" => self.file["api_origins"][0].as_str(),
            _ => self.file[endpoint].as_str(),
        };
        let variables = [
            ("{accounts}", "accounts.zoho.{tenant}"),
            ("{api}", "www.zohoapis.{tenant}"),
            ("{instance}", "{tenant}.my.salesforce.com"),
            ("{shop}", "{tenant}"),
        ];
        let url = variables
            .into_iter()
            .fold(url?.to_owned(), |url, (name, text)| url.replace(name, text));
        Some(url.replace("{tenant}", &self.tenant))
    }

    fn parameters(&self, kind: &str) -> Vec<(&str, &str)> {
        let parameters = self.file["request_parameters"][kind].as_object();
        let parameters = parameters.into_iter().flatten();
        parameters
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect()
    }

    fn basic(&self) -> String {
        let credentials = format!(
            "{}:{}",
            self.sandbox.client_id(),
            self.sandbox.client_secret()
        );
        format!("Basic {}", STANDARD.encode(credentials))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response {
        let response = self.sandbox.service().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        Response {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    fn request(
        &self,
        url: &str,
        fields: &[(&str, &str)],
        basic: bool,
        json: bool,
    ) -> Request<Full<Bytes>> {
        let mut fields = fields.to_vec();
        let mut request = Request::post(url).header(ACCEPT, "application/json");
        if basic {
            request = request.header(AUTHORIZATION, self.basic());
        } else {
            fields.push(("client_id", self.sandbox.client_id()));
            fields.push(("client_secret", self.sandbox.client_secret()));
        }
        let (content_type, body) = if json {
            let members = fields.iter();
            let members = members.map(|(name, value)| ((*name).to_owned(), Value::from(*value)));
            (
                "application/json",
                Value::Object(members.collect::<Map<_, _>>()).to_string(),
            )
        } else {
            ("application/x-www-form-urlencoded", encoded(fields))
        };
        request
            .header(CONTENT_TYPE, content_type)
            .body(body.into())
            .unwrap()
    }

    fn uses_basic(&self) -> bool {
        self.file["client_authentication"] == "basic"
    }

    fn uses_json(&self) -> bool {
        self.file["request_format"] == "json"
    }

    async fn token_request(&self, fields: &[(&str, &str)]) -> Response {
        let url = self.url("token_endpoint").unwrap();
        let request = self.request(&url, fields, self.uses_basic(), self.uses_json());
        self.send(request).await
    }

    async fn callback(&self) -> String {
        let separator = self.file["scope_separator"].as_str().unwrap_or(" ");
        let scopes: Vec<&str> = self.persona.scopes().collect();
        let scope = scopes.join(separator);
        let mut fields = vec![
            ("response_type", "code"),
            ("client_id", self.sandbox.client_id()),
            ("redirect_uri", self.sandbox.redirect_uri()),
            ("scope", &scope),
            ("state", "s1"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        fields.extend(self.parameters("authorization"));
        let url = self.url("authorization_endpoint").unwrap();
        let url = format!("{url}?{}", encoded(fields));
        self.sandbox.consent(&url).await.unwrap()
    }

    async fn exchange_code(&self, code: &str) -> Response {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.sandbox.redirect_uri()),
            ("code_verifier", VERIFIER),
        ];
        fields.extend(self.parameters("code_exchange"));
        self.token_request(&fields).await
    }

    async fn connect(&self) -> Value {
        let callback = self.callback().await;
        let code = parameter(&callback, "code").unwrap_or_else(|| panic!("{callback}"));
        let response = self.exchange_code(&code).await;
        assert_eq!(response.status, 200, "{:?}", response.body);
        response.json()
    }

    async fn refresh(&self, token: &str) -> Response {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.token_request(&fields).await
    }

    async fn call_at(&self, origin: &str, token: &str) -> StatusCode {
        let header = &self.file["token_header"];
        let name = header["name"].as_str().unwrap_or("Authorization");
        let scheme = header["scheme"].as_str().unwrap_or("Bearer");
        let value = format!("{scheme} {token}");
        let request = Request::get(format!("{origin}/v1/things")).header(name, value.trim_start());
        self.send(request.body(Full::default()).unwrap())
            .await
            .status
    }

    async fn call(&self, token: &str) -> StatusCode {
        self.call_at(&self.url("api").unwrap(), token).await
    }

    /// Passes the time before which a refresh is refused.
    fn wait_for_the_refresh_window(&self) {
        if !self.file["refresh_window"].is_null() {
            self.sandbox.advance(Duration::from_secs(590));
        }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name}: {value}"))
}

#[test]
fn every_entry_has_a_persona() {
    assert!(names().eq(Persona::names()));
}

#[tokio::test(start_paused = true)]
async fn client_that_keeps_to_the_file_is_served() {
    for name in names() {
        let raw = raw(name);
        let tokens = raw.connect().await;
        let access_token = text(&tokens, "access_token");
        assert_eq!(raw.call(access_token).await, 200, "{name}");
        assert_eq!(raw.call("sandbox-access-other").await, 401, "{name}");
        if !raw.persona.has_refresh_tokens() {
            assert!(tokens.get("refresh_token").is_none(), "{name}");
            continue;
        }
        raw.wait_for_the_refresh_window();
        let refreshed = raw.refresh(text(&tokens, "refresh_token")).await;
        assert_eq!(refreshed.status, 200, "{name}: {:?}", refreshed.body);
        let refreshed = refreshed.json();
        let newer = text(&refreshed, "access_token");
        assert_eq!(raw.call(newer).await, 200, "{name}");
        raw.sandbox.expire_access_tokens();
        assert_eq!(raw.call(newer).await, 401, "{name}");
        assert_eq!(raw.sandbox.counters().misdirected, 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_in_the_wrong_place_are_refused() {
    for name in names() {
        let raw = raw(name);
        let callback = raw.callback().await;
        let code = parameter(&callback, "code").unwrap();
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", raw.sandbox.redirect_uri()),
            ("code_verifier", VERIFIER),
        ];
        fields.extend(raw.parameters("code_exchange"));
        let url = raw.url("token_endpoint").unwrap();
        let [basic, json] = [raw.uses_basic(), raw.uses_json()];
        let wrong = raw.send(raw.request(&url, &fields, !basic, json)).await;
        assert_eq!(wrong.status, 401, "{name}");
        assert_eq!(wrong.json()["error"], "invalid_client", "{name}");
        let wrong = raw.send(raw.request(&url, &fields, basic, !json)).await;
        assert_eq!(wrong.json()["error"], "invalid_request", "{name}");
        assert_eq!(raw.exchange_code(&code).await.status, 200, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn missing_parameter_is_refused() {
    let google = raw("google");
    let url = format!(
        "{}?{}",
        google.url("authorization_endpoint").unwrap(),
        encoded([
            ("response_type", "code"),
            ("client_id", google.sandbox.client_id())
        ])
    );
    let error = google.sandbox.consent(&url).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::BAD_REQUEST));

    let shopify = raw("shopify");
    let code = parameter(&shopify.callback().await, "code").unwrap();
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", shopify.sandbox.redirect_uri()),
    ];
    let response = shopify.token_request(&fields).await;
    assert_eq!(response.json()["error"], "invalid_request");
}

#[tokio::test(start_paused = true)]
async fn dead_refresh_token_is_refused_as_the_provider_does() {
    for name in names() {
        let raw = raw(name);
        if !raw.persona.has_refresh_tokens() {
            continue;
        }
        let tokens = raw.connect().await;
        raw.sandbox.revoke_grants();
        raw.wait_for_the_refresh_window();
        let refused = raw.refresh(text(&tokens, "refresh_token")).await;
        let expected = match name {
            "atlassian" => (403, "error", json!("unauthorized_client")),
            "github_app" => (200, "error", json!("bad_refresh_token")),
            "hubspot" => (400, "status", json!("BAD_REFRESH_TOKEN")),
            "microsoft" => (400, "error", json!("interaction_required")),
            "slack" => (200, "error", json!("invalid_refresh_token")),
            "zoho" => (200, "error", json!("invalid_code")),
            _ => (400, "error", json!("invalid_grant")),
        };
        let body = refused.json();
        let found = (
            refused.status.as_u16(),
            expected.1,
            body[expected.1].clone(),
        );
        assert_eq!(found, expected, "{name}");
        assert_eq!(raw.sandbox.counters().token_requests_refused, 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn revocation_has_the_shape_of_the_file() {
    for name in names() {
        let raw = raw(name);
        let tokens = raw.connect().await;
        let Some(url) = raw.url("revocation_endpoint") else {
            continue;
        };
        let shape = &raw.file["revocation_request"];
        let access_token = text(&tokens, "access_token");
        let token = match shape["token"].as_str() {
            Some("access") => access_token,
            _ => text(&tokens, "refresh_token"),
        };
        let url = url
            .replace("{token}", token)
            .replace("{client_id}", raw.sandbox.client_id());
        let parameter = shape["parameter"].as_str().unwrap_or("token");
        let fields = (!parameter.is_empty()).then_some((parameter, token));
        let fields: Vec<_> = fields.into_iter().collect();
        let authentication = shape["authentication"].as_str().unwrap_or("client");
        let basic = match authentication {
            "client" => raw.uses_basic(),
            _ => true,
        };
        let mut request = raw.request(&url, &fields, basic, shape["format"] == "json");
        let method = shape["method"].as_str().unwrap_or("POST");
        *request.method_mut() = method.parse::<Method>().unwrap();
        match authentication {
            "none" => {
                let refused = raw.send(request.clone()).await;
                assert_eq!(refused.status, 400, "{name}");
                request.headers_mut().remove(AUTHORIZATION);
            }
            "access_token" => {
                let value = format!("Bearer {access_token}").parse().unwrap();
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            _ => {}
        }
        let response = raw.send(request).await;
        let expected = match name {
            "github_app" | "github_oauth_app" | "hubspot" => 204,
            _ => 200,
        };
        assert_eq!(response.status, expected, "{name}: {:?}", response.body);
        assert_eq!(raw.sandbox.counters().revocations, 1, "{name}");
        let status = raw.call(access_token).await;
        assert_eq!(
            status.as_u16(),
            if name == "hubspot" { 200 } else { 401 },
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn values_are_sent_where_the_provider_sends_them() {
    let quickbooks = raw("quickbooks");
    let callback = quickbooks.callback().await;
    assert_eq!(
        parameter(&callback, "realmId").as_deref(),
        Some("9130350000000000")
    );
    let tokens = quickbooks.connect().await;
    assert_eq!(tokens["x_refresh_token_expires_in"], 8_640_000);
    assert_eq!(tokens["expires_in"], 3_600);

    let zoho = raw("zoho");
    let callback = zoho.callback().await;
    assert_eq!(
        parameter(&callback, "accounts-server").as_deref(),
        Some("https://accounts.zoho.eu")
    );
    assert_eq!(parameter(&callback, "location").as_deref(), Some("eu"));
    assert_eq!(
        zoho.connect().await["api_domain"],
        "https://www.zohoapis.eu"
    );

    let salesforce = raw("salesforce");
    let tokens = salesforce.connect().await;
    assert_eq!(tokens["instance_url"], "https://acme.my.salesforce.com");
    assert!(tokens.get("expires_in").is_none());

    let slack = raw("slack").connect().await;
    assert_eq!(slack["team"]["id"], "Tacme");
    assert_eq!(
        (&slack["ok"], &slack["token_type"]),
        (&json!(true), &json!("bot"))
    );
    assert_eq!(slack["scope"], "channels:read,chat:write");

    let shopify = raw("shopify").connect().await;
    assert!(shopify.get("token_type").is_none());
    assert_eq!(shopify["refresh_token_expires_in"], 7_776_000);
    assert_eq!(raw("exact_online").connect().await["expires_in"], "600");
}

#[tokio::test(start_paused = true)]
async fn response_is_a_form_unless_the_client_accepts_json() {
    let github = raw("github_app");
    let code = parameter(&github.callback().await, "code").unwrap();
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", github.sandbox.redirect_uri()),
        ("code_verifier", VERIFIER),
    ];
    let url = github.url("token_endpoint").unwrap();
    let mut request = github.request(&url, &fields, false, false);
    request.headers_mut().remove(ACCEPT);
    let response = github.send(request).await;
    let content_type = response.headers[CONTENT_TYPE].to_str().unwrap();
    assert!(content_type.starts_with("application/x-www-form-urlencoded"));
    assert!(response.body.starts_with(b"access_token=sandbox-access-"));
}

#[tokio::test(start_paused = true)]
async fn p20_token_of_another_tenant_is_refused_and_counted() {
    for (name, foreign) in [
        ("shopify", "https://evil.myshopify.com"),
        ("salesforce", "https://evil.my.salesforce.com"),
        ("zoho", "https://www.zohoapis.com"),
        ("github_app", "https://api.github.example"),
    ] {
        let raw = raw(name);
        let tokens = raw.connect().await;
        let status = raw.call_at(foreign, text(&tokens, "access_token")).await;
        assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{name}");
        assert_eq!(raw.sandbox.counters().misdirected, 1, "{name}");
        assert_eq!(raw.call(text(&tokens, "access_token")).await, 200, "{name}");
    }
    // A refresh token and a code are bound to the tenant, too.
    let mut zoho = raw("zoho");
    let tokens = zoho.connect().await;
    let code = parameter(&zoho.callback().await, "code").unwrap();
    "com".clone_into(&mut zoho.tenant);
    let refused = zoho.refresh(text(&tokens, "refresh_token")).await;
    assert_eq!(refused.status, 400);
    assert_eq!(zoho.exchange_code(&code).await.status, 400);
    assert_eq!(zoho.sandbox.counters().misdirected, 2);
}

#[tokio::test(start_paused = true)]
async fn consent_belongs_to_the_tenant_of_its_address() {
    let mut shopify = raw("shopify");
    "other-shop".clone_into(&mut shopify.tenant);
    let callback = shopify.callback().await;
    assert_eq!(
        parameter(&callback, "shop").as_deref(),
        Some("other-shop.myshopify.com")
    );
    let tokens = shopify.connect().await;
    assert_eq!(shopify.call(text(&tokens, "access_token")).await, 200);
    // Elsewhere the test chooses it.
    let salesforce = raw("salesforce");
    salesforce.sandbox.set_tenant("globex");
    let tokens = salesforce.connect().await;
    assert_eq!(tokens["instance_url"], "https://globex.my.salesforce.com");
}

#[tokio::test(start_paused = true)]
async fn rotation_is_that_of_the_provider() {
    for name in names() {
        let raw = raw(name);
        if !raw.persona.has_refresh_tokens() {
            continue;
        }
        let first = raw.connect().await;
        let first = text(&first, "refresh_token");
        raw.wait_for_the_refresh_window();
        let refreshed = raw.refresh(first).await.json();
        let second = refreshed["refresh_token"].as_str();
        let again = |raw: &Raw| {
            raw.wait_for_the_refresh_window();
        };
        again(&raw);
        // A replay at once, and after the new access token was used.
        let replayed = raw.refresh(first).await.status.as_u16();
        let used = raw.call(text(&refreshed, "access_token")).await.as_u16();
        let later = raw.refresh(first).await;
        let later_is_dead = later.json().get("access_token").is_none();
        let revoked = raw.sandbox.counters().grants_revoked;
        let (rotates, replays, dies) = match name {
            "google" | "zoho" => (None, true, false),
            "hubspot" | "quickbooks" => (Some(false), true, false),
            "atlassian" | "microsoft" | "xero" => (Some(true), true, false),
            "gusto" | "shopify" => (Some(true), true, true),
            _ => (Some(true), false, true),
        };
        assert_eq!(second.map(|second| second != first), rotates, "{name}");
        assert_eq!(later_is_dead, dies, "{name}");
        if name == "salesforce" {
            assert_eq!((used, revoked), (401, 1));
        } else if name != "exact_online" {
            assert_eq!((used, revoked), (200, 0), "{name}");
        }
        if !matches!(name, "github_app" | "slack") {
            assert_eq!(replayed == 200, replays, "{name}");
        }
    }
    // The value changes once it is a day old.
    let quickbooks = raw("quickbooks");
    let first = quickbooks.connect().await;
    quickbooks.sandbox.advance(Duration::from_secs(86_400));
    let second = quickbooks
        .refresh(text(&first, "refresh_token"))
        .await
        .json();
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let refused = quickbooks.refresh(text(&first, "refresh_token")).await;
    assert_eq!(refused.status, 400);
    assert_eq!(quickbooks.sandbox.counters().grants_revoked, 0);
}

#[tokio::test(start_paused = true)]
async fn refresh_before_its_window_is_refused_and_changes_nothing() {
    let exact = raw("exact_online");
    let tokens = exact.connect().await;
    let token = text(&tokens, "refresh_token");
    exact.sandbox.advance(Duration::from_secs(569));
    assert_eq!(exact.refresh(token).await.status, 400);
    exact.sandbox.advance(Duration::from_secs(1));
    assert_eq!(exact.refresh(token).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn false_death_changes_nothing() {
    for name in ["microsoft", "salesforce"] {
        let raw = raw(name);
        let tokens = raw.connect().await;
        let token = text(&tokens, "refresh_token");
        let fault = raw.persona.false_death().unwrap();
        raw.sandbox.inject(Endpoint::Token, fault);
        let refused = raw.refresh(token).await;
        assert_eq!(refused.status, 400, "{name}");
        assert_eq!(refused.json()["error"], "invalid_grant", "{name}");
        assert_eq!(raw.refresh(token).await.status, 200, "{name}");
    }
}
