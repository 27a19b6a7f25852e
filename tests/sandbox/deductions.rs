//! The deductions endpoint: idempotent, with one result per row.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tower_oauth2_client::sandbox::{Endpoint, EventKind, Fault, Sandbox};

use crate::support::{Response, access_token_with_scope, connect, get, send};

async fn post(sandbox: &Sandbox, token: &str, body: impl Into<Bytes>) -> Response {
    let request = Request::post("/v1/deductions")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body.into()))
        .unwrap();
    send(sandbox, request).await
}

fn row(operation_id: &str) -> Value {
    json!({
        "member_id": "member_00000000000000000000000001",
        "operation_id": operation_id,
        "amount_type": "fixed",
        "amount": 4500,
        "currency": "USD",
        "deduction_type_code": "401k",
        "frequency": "one_time",
        "start_date": "2026-02-01",
    })
}

#[tokio::test(start_paused = true)]
async fn a_repeated_deduction_is_created_once() {
    let sandbox = Sandbox::builder().build();
    let token = connect(&sandbox).await.access;
    let body = json!({ "items": [row("a"), row("b"), row("a")] }).to_string();
    sandbox.inject(
        Endpoint::Deductions,
        Fault::status(StatusCode::BAD_GATEWAY).after_processing(),
    );
    assert_eq!(
        post(&sandbox, &token, body.clone()).await.status,
        StatusCode::BAD_GATEWAY
    );
    let response = post(&sandbox, &token, body).await.json();
    let result = |operation: &str, number: u8| {
        json!({
            "deduction_id": format!("deduction_{number:026}"),
            "member_id": "member_00000000000000000000000001",
            "operation_id": operation,
            "success": true,
        })
    };
    assert_eq!(
        response,
        json!({ "items": [result("a", 1), result("b", 2), result("a", 1)] })
    );
    assert_eq!(sandbox.counters().deductions_created, 2);

    let listed = get(&sandbox, "/v1/deductions", &token).await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert_eq!(listed["items"][0]["amount"], 4500);
    for (query, count) in [
        ("member_id=member_00000000000000000000000001", 2),
        ("member_id=x", 0),
        ("deduction_type=401k&frequency=one_time", 2),
        ("deduction_type=hsa", 0),
        ("frequency=every_paycheck", 0),
        ("description=x", 0),
        ("limit=1", 1),
    ] {
        let path = format!("/v1/deductions?{query}");
        let listed = get(&sandbox, &path, &token).await.json();
        assert_eq!(listed["items"].as_array().unwrap().len(), count, "{query}");
    }
    for query in [
        "frequency=daily",
        "frequency=",
        "limit=0",
        "limit=1&limit=1",
        "cursor=",
    ] {
        let response = get(&sandbox, &format!("/v1/deductions?{query}"), &token).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_row_fails_alone() {
    let sandbox = Sandbox::builder().build();
    let token = connect(&sandbox).await.access;
    let with = |field: &str, value: Value| {
        let mut row = row(field);
        row[field] = value;
        row
    };
    let changed = with("amount", json!(1));
    let mut first = changed.clone();
    first["amount"] = json!(2);
    let rows = json!([
        row("good"),
        first,
        changed,
        with("member_id", json!("member_x")),
        with("operation_id", json!("")),
        with("amount_type", Value::Null),
        with("currency", json!(1)),
        with("frequency", json!("daily")),
        with("start_date", json!("tomorrow")),
        json!(7),
    ]);
    let response = post(&sandbox, &token, json!({ "items": rows }).to_string()).await;
    assert_eq!(response.status, StatusCode::OK);
    let outcomes: Vec<_> = response.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| {
            (
                result["success"] == true,
                result.get("error_message").is_some(),
            )
        })
        .collect();
    let mut expected = vec![(true, false), (true, false)];
    expected.resize(10, (false, true));
    assert_eq!(outcomes, expected);
}

#[tokio::test(start_paused = true)]
async fn a_body_without_a_list_of_rows_is_refused() {
    let sandbox = Sandbox::builder().build();
    let token = connect(&sandbox).await.access;
    for body in [
        "",
        "[]",
        "{}",
        "{\"items\":{}}",
        "{\"items\":[",
        "\u{feff}{}",
        "nonsense",
    ] {
        let response = post(&sandbox, &token, body).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{body}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(
        post(&sandbox, &token, deep).await.status,
        StatusCode::BAD_REQUEST
    );
    let large = vec![b' '; 1024 * 1024 + 1];
    assert_eq!(
        post(&sandbox, &token, large).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );

    let request = Request::post("/v1/deductions")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "text/plain")
        .body("{\"items\":[]}".into())
        .unwrap();
    assert_eq!(
        send(&sandbox, request).await.status,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );

    let reader = access_token_with_scope(&sandbox, "deductions:read").await;
    let response = post(&sandbox, &reader, "{\"items\":[]}").await;
    assert_eq!(response.status, StatusCode::FORBIDDEN);
}

#[tokio::test(start_paused = true)]
async fn the_log_says_which_row_created_the_deduction() {
    let sandbox = Sandbox::builder().build();
    let token = connect(&sandbox).await.access;
    post(
        &sandbox,
        &token,
        json!({ "items": [row("a"), row("a")] }).to_string(),
    )
    .await;
    let created: Vec<_> = sandbox
        .events()
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::DeductionSubmitted { created, .. } => Some(created),
            _ => None,
        })
        .collect();
    assert_eq!(created, [true, false]);
}

/// Sends one row and returns its result.
async fn create(sandbox: &Sandbox, token: &str, row: &Value) -> Value {
    let response = post(sandbox, token, json!({ "items": [row] }).to_string()).await;
    assert_eq!(response.status, StatusCode::OK);
    response.json()["items"][0].clone()
}

#[tokio::test(start_paused = true)]
async fn dates_and_descriptions_are_validated() {
    let sandbox = Sandbox::builder().build();
    let token = connect(&sandbox).await.access;
    for (field, value) in [
        ("start_date", json!("2026-01-02T10:00:00")),
        ("start_date", json!("20260102")),
        ("start_date", json!("2026-02-30")),
        ("start_date", json!("+002026-01-02")),
        ("start_date", json!(" 2026-01-02")),
        ("end_date", json!("never")),
        ("end_date", json!("2026-01-02T10:00:00Z")),
        ("end_date", json!("")),
        ("end_date", json!(20_260_102)),
        ("description", json!(7)),
        ("description", json!({ "text": "x" })),
    ] {
        let mut row = row("a");
        row[field] = value;
        let result = create(&sandbox, &token, &row).await;
        assert_eq!(result["success"], false, "{row}");
        let message = result["error_message"].as_str().unwrap();
        assert!(message.contains(field), "{message}");
    }
    let mut right = row("a");
    right["end_date"] = json!("2026-03-01");
    right["description"] = json!("pension");
    assert_eq!(create(&sandbox, &token, &right).await["success"], true);
}

#[tokio::test(start_paused = true)]
async fn a_list_contains_only_documented_fields() {
    let sandbox = Sandbox::builder().build();
    let token = connect(&sandbox).await.access;
    let mut sent = row("a");
    sent["end_date"] = Value::Null;
    sent["description"] = Value::Null;
    sent["secret"] = json!({ "a": 1 });
    sent["id"] = json!("mine");
    let result = create(&sandbox, &token, &sent).await;
    assert_eq!(result["success"], true, "{result}");
    // Without the ignored fields it is the same row.
    let again = create(&sandbox, &token, &row("a")).await;
    assert_eq!(again, result);

    let mut expected = row("a");
    expected.as_object_mut().unwrap().remove("operation_id");
    expected["id"] = result["deduction_id"].clone();
    let listed = get(&sandbox, "/v1/deductions", &token).await.json();
    assert_eq!(listed["items"], json!([expected]));
}

#[tokio::test(start_paused = true)]
async fn a_long_operation_id_is_refused_and_truncated_in_the_log() {
    let sandbox = Sandbox::builder().build();
    let token = connect(&sandbox).await.access;
    let longest = "x".repeat(255);
    assert_eq!(
        create(&sandbox, &token, &row(&longest)).await["success"],
        true
    );
    let result = create(&sandbox, &token, &row(&"é".repeat(128))).await;
    assert_eq!(result["success"], false);
    assert!(
        result["error_message"]
            .as_str()
            .unwrap()
            .contains("operation_id")
    );
    let logged: Vec<_> = sandbox
        .events()
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::DeductionSubmitted { operation_id, .. } => Some(operation_id),
            _ => None,
        })
        .collect();
    assert_eq!(logged, ["x".repeat(64), "é".repeat(64)]);
}
