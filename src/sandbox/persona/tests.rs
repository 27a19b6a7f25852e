//! Every persona can be read, and members land where the provider has them.

use http_body_util::BodyExt;
use serde_json::json;

use super::*;
use crate::sandbox::behavior::Rotation;

fn persona(provider: &Value, record: &Value) -> Persona {
    Persona::new(&provider.to_string(), &record.to_string()).unwrap()
}

fn record() -> Value {
    json!({"source": "https://id.example.com", "scopes": ["a"], "rotation": "single_use"})
}

#[test]
fn every_persona_can_be_read() {
    for name in Persona::names() {
        let persona = Persona::named(name).unwrap_or_else(|| panic!("{name}"));
        assert!(persona.scopes().count() > 0, "{name}");
        assert!(persona.source().starts_with("https://"), "{name}");
    }
    assert!(Persona::named("nothing").is_none());
}

#[test]
fn unknown_member_of_a_record_is_refused() {
    let provider = json!({"token_endpoint": "https://id.example.com/token"});
    let mut wrong = record();
    wrong["surprise"] = json!(1);
    let error = Persona::new(&provider.to_string(), &wrong.to_string()).unwrap_err();
    assert!(error.source().unwrap().to_string().contains("surprise"));
}

#[test]
fn behavior_follows_the_files() {
    let provider = json!({
        "token_endpoint": "https://id.example.com/token",
        "client_authentication": "basic_raw",
        "pkce": false,
        "access_token_lifetime": "never",
        "refresh_token_lifetime": 60,
    });
    let mut behavior = Behavior::default();
    persona(&provider, &record()).apply(&mut behavior);
    assert_eq!(behavior.rotation, Rotation::SingleUse);
    assert_eq!(
        behavior.client_authentication,
        ClientAuthentication::BasicRaw
    );
    assert_eq!(behavior.pkce, Pkce::Ignored);
    assert_eq!(behavior.access_token_lifetime, Duration::MAX);
    assert_eq!(behavior.expires_in, ExpiresIn::Absent);
    assert_eq!(behavior.refresh_token_lifetime, Duration::from_secs(60));
}

#[tokio::test]
async fn members_stand_at_their_paths() {
    let provider = json!({
        "token_endpoint": "https://id.example.com/token",
        "response_members": {"access_token": "data.user.token", "expires_in": "data.ttl"},
        "lifetime_unit": "milliseconds",
        "refresh_token_lifetime": 60,
    });
    let mut record = record();
    record["response"] = json!({"ok": true, "data": {"team": "T-{tenant}"}});
    record["scope_separator"] = json!(",");
    record["refresh_token_expires_in"] = json!(true);
    let members =
        json!({"access_token": "a", "refresh_token": "r", "expires_in": 5, "scope": "x y"});
    let Value::Object(members) = members else {
        unreachable!()
    };
    let response = persona(&provider, &record).token_response(&HeaderMap::new(), members, "acme");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let expected = json!({
        "ok": true,
        "data": {"team": "T-acme", "user": {"token": "a"}, "ttl": 5_000},
        "refresh_token": "r",
        "refresh_token_expires_in": 60_000,
        "scope": "x,y",
    });
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
}

#[test]
fn route_depends_on_host_and_path() {
    let provider = json!({
        "token_endpoint": "https://{accounts}/oauth/token",
        "refresh_endpoint": "https://{accounts}/oauth/refresh",
        "authorization_endpoint": "https://id.example.com/authorize",
        "revocation_endpoint": "https://{accounts}/revoke?token={token}",
        "api_origins": ["https://{api}"],
    });
    let mut record = record();
    record["variables"] =
        json!({"accounts": "accounts.{tenant}.example", "api": "api.{tenant}.example"});
    let persona = persona(&provider, &record);
    let tenant = |tenant: &str| Some(tenant.to_owned());
    for (url, expected) in [
        (
            "https://id.example.com/authorize?x=y",
            Route::Authorize { tenant: None },
        ),
        (
            "http://127.0.0.1:80/authorize",
            Route::Authorize { tenant: None },
        ),
        ("https://accounts.eu.example/authorize", Route::Misdirected),
        (
            "https://accounts.eu.example/oauth/token",
            Route::Token {
                tenant: tenant("eu"),
                accepts_codes: true,
                accepts_refresh_tokens: false,
            },
        ),
        (
            "http://localhost/oauth/refresh",
            Route::Token {
                tenant: None,
                accepts_codes: false,
                accepts_refresh_tokens: true,
            },
        ),
        (
            "https://api.us.example/oauth/token",
            Route::Api {
                tenant: tenant("us"),
            },
        ),
        ("https://evil.example/oauth/token", Route::Misdirected),
        ("/v1/anything", Route::Api { tenant: None }),
        (
            "https://accounts.eu.example/revoke?token=a%2Fb",
            Route::Revoke {
                tenant: tenant("eu"),
                token: Some("a/b".to_owned()),
                client_id: None,
            },
        ),
    ] {
        let request = Request::get(url).body(()).unwrap();
        assert_eq!(persona.route(&request), expected, "{url}");
        let request = Request::get("http://127.0.0.1:80/").body(()).unwrap();
        assert_eq!(persona.route(&request), Route::Api { tenant: None });
    }
    let routed = Request::get("http://127.0.0.1:80/x").header(HOST_HEADER, "api.us.example");
    let routed = routed.body(()).unwrap();
    assert_eq!(
        persona.route(&routed),
        Route::Api {
            tenant: tenant("us")
        }
    );
}
