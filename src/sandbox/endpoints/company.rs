//! `GET /v1/company`

use http::StatusCode;
use http::request::Parts;

use super::bearer::authorize;
use crate::sandbox::answer::{self, Answer};
use crate::sandbox::fault::Endpoint;
use crate::sandbox::seed::company;
use crate::sandbox::state::Shared;

pub(super) fn show(shared: &Shared, request: &Parts) -> Answer {
    let mut state = shared.lock();
    match authorize(
        &mut state,
        &request.headers,
        Endpoint::Company,
        "company.basic:read",
    ) {
        Ok(_) => answer::json(StatusCode::OK, &company()),
        Err(refusal) => *refusal,
    }
}
