//! `GET /v1/deductions` and `POST /v1/deductions`

use http::StatusCode;
use http::request::Parts;
use serde_json::{Map, Value, json};

use super::bearer::authorize;
use super::is_content_type;
use super::paging::Page;
use crate::sandbox::answer::{self, Answer};
use crate::sandbox::body::{RequestBody, Unreadable, read};
use crate::sandbox::event::{EventKind, cut};
use crate::sandbox::fault::Endpoint;
use crate::sandbox::form::Form;
use crate::sandbox::state::{Shared, State};

/// Lists what was created, by pages and filters.
pub(super) fn list(shared: &Shared, request: &Parts) -> Answer {
    let mut state = shared.lock();
    if let Err(refusal) = authorize(
        &mut state,
        &request.headers,
        Endpoint::Deductions,
        "deductions:read",
    ) {
        return *refusal;
    }
    let query = Form::parse(request.uri.query().unwrap_or_default().as_bytes());
    if query
        .sent("frequency")
        .is_some_and(|frequency| !FREQUENCIES.contains(&frequency))
    {
        return bad_request(WRONG_FREQUENCY);
    }
    match Page::asked_for(&query) {
        Ok(page) => {
            let deductions = state.records.deductions().iter();
            let found = deductions
                .filter(|deduction| admits(&query, &deduction.row))
                .map(|deduction| {
                    let mut shown = deduction.row.clone();
                    shown.remove("operation_id");
                    shown.insert("id".to_owned(), deduction.id.as_str().into());
                    Value::Object(shown)
                });
            answer::json(StatusCode::OK, &page.of(found))
        }
        Err(wrong) => bad_request(wrong),
    }
}

/// Whether a deduction is one of those asked for.
fn admits(query: &Form, row: &Map<String, Value>) -> bool {
    FILTERS.iter().all(|(parameter, field)| {
        let wanted = query.sent(parameter);
        wanted.is_none() || wanted == row.get(*field).and_then(Value::as_str)
    })
}

/// Creates deductions, each once however often its `operation_id` comes. Every row has a result of its own.
pub(super) async fn create(shared: &Shared, request: &Parts, body: RequestBody) -> Answer {
    // The token is looked at before the body is read, so that a 401 may come while a client still sends.
    if let Err(refusal) = authorize(
        &mut shared.lock(),
        &request.headers,
        Endpoint::Deductions,
        "deductions:write",
    ) {
        return *refusal;
    }
    if !is_content_type(&request.headers, "application/json") {
        return answer::error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid_request",
            "the content type is not application/json",
        );
    }
    let bytes = match read(body, LARGEST_BODY).await {
        Ok(bytes) => bytes,
        Err(Unreadable::TooLarge) => {
            return answer::error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "invalid_request",
                "the body is larger than 1 MiB",
            );
        }
        Err(Unreadable::Broken) => return bad_request("the body did not arrive whole"),
    };
    let Ok(Value::Object(body)) = serde_json::from_slice(&bytes) else {
        return bad_request("the body is not a JSON object");
    };
    let Some(Value::Array(rows)) = body.get("items") else {
        return bad_request("items is not an array");
    };
    let mut state = shared.lock();
    let results: Vec<_> = rows.iter().map(|row| apply(&mut state, row)).collect();
    answer::json(StatusCode::OK, &json!({ "items": results }))
}

/// One row's result.
fn apply(state: &mut State, row: &Value) -> Value {
    let row = &known_fields(row);
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let operation_id = text("operation_id").unwrap_or_default();
    let outcome = match wrong_field(row) {
        Some(wrong) => Err(wrong),
        None if !state
            .records
            .has_member(text("member_id").unwrap_or_default()) =>
        {
            Err("member_id is unknown".to_owned())
        }
        None => {
            let (deduction, created) = state.records.create(operation_id, row);
            if created || deduction.row == *row {
                Ok((deduction.id.clone(), created))
            } else {
                Err("operation_id was used for another deduction".to_owned())
            }
        }
    };
    let created = matches!(outcome, Ok((_, true)));
    state.record(EventKind::DeductionSubmitted {
        operation_id: cut(operation_id),
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
        Err(wrong) => result.insert("error_message".to_owned(), wrong.into()),
    };
    Value::Object(result)
}

/// The first thing wrong with a row's fields.
fn wrong_field(row: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
    if let Some(name) = TEXT_FIELDS.iter().find(|name| text(name).is_empty()) {
        return Some(format!("{name} is missing"));
    }
    if !row.get("amount").is_some_and(Value::is_i64) {
        return Some("amount is not an integer".to_owned());
    }
    if !FREQUENCIES.contains(&text("frequency")) {
        return Some(WRONG_FREQUENCY.to_owned());
    }
    if text("operation_id").len() > LONGEST_OPERATION_ID {
        return Some(format!(
            "operation_id is longer than {LONGEST_OPERATION_ID} bytes"
        ));
    }
    let wrong_date = ["start_date", "end_date"]
        .into_iter()
        .find(|name| row.get(*name).is_some_and(|date| !is_date(date)));
    if let Some(name) = wrong_date {
        return Some(format!("{name} is not a date such as 2026-01-31"));
    }
    if row.get("description").is_some_and(|text| !text.is_string()) {
        return Some("description is not a text".to_owned());
    }
    None
}

/// What the API knows of a row. `null` is as good as missing, and unknown fields are passed over.
fn known_fields(row: &Value) -> Map<String, Value> {
    FIELDS
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), row.get(name)?.clone())))
        .filter(|(_, value)| !value.is_null())
        .collect()
}

/// Whether a value is a calendar date, spelled as RFC 3339 spells it and in no other way that ISO 8601 has.
fn is_date(value: &Value) -> bool {
    let Some(text) = value.as_str() else {
        return false;
    };
    text.parse::<jiff::civil::Date>()
        .is_ok_and(|date| date.to_string() == text)
}

fn bad_request(why: &str) -> Answer {
    answer::error(StatusCode::BAD_REQUEST, "invalid_request", why)
}

/// The parameters of a list, and the fields they filter by.
const FILTERS: [(&str, &str); 4] = [
    ("deduction_type", "deduction_type_code"),
    ("description", "description"),
    ("frequency", "frequency"),
    ("member_id", "member_id"),
];

const FREQUENCIES: [&str; 2] = ["one_time", "every_paycheck"];
const WRONG_FREQUENCY: &str = "frequency is neither one_time nor every_paycheck";

const TEXT_FIELDS: [&str; 7] = [
    "member_id",
    "operation_id",
    "amount_type",
    "currency",
    "deduction_type_code",
    "frequency",
    "start_date",
];

/// Everything a row may have.
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

const LONGEST_OPERATION_ID: usize = 255;
const LARGEST_BODY: usize = 1024 * 1024;
