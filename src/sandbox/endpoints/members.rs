//! `GET /v1/members` and `GET /v1/members/{member_id}`

use std::cmp::Ordering;

use http::StatusCode;
use http::request::Parts;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::bearer::authorize;
use super::paging::Page;
use crate::sandbox::answer::{self, Answer};
use crate::sandbox::fault::Endpoint;
use crate::sandbox::form::Form;
use crate::sandbox::records::Member;
use crate::sandbox::scope::Scopes;
use crate::sandbox::state::Shared;

pub(super) fn list(shared: &Shared, request: &Parts) -> Answer {
    let mut state = shared.lock();
    let scopes = match authorize(&mut state, &request.headers, Endpoint::Members, SCOPE) {
        Ok(scopes) => scopes,
        Err(refusal) => return *refusal,
    };
    let query = Form::parse(request.uri.query().unwrap_or_default().as_bytes());
    match Filter::asked_for(&query).and_then(|filter| Ok((filter, Page::asked_for(&query)?))) {
        Ok((filter, page)) => {
            let members = state.records.members().iter();
            let found = members
                .filter(|member| filter.admits(member))
                .map(|member| visible(member, &scopes));
            answer::json(StatusCode::OK, &page.of(found))
        }
        Err(wrong) => answer::error(StatusCode::BAD_REQUEST, "invalid_request", wrong),
    }
}

pub(super) fn show(shared: &Shared, request: &Parts) -> Answer {
    let mut state = shared.lock();
    let scopes = match authorize(&mut state, &request.headers, Endpoint::Members, SCOPE) {
        Ok(scopes) => scopes,
        Err(refusal) => return *refusal,
    };
    let id = id_in(request.uri.path()).unwrap_or_default();
    match state
        .records
        .members()
        .iter()
        .find(|member| member.id == id)
    {
        Some(member) => answer::json(StatusCode::OK, &visible(member, &scopes)),
        None => answer::not_found(),
    }
}

/// The member a path names.
pub(super) fn id_in(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/members/")
        .filter(|id| !id.is_empty() && !id.contains('/'))
}

/// Those of a member's fields that these scopes show.
fn visible(member: &Member, scopes: &Scopes) -> Value {
    let fields = member.fields.iter();
    let shown = fields
        .filter(|(_, scope, _)| scopes.allows(scope))
        .map(|(name, _, value)| ((*name).to_owned(), value.clone()));
    Value::Object(shown.collect::<Map<_, _>>())
}

/// The filters of a list.
struct Filter {
    active: Option<bool>,
    updated_at: Vec<(Comparison, Timestamp)>,
}

type Comparison = fn(Ordering) -> bool;

impl Filter {
    fn asked_for(query: &Form) -> Result<Self, &'static str> {
        let active = match query.sent("status") {
            None => None,
            Some("active") => Some(true),
            Some("terminated") => Some(false),
            Some(_) => return Err("status is neither active nor terminated"),
        };
        let mut updated_at = Vec::new();
        for (name, comparison) in UPDATED_AT {
            if let Some(text) = query.sent(name) {
                let timestamp = text
                    .parse()
                    .map_err(|_| "updated_at is not a date and time")?;
                updated_at.push((comparison, timestamp));
            }
        }
        Ok(Self { active, updated_at })
    }

    fn admits(&self, member: &Member) -> bool {
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
