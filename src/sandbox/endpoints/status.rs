//! `/sandbox`: the status page, for developers of clients.

use std::time::Duration;

use http::{StatusCode, request::Parts};

use super::{
    html::{document, error_page, row, table},
    status_actions::{self, ACTION_PATH},
    status_events::View,
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
            let view = View::from_query(request.uri.query().unwrap_or_default());
            response::html(StatusCode::OK, status(&shared.lock(), &view))
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

fn status(state: &SandboxState, view: &View) -> String {
    let (once, following) = (view.url(PATH, false), view.url(PATH, true));
    let (head, links) = if view.follows {
        (
            "<meta http-equiv=\"refresh\" content=\"2\">\n",
            format!("<a href=\"{once}\">Stop the automatic reload</a>"),
        )
    } else {
        (
            "",
            format!(
                "<a href=\"{once}\">Reload</a> once or <a href=\"{following}\">every 2 seconds</a>"
            ),
        )
    };
    let sections = [
        ("counters", "Counters", counters(state)),
        ("in-flight", "Requests in flight", requests_in_flight(state)),
        ("grants", "Grants", grants(state)),
        ("faults", "Faults", status_actions::faults(state)),
        ("time", "Tokens and time", status_actions::tokens_and_time()),
        (
            "events",
            "Latest events",
            view.events(PATH, state.log.events()),
        ),
    ];
    let links_to_sections = sections
        .iter()
        .map(|(id, title, _)| format!("<a href=\"#{id}\">{title}</a>\n"))
        .collect::<Vec<_>>()
        .concat();
    let sections = sections
        .iter()
        .map(|(id, title, body)| format!("<h2 id=\"{id}\">{title}</h2>\n{body}"))
        .collect::<Vec<_>>()
        .concat();
    let body = format!(
        "<main class=\"wide\">\n<h1>Status</h1>\n\
         <p>The sandbox's clock shows <code>{now}</code>. Codes and tokens appear as the first eight digits of \
         their SHA-256. {links}.</p>\n\
         <nav aria-label=\"Sections\">\n{links_to_sections}</nav>\n{sections}\n</main>",
        now = state.wall_time().strftime("%Y-%m-%d %H:%M:%S UTC"),
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
    table(&["Counter", "Value"], &rows)
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
    table(&["Method", "Path", "Age"], &rows)
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
    table(&columns, &rows)
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
