//! `/sandbox`: the status page, for developers of clients.

use std::time::Duration;

use http::{StatusCode, request::Parts};
use jiff::Timestamp;

use super::{
    html::{document, error_page, row, section},
    status_actions::{self, ACTION_PATH},
};
use crate::sandbox::{
    authority::{GrantOverview, TokenOverview},
    request_body::RequestBody,
    response::{self, SandboxResponse},
    state::{SandboxState, SharedState},
};

/// Whether a path belongs to the status page.
pub(super) fn serves(path: &str) -> bool {
    path == PATH || path == ACTION_PATH
}

/// Shows the status page, or performs an action of it.
pub(super) async fn process(
    shared: &SharedState,
    request: &Parts,
    body: RequestBody,
) -> SandboxResponse {
    match (request.method.as_str(), request.uri.path()) {
        ("GET", PATH) => {
            let auto_refresh = request.uri.query() == Some("follow");
            response::html(StatusCode::OK, status(&shared.lock(), auto_refresh))
        }
        ("POST", ACTION_PATH) => {
            match status_actions::perform(shared, &request.headers, body).await {
                Ok(()) => response::redirect(StatusCode::SEE_OTHER, PATH)
                    .unwrap_or_else(response::not_found),
                Err(error) => error_page(error.status, error.description),
            }
        }
        (_, PATH) => response::method_not_allowed("GET"),
        _ => response::method_not_allowed("POST"),
    }
}

fn status(state: &SandboxState, auto_refresh: bool) -> String {
    let (head, links) = if auto_refresh {
        (
            "<meta http-equiv=\"refresh\" content=\"2\">\n",
            "<a href=\"/sandbox\">Stop the automatic reload</a>",
        )
    } else {
        (
            "",
            "<a href=\"/sandbox\">Reload</a> once or <a href=\"/sandbox?follow\">every 2 seconds</a>",
        )
    };
    let sections = [
        counters(state),
        requests_in_flight(state),
        grants(state),
        status_actions::forms(state),
        events(state),
    ];
    let body = format!(
        "<main class=\"wide\">\n<h1>Status</h1>\n\
         <p>The sandbox's clock shows <code>{now}</code>. Codes and tokens appear as the first eight digits of \
         their SHA-256. {links}.</p>\n{sections}\n</main>",
        now = state.wall_time().strftime("%Y-%m-%d %H:%M:%S UTC"),
        sections = sections.concat(),
    );
    document("Status", head, &body)
}

fn counters(state: &SandboxState) -> String {
    let counters = state.log.counters();
    let rows = [
        (
            "Authorization requests pushed",
            counters.authorization_requests_pushed,
        ),
        ("Code exchanges", counters.code_exchanges),
        ("Refreshes", counters.refreshes),
        ("Token requests refused", counters.token_requests_refused),
        ("Refresh tokens reused", counters.refresh_tokens_reused),
        ("Grants revoked because of reuse", counters.grants_revoked),
        ("Revocations", counters.revocations),
        ("API requests authorized", counters.authorized),
        ("API responses with 401", counters.unauthorized),
        ("API responses with 403", counters.forbidden),
        ("Most requests in flight", counters.max_in_flight),
    ]
    .map(|(name, count)| row(&[&name, &count]));
    section("Counters", &["Counter", "Value"], &rows)
}

fn requests_in_flight(state: &SandboxState) -> String {
    let now = state.now();
    let rows: Vec<_> = state
        .log
        .active()
        .filter(|request| !serves(&request.path))
        .map(|request| {
            let age = readable(now.saturating_sub(request.since));
            row(&[&request.method, &request.path, &age])
        })
        .collect();
    section("Requests in flight", &["Method", "Path", "Age"], &rows)
}

fn grants(state: &SandboxState) -> String {
    let now = state.now();
    let rows: Vec<_> = state
        .authority
        .overview(now, MAX_GRANTS, MAX_TOKENS)
        .iter()
        .map(|grant: &GrantOverview| {
            let state = if grant.revoked { "revoked" } else { "live" };
            row(&[
                &grant.number,
                &grant.client_id,
                &state,
                &tokens(&grant.access_tokens, now),
                &tokens(&grant.refresh_tokens, now),
                &grant.scopes,
            ])
        })
        .collect();
    let columns = [
        "Grant",
        "Client",
        "State",
        "Access tokens",
        "Refresh tokens",
        "Scopes",
    ];
    section("Grants", &columns, &rows)
}

/// Describes tokens in one cell.
fn tokens(tokens: &[TokenOverview], now: Duration) -> String {
    let descriptions: Vec<_> = tokens
        .iter()
        .map(|token| match token.state {
            "live" => {
                let remaining = readable(token.expires_at.saturating_sub(now));
                format!("{} live for {remaining}", token.token)
            }
            state => format!("{} {state}", token.token),
        })
        .collect();
    descriptions.join(", ")
}

fn events(state: &SandboxState) -> String {
    let rows: Vec<_> = state
        .log
        .events()
        .rev()
        .take(MAX_EVENTS)
        .map(|event| {
            let at = Timestamp::try_from(event.at).unwrap_or_default();
            row(&[&at.strftime("%m-%d %H:%M:%S"), &event.kind])
        })
        .collect();
    section("Latest events", &["Time", "Event"], &rows)
}

/// A duration in its largest useful unit.
fn readable(duration: Duration) -> String {
    match duration.as_secs() {
        days if days >= 2 * 86_400 => format!("{} d", days / 86_400),
        hours if hours >= 2 * 3_600 => format!("{} h", hours / 3_600),
        minutes if minutes >= 120 => format!("{} min", minutes / 60),
        seconds => format!("{seconds} s"),
    }
}

const PATH: &str = "/sandbox";
const MAX_GRANTS: usize = 50;
const MAX_TOKENS: usize = 4;
const MAX_EVENTS: usize = 40;
