//! `GET /v1/company`

use http::{StatusCode, request::Parts};

use super::bearer::authorize;
use crate::sandbox::{
    fault::Endpoint,
    fixtures::company,
    response::{self, SandboxResponse},
    state::SharedState,
};

pub(super) fn show(shared: &SharedState, request: &Parts) -> SandboxResponse {
    let mut state = shared.lock();
    match authorize(
        &mut state,
        &request.headers,
        Endpoint::Company,
        "company.basic:read",
    ) {
        Ok(_) => response::json(StatusCode::OK, &company()),
        Err(response) => *response,
    }
}
