//! `GET /v1/deductions` and `POST /v1/deductions`

use http::StatusCode;
use http::request::Parts;
use serde_json::{Map, Value, json};

use super::bearer::authorize;
use super::is_content_type;
use super::paging::Page;
use crate::sandbox::answer::{self, Answer};
use crate::sandbox::body::{RequestBody, Unreadable, read};
use crate::sandbox::event::Happening;
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
    let empty = Map::new();
    let row = row.as_object().unwrap_or(&empty);
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
    let applied = matches!(outcome, Ok((_, true)));
    state.record(Happening::Deduction {
        operation_id: operation_id.to_owned(),
        applied,
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
    let texts = TEXT_FIELDS.iter().find(|name| {
        row.get(**name)
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
    });
    if let Some(name) = texts {
        return Some(format!("{name} is missing"));
    }
    if !row.get("amount").is_some_and(Value::is_i64) {
        return Some("amount is not an integer".to_owned());
    }
    let frequency = row.get("frequency").and_then(Value::as_str);
    if !frequency.is_some_and(|frequency| FREQUENCIES.contains(&frequency)) {
        return Some(WRONG_FREQUENCY.to_owned());
    }
    let start_date = row.get("start_date").and_then(Value::as_str);
    if start_date.is_none_or(|date| date.parse::<jiff::civil::Date>().is_err()) {
        return Some("start_date is not a date".to_owned());
    }
    None
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

const LARGEST_BODY: usize = 1024 * 1024;
