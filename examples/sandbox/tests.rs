//! The effect of each variable, and the error for a wrong value.

use tower_oauth2_client::sandbox::{Behavior, DateHeader, Sandbox};

use super::*;

fn with(name: &str, value: &str) -> Result<Sandbox, String> {
    let variable = |requested: &str| (requested == name).then(|| value.into());
    listen_address(&variable)?;
    configure(Sandbox::builder(), &variable).map(SandboxBuilder::build)
}

fn behavior(name: &str, value: &str) -> Behavior {
    with(name, value).unwrap().behavior()
}

#[tokio::test]
async fn variables_set_the_behavior() {
    let default = with("", "").unwrap().behavior();
    assert_eq!(default.consent, Consent::Page);
    assert_eq!(default.rotation, Rotation::FamilyRevocation);
    for (text, milliseconds) in [("500ms", 500), ("2", 2_000), ("2s", 2_000), ("3m", 180_000)] {
        let behavior = with("SANDBOX_ACCESS_TTL", text).unwrap().behavior();
        let lifetime = Duration::from_millis(milliseconds);
        assert_eq!(behavior.access_token_lifetime, lifetime);
    }
    let behavior = with("SANDBOX_REFRESH_TTL", "1d").unwrap().behavior();
    assert_eq!(behavior.refresh_token_lifetime, Duration::from_secs(86_400));
    let behavior = with("SANDBOX_CODE_TTL", "1h").unwrap().behavior();
    assert_eq!(behavior.code_lifetime, Duration::from_secs(3_600));
    let behavior = with("SANDBOX_ROTATION", "deferred").unwrap().behavior();
    assert_eq!(behavior.rotation, Rotation::Deferred);
    let behavior = with("SANDBOX_CONSENT", "allow").unwrap().behavior();
    assert_eq!(behavior.consent, Consent::Allow);
    let behavior = with("SANDBOX_WINDOW", "fixed").unwrap().behavior();
    assert_eq!(behavior.refresh_window, RefreshWindow::Fixed);
    assert!(
        with("SANDBOX_REVOKE_ACCESS_TOKEN", "1")
            .unwrap()
            .behavior()
            .rotation_revokes_access_token
    );
    let behavior = with("SANDBOX_EXPIRES_IN", "1").unwrap().behavior();
    assert_eq!(behavior.expires_in, ExpiresIn::Number);
}

#[tokio::test]
async fn variables_set_the_client() {
    assert_eq!(with("SANDBOX_CLIENT_ID", "a").unwrap().client_id(), "a");
    assert_eq!(
        with("SANDBOX_CLIENT_SECRET", "a").unwrap().client_secret(),
        "a"
    );
    assert_eq!(
        with("SANDBOX_REDIRECT_URI", "a").unwrap().redirect_uri(),
        "a"
    );
}

#[test]
fn the_error_names_the_wrong_variable() {
    for (name, value) in [
        ("SANDBOX_LISTEN", "8080"),
        ("SANDBOX_ACCESS_TTL", "1y"),
        ("SANDBOX_ACCESS_TTL", "99999999999999999999"),
        ("SANDBOX_ACCESS_TTL", "18446744073709551615d"),
        ("SANDBOX_ROTATION", "sometimes"),
        ("SANDBOX_MEMBERS", "many"),
        ("SANDBOX_MEMBERS", "100001"),
        ("SANDBOX_MEMBERS", "18446744073709551615"),
        ("SANDBOX_CLIENT_ID", ""),
        ("SANDBOX_CLIENT_SECRET", ""),
        ("SANDBOX_REDIRECT_URI", ""),
        ("SANDBOX_ISSUER", ""),
        ("SANDBOX_REDIRECT_URI", "http://127.0.0.1/#part"),
        ("SANDBOX_EXPIRES_AT", "soon"),
        ("SANDBOX_REFRESH_TOKEN", "perhaps"),
        ("SANDBOX_DATE", "tomorrow"),
        ("SANDBOX_DATE", "--5m"),
        ("SANDBOX_DATE", ""),
        ("SANDBOX_CHALLENGE", "digest"),
        ("SANDBOX_PKCE", "0"),
        ("SANDBOX_METADATA", "1"),
        ("SANDBOX_CLIENT_AUTH", "basic"),
    ] {
        let error = with(name, value).unwrap_err();
        assert!(error.contains(&format!("{name}={value}")), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn the_error_names_a_variable_that_is_not_utf_8() {
    use std::os::unix::ffi::OsStringExt;

    for name in [
        "SANDBOX_LISTEN",
        "SANDBOX_CLIENT_SECRET",
        "SANDBOX_PKCE",
        "SANDBOX_DATE",
    ] {
        let variable =
            |requested: &str| (requested == name).then(|| OsString::from_vec(vec![0xff]));
        let error = listen_address(&variable).map(|_| ()).and_then(|()| {
            let configured = configure(Sandbox::builder(), &variable);
            configured.map(|_| ())
        });
        assert!(error.unwrap_err().contains(name));
    }
}

#[tokio::test]
async fn variables_set_the_formats_of_responses() {
    for (word, expires_at) in [
        ("utc", ExpiresAt::Utc),
        ("offset", ExpiresAt::Offset(-300)),
        ("epoch-number", ExpiresAt::EpochNumber),
        ("absent", ExpiresAt::Absent),
    ] {
        assert_eq!(behavior("SANDBOX_EXPIRES_AT", word).expires_at, expires_at);
    }
    for (word, field) in [
        ("sent", RefreshTokenField::Sent),
        ("omitted", RefreshTokenField::OmittedOnRefresh),
        ("first-consent", RefreshTokenField::FirstConsent),
        ("never", RefreshTokenField::Never),
    ] {
        let behavior = behavior("SANDBOX_REFRESH_TOKEN", word);
        assert_eq!(behavior.refresh_token_field, field);
    }
    let five = Duration::from_secs(5 * 60);
    for (text, date) in [
        ("0s", DateHeader::Clock),
        ("-0", DateHeader::Clock),
        ("5m", DateHeader::Ahead(five)),
        ("-300", DateHeader::Behind(five)),
        ("absent", DateHeader::Absent),
    ] {
        assert_eq!(behavior("SANDBOX_DATE", text).date, date);
    }
    let mac = behavior("SANDBOX_TOKEN_TYPE", "mac").token_type;
    assert_eq!(mac.as_deref(), Some("mac"));
    assert_eq!(behavior("SANDBOX_TOKEN_TYPE", "").token_type, None);
    let challenge = behavior("SANDBOX_CHALLENGE", "two-headers").challenge;
    assert_eq!(challenge, Challenge::TwoHeaders);
}

#[tokio::test]
async fn variables_set_scopes_pkce_and_authentication() {
    let mut default = Behavior::default();
    default.consent = Consent::Page;
    assert_eq!(behavior("", ""), default);
    let limit = behavior("SANDBOX_SCOPE_LIMIT", " payroll:read  company:read ").scope_limit;
    assert_eq!(
        limit,
        Some(vec!["payroll:read".into(), "company:read".into()])
    );
    assert_eq!(behavior("SANDBOX_PKCE", "required").pkce, Pkce::Required);
    let issuer = behavior("SANDBOX_ISSUER", "http://127.0.0.1:8080").issuer;
    assert_eq!(issuer.as_deref(), Some("http://127.0.0.1:8080"));
    let metadata = behavior("SANDBOX_METADATA", "both").metadata;
    assert_eq!(metadata, MetadataDocuments::Both);
    let accepted = behavior("SANDBOX_CLIENT_AUTH", "body-or-basic").client_authentication;
    assert_eq!(accepted, ClientAuthentication::BodyOrBasic);
}

#[test]
fn help_lists_every_variable() {
    let requested = std::cell::RefCell::new(Vec::new());
    let variable = |name: &str| {
        requested.borrow_mut().push(name.to_owned());
        None
    };
    assert!(listen_address(&variable).is_ok() && configure(Sandbox::builder(), &variable).is_ok());
    for name in requested.into_inner() {
        assert!(HELP.contains(&format!("{name}=")), "{name}");
    }
}
