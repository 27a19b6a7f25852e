//! `GET /v1/company`

use http::{StatusCode, request::Parts};

use super::bearer::authorize;
use crate::sandbox::{
    fault::Endpoint,
    fixtures::company,
    response::{self, ResponseResult},
    state::SharedState,
};

pub(super) fn show(shared: &SharedState, request: &Parts) -> ResponseResult {
    let mut state = shared.lock();
    let scope = "company.basic:read";
    authorize(&mut state, request, Endpoint::Company, scope)?;
    Ok(response::json(StatusCode::OK, &company()))
}
