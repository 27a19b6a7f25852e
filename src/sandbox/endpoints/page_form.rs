//! The forms of the pages.

use http::{HeaderMap, StatusCode};

use super::html::error_page;
use crate::sandbox::{
    authority::Decision,
    form::{Form, FormError},
    request_body::RequestBody,
    response::ResponseResult,
};

/// Reads the form of a page, or returns the error page to show instead.
pub(super) async fn read(headers: &HeaderMap, body: RequestBody) -> ResponseResult<Form> {
    let error = match Form::read(headers, body).await {
        Ok(form) if form.has_repeated() => FormError {
            status: StatusCode::BAD_REQUEST,
            description: "A field was sent more than once.",
        },
        Ok(form) => return Ok(form),
        Err(error) => error,
    };
    Err(Box::new(error_page(error.status, error.description)))
}

/// The button that the user has chosen, or the error page to show instead.
pub(super) fn decision(form: &Form) -> ResponseResult<Decision> {
    match form.field("decision") {
        Some("allow") => Ok(Decision::Allow),
        Some("deny") => Ok(Decision::Deny),
        _ => {
            let message = "The decision is neither allow nor deny.";
            Err(Box::new(error_page(StatusCode::BAD_REQUEST, message)))
        }
    }
}
