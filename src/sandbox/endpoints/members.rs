//! `GET /v1/members` and `GET /v1/members/{member_id}`

use std::cmp::Ordering;

use http::{StatusCode, request::Parts};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{bearer::authorize, pagination::Page};
use crate::sandbox::{
    fault::Endpoint,
    fixtures::Member,
    form::Form,
    response::{self, ResponseResult, bad_request},
    scope::Scopes,
    state::SharedState,
};

pub(super) fn list(shared: &SharedState, request: &Parts) -> ResponseResult {
    let mut state = shared.lock();
    let scopes = authorize(&mut state, request, Endpoint::Members, SCOPE)?;
    let query = Form::parse(request.uri.query().unwrap_or_default().as_bytes());
    let filter = Filter::from_query(&query).map_err(bad_request)?;
    let page = Page::from_query(&query).map_err(bad_request)?;
    let members = state.records.members().iter();
    let matching = members
        .filter(|member| filter.matches(member))
        .map(|member| visible(member, &scopes));
    Ok(response::json(StatusCode::OK, &page.to_json(matching)))
}

pub(super) fn show(shared: &SharedState, request: &Parts) -> ResponseResult {
    let mut state = shared.lock();
    let scopes = authorize(&mut state, request, Endpoint::Members, SCOPE)?;
    let id = id_in_path(request.uri.path()).unwrap_or_default();
    let mut members = state.records.members().iter();
    Ok(match members.find(|member| member.id == id) {
        Some(member) => response::json(StatusCode::OK, &visible(member, &scopes)),
        None => response::not_found(),
    })
}

/// The member id in a path.
pub(super) fn id_in_path(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/members/")
        .filter(|id| !id.is_empty() && !id.contains('/'))
}

/// The fields of a member that these scopes permit.
fn visible(member: &Member, scopes: &Scopes) -> Value {
    let fields = member.fields.iter();
    let permitted = fields
        .filter(|(_, scope, _)| scopes.allows(scope))
        .map(|(name, _, value)| ((*name).to_owned(), value.clone()));
    Value::Object(permitted.collect::<Map<_, _>>())
}

/// The filters of a list.
struct Filter {
    active: Option<bool>,
    updated_at: Vec<(Comparison, Timestamp)>,
}

type Comparison = fn(Ordering) -> bool;

impl Filter {
    fn from_query(query: &Form) -> Result<Self, &'static str> {
        let active = match query.raw_field("status") {
            None => None,
            Some("active") => Some(true),
            Some("terminated") => Some(false),
            Some(_) => return Err("status is neither active nor terminated"),
        };
        let mut updated_at = Vec::new();
        for (name, comparison) in UPDATED_AT {
            if let Some(text) = query.raw_field(name) {
                let timestamp = text
                    .parse()
                    .map_err(|_| "updated_at is not a date and time")?;
                updated_at.push((comparison, timestamp));
            }
        }
        Ok(Self { active, updated_at })
    }

    fn matches(&self, member: &Member) -> bool {
        let Ok(updated_at) = member.updated_at.parse::<Timestamp>() else {
            return false;
        };
        self.active.is_none_or(|active| active == member.active)
            && self
                .updated_at
                .iter()
                .all(|(comparison, than)| comparison(updated_at.cmp(than)))
    }
}

const SCOPE: &str = "member.basic:read";

const UPDATED_AT: [(&str, Comparison); 6] = [
    ("updated_at", Ordering::is_eq),
    ("updated_at_gt", Ordering::is_gt),
    ("updated_at_gte", Ordering::is_ge),
    ("updated_at_lt", Ordering::is_lt),
    ("updated_at_lte", Ordering::is_le),
    ("updated_at_ne", Ordering::is_ne),
];
