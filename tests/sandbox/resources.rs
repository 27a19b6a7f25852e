//! The company and member endpoints.

use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use tower_oauth2_client::sandbox::{SCOPES, Sandbox};

use crate::support::{Response, access_token_with_scope, code, connect, get, send};

#[tokio::test(start_paused = true)]
async fn each_endpoint_requires_its_scope_or_one_that_includes_it() {
    let sandbox = Sandbox::builder().build();
    for (path, scopes) in [
        (
            "/v1/company",
            vec!["company.basic:read", "company.detail:read"],
        ),
        (
            "/v1/members",
            vec!["member.basic:read", "member.detail:read"],
        ),
        (
            "/v1/members/member_00000000000000000000000001",
            vec!["member.basic:read", "member.detail:read"],
        ),
        (
            "/v1/deductions",
            vec!["deductions:read", "deductions:write"],
        ),
    ] {
        for scope in SCOPES {
            let token = access_token_with_scope(&sandbox, scope).await;
            let response = get(&sandbox, path, &token).await;
            if scopes.contains(&scope) {
                assert_eq!(response.status, StatusCode::OK, "{path} {scope}");
                continue;
            }
            assert_eq!(response.status, StatusCode::FORBIDDEN, "{path} {scope}");
            let expected = format!(
                r#"Bearer realm="justworks", error="insufficient_scope", scope="{}""#,
                scopes[0]
            );
            assert_eq!(response.header("www-authenticate"), Some(expected.as_str()));
        }
    }
    assert_eq!(sandbox.counters().unauthorized, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_valid_token_gets_401() {
    let sandbox = Sandbox::builder().build();
    let token = connect(&sandbox).await;
    let bearer = format!("Bearer {}", token.access);
    for values in [
        vec![],
        vec!["Bearer"],
        vec!["Bearer "],
        vec!["Basic YTpi"],
        vec![&token.access],
        vec![&bearer, &bearer],
        vec!["Bearer \u{fc}"],
    ] {
        let mut request = Request::get("/v1/company");
        for value in &values {
            request = request.header(AUTHORIZATION, value.as_bytes());
        }
        let response = send(&sandbox, request.body(Full::default()).unwrap()).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{values:?}");
    }
    // RFC 6750, section 2.1 and RFC 9110, section 11.1: the scheme is case-insensitive.
    let request =
        Request::get("/v1/company").header(AUTHORIZATION, bearer.replace("Bearer", "bEARER"));
    let response = send(&sandbox, request.body(Full::default()).unwrap()).await;
    assert_eq!(response.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn the_api_accepts_no_refresh_token_or_code() {
    let sandbox = Sandbox::builder().build();
    let tokens = connect(&sandbox).await;
    for token in [tokens.refresh, code(&sandbox, &[]).await] {
        assert_eq!(
            get(&sandbox, "/v1/company", &token).await.status,
            StatusCode::UNAUTHORIZED
        );
    }
}

#[tokio::test(start_paused = true)]
async fn following_the_cursors_returns_every_member_once() {
    let sandbox = Sandbox::builder().members(23).build();
    let token = connect(&sandbox).await.access;
    let mut seen = Vec::new();
    let mut path = "/v1/members?limit=10".to_owned();
    loop {
        let page = get(&sandbox, &path, &token).await.json();
        let items = page["items"].as_array().unwrap();
        seen.extend(
            items
                .iter()
                .map(|member| member["id"].as_str().unwrap().to_owned()),
        );
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(cursor) => path = format!("/v1/members?limit=10&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 23);
    seen.dedup();
    assert_eq!(seen.len(), 23);
}

#[tokio::test(start_paused = true)]
async fn members_have_only_the_fields_that_the_scopes_permit() {
    let sandbox = Sandbox::builder().build();
    for (scope, field) in [
        ("member.dob:read", "date_of_birth"),
        ("member.sex:read", "sex_assigned_at_birth"),
        ("member.pay:read", "current_pay"),
        ("member.employment:read", "current_employment"),
        ("member.detail:read", "addresses"),
    ] {
        let basic = access_token_with_scope(&sandbox, "member.basic:read").await;
        let more = access_token_with_scope(&sandbox, &format!("member.basic:read {scope}")).await;
        for path in [
            "/v1/members?limit=1",
            "/v1/members/member_00000000000000000000000001",
        ] {
            let first = |response: &Response| {
                let json = response.json();
                json.get("items")
                    .map_or(json.clone(), |items| items[0].clone())
            };
            let basic = first(&get(&sandbox, path, &basic).await);
            let more = first(&get(&sandbox, path, &more).await);
            assert_eq!(basic.get(field), None);
            assert!(more.get(field).is_some(), "{field}");
            assert_eq!(basic["name"], more["name"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn members_can_be_filtered() {
    let sandbox = Sandbox::builder().build();
    let token = connect(&sandbox).await.access;
    for (query, count) in [
        ("status=active", 20),
        ("status=terminated", 5),
        ("updated_at=2026-01-03T12:00:00Z", 1),
        ("updated_at_gt=2026-01-03T13:00:00%2B01:00", 22),
        ("updated_at_gte=2026-01-03T12:00:00Z", 23),
        ("updated_at_lt=2026-01-03T12:00:00Z", 2),
        ("updated_at_lte=2026-01-03T12:00:00Z", 3),
        ("updated_at_ne=2026-01-03T12:00:00Z", 24),
        (
            "updated_at_gt=2026-01-01T12:00:00Z&updated_at_lt=2026-01-05T12:00:00Z",
            3,
        ),
    ] {
        let response = get(&sandbox, &format!("/v1/members?{query}"), &token).await;
        assert_eq!(
            response.json()["items"].as_array().unwrap().len(),
            count,
            "{query}"
        );
    }
    for query in [
        "status=x",
        "limit=0",
        "limit=101",
        "limit=1&limit=1",
        "cursor=x",
        "updated_at=x",
        "updated_at=",
        "status=",
    ] {
        let response = get(&sandbox, &format!("/v1/members?{query}"), &token).await;
        assert_eq!(
            (response.status, response.error()),
            (StatusCode::BAD_REQUEST, "invalid_request".into())
        );
    }
    let response = get(&sandbox, "/v1/members/member_x", &token).await;
    assert_eq!(response.status, StatusCode::NOT_FOUND);
}
