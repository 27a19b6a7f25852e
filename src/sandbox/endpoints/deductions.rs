//! `GET /v1/deductions` and `POST /v1/deductions`

use http::{StatusCode, request::Parts};
use serde_json::{Map, Value, json};

use super::{bearer::authorize, pagination::Page};
use crate::sandbox::{
    event::{EventKind, truncated},
    fault::Endpoint,
    form::Form,
    request_body::{ReadError, RequestBody, is_content_type, read_body},
    response::{self, ResponseResult, bad_request},
    state::{SandboxState, SharedState},
};

/// Lists the deductions created, with filters and pages.
pub(super) fn list(shared: &SharedState, request: &Parts) -> ResponseResult {
    let mut state = shared.lock();
    let scope = "deductions:read";
    authorize(&mut state, request, Endpoint::Deductions, scope)?;
    let query = Form::parse(request.uri.query().unwrap_or_default().as_bytes());
    if query
        .raw_field("frequency")
        .is_some_and(|frequency| !FREQUENCIES.contains(&frequency))
    {
        return Err(bad_request(INVALID_FREQUENCY));
    }
    let page = Page::from_query(&query).map_err(bad_request)?;
    let deductions = state.records.deductions().iter();
    let matching = deductions
        .filter(|deduction| matches_filters(&query, &deduction.row))
        .map(|deduction| {
            let mut item = deduction.row.clone();
            item.remove("operation_id");
            item.insert("id".to_owned(), deduction.id.as_str().into());
            Value::Object(item)
        });
    Ok(response::json(StatusCode::OK, &page.to_json(matching)))
}

/// Whether a deduction matches the filters of the query.
fn matches_filters(query: &Form, row: &Map<String, Value>) -> bool {
    FILTERS.iter().all(|(parameter, field)| {
        let expected = query.raw_field(parameter);
        expected.is_none() || expected == row.get(*field).and_then(Value::as_str)
    })
}

/// Creates deductions, each once per `operation_id`. Every row has its own result.
pub(super) async fn create(
    shared: &SharedState,
    request: &Parts,
    body: RequestBody,
) -> ResponseResult {
    // The token is checked before the body is read, so a 401 can arrive during the upload.
    let scope = "deductions:write";
    let endpoint = Endpoint::Deductions;
    authorize(&mut shared.lock(), request, endpoint, scope)?;
    let error = |status, description| response::error(status, "invalid_request", description);
    if !is_content_type(&request.headers, "application/json") {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Ok(error(status, "the content type is not application/json"));
    }
    let bytes = match read_body(body, MAX_BODY).await {
        Ok(bytes) => bytes,
        Err(ReadError::TooLarge) => {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return Ok(error(status, "the body is larger than 1 MiB"));
        }
        Err(ReadError::Interrupted) => return Err(bad_request("the body is incomplete")),
    };
    let Ok(Value::Object(body)) = serde_json::from_slice(&bytes) else {
        return Err(bad_request("the body is not a JSON object"));
    };
    let Some(Value::Array(rows)) = body.get("items") else {
        return Err(bad_request("items is not an array"));
    };
    let mut state = shared.lock();
    let results: Vec<_> = rows.iter().map(|row| create_row(&mut state, row)).collect();
    Ok(response::json(StatusCode::OK, &json!({ "items": results })))
}

/// Processes a row and returns its result.
fn create_row(state: &mut SandboxState, row: &Value) -> Value {
    let row = &known_fields(row);
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let operation_id = text("operation_id").unwrap_or_default();
    let outcome = match invalid_field(row) {
        Some(message) => Err(message),
        None if !state
            .records
            .has_member(text("member_id").unwrap_or_default()) =>
        {
            Err("member_id is unknown".to_owned())
        }
        None => match state.records.create_deduction(operation_id, row) {
            Some((deduction, created)) if created || deduction.row == *row => {
                Ok((deduction.id.clone(), created))
            }
            Some(_) => Err("operation_id was already used for another deduction".to_owned()),
            None => Err("the sandbox has no room for another deduction".to_owned()),
        },
    };
    let created = matches!(outcome, Ok((_, true)));
    state.record(EventKind::DeductionSubmitted {
        operation_id: truncated(operation_id),
        created,
    });
    let mut result = Map::new();
    for name in ["member_id", "operation_id"] {
        if let Some(value) = text(name) {
            result.insert(name.to_owned(), value.into());
        }
    }
    result.insert("success".to_owned(), outcome.is_ok().into());
    match outcome {
        Ok((id, _)) => result.insert("deduction_id".to_owned(), id.into()),
        Err(message) => result.insert("error_message".to_owned(), message.into()),
    };
    Value::Object(result)
}

/// The message about the first invalid field of a row.
fn invalid_field(row: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
    if let Some(name) = TEXT_FIELDS.iter().find(|name| text(name).is_empty()) {
        return Some(format!("{name} is missing"));
    }
    if !row.get("amount").is_some_and(Value::is_i64) {
        return Some("amount is not an integer".to_owned());
    }
    if !FREQUENCIES.contains(&text("frequency")) {
        return Some(INVALID_FREQUENCY.to_owned());
    }
    if text("operation_id").len() > MAX_OPERATION_ID {
        return Some(format!(
            "operation_id is longer than {MAX_OPERATION_ID} bytes"
        ));
    }
    let invalid_date = ["start_date", "end_date"]
        .into_iter()
        .find(|name| row.get(*name).is_some_and(|date| !is_date(date)));
    if let Some(name) = invalid_date {
        return Some(format!("{name} is not a date such as 2026-01-31"));
    }
    if row.get("description").is_some_and(|text| !text.is_string()) {
        return Some("description is not a string".to_owned());
    }
    None
}

/// The documented fields of a row, without those that are `null`.
fn known_fields(row: &Value) -> Map<String, Value> {
    FIELDS
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), row.get(name)?.clone())))
        .filter(|(_, value)| !value.is_null())
        .collect()
}

/// Whether a value is a calendar date as in RFC 3339. Other ISO 8601 formats are invalid.
fn is_date(value: &Value) -> bool {
    let Some(text) = value.as_str() else {
        return false;
    };
    text.parse::<jiff::civil::Date>()
        .is_ok_and(|date| date.to_string() == text)
}

/// The parameters of a list, and the fields that they filter by.
const FILTERS: [(&str, &str); 4] = [
    ("deduction_type", "deduction_type_code"),
    ("description", "description"),
    ("frequency", "frequency"),
    ("member_id", "member_id"),
];

const FREQUENCIES: [&str; 2] = ["one_time", "every_paycheck"];
const INVALID_FREQUENCY: &str = "frequency is neither one_time nor every_paycheck";

const TEXT_FIELDS: [&str; 7] = [
    "member_id",
    "operation_id",
    "amount_type",
    "currency",
    "deduction_type_code",
    "frequency",
    "start_date",
];

/// All fields of a row.
const FIELDS: [&str; 10] = [
    "member_id",
    "operation_id",
    "amount_type",
    "amount",
    "currency",
    "deduction_type_code",
    "description",
    "end_date",
    "frequency",
    "start_date",
];

const MAX_OPERATION_ID: usize = 255;
const MAX_BODY: usize = 1024 * 1024;
