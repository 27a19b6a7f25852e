//! `/sandbox`: what goes on, for a developer who watches their own client.

use std::fmt::Display;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use jiff::Timestamp;

use super::page::{document, escaped};
use super::switches;
use crate::sandbox::answer::{self, Answer};
use crate::sandbox::authority::{GrantOverview, TokenOverview};
use crate::sandbox::body::RequestBody;
use crate::sandbox::state::{Shared, State};

/// Whether a path belongs to the status page.
pub(super) fn serves(path: &str) -> bool {
    path == PATH || path == SWITCH
}

pub(super) async fn answer(shared: &Shared, request: &Parts, body: RequestBody) -> Answer {
    match (request.method.as_str(), request.uri.path()) {
        ("GET", PATH) => {
            let follows = request.uri.query() == Some("follow");
            answer::html(StatusCode::OK, status(&shared.lock(), follows))
        }
        ("POST", SWITCH) => switches::flip(shared, &request.headers, body).await,
        (_, PATH) => answer::method_not_allowed("GET"),
        _ => answer::method_not_allowed("POST"),
    }
}

fn status(state: &State, follows: bool) -> String {
    let (head, toggle) = if follows {
        (
            "<meta http-equiv=\"refresh\" content=\"2\">\n",
            "<a href=\"/sandbox\">Stop</a>",
        )
    } else {
        (
            "",
            "<a href=\"/sandbox\">Refresh</a> or <a href=\"/sandbox?follow\">follow</a>",
        )
    };
    let sections = [
        counters(state),
        live(state),
        grants(state),
        switches::forms(state),
        events(state),
    ];
    let body = format!(
        "<main class=\"wide\">\n<h1>What goes on</h1>\n\
         <p>The sandbox's clock shows <code>{now}</code>. Codes and tokens are shown as the first eight digits of \
         their SHA-256. {toggle}</p>\n{sections}\n</main>",
        now = state.today().strftime("%Y-%m-%d %H:%M:%S UTC"),
        sections = sections.concat(),
    );
    document("Status", head, &body)
}

fn counters(state: &State) -> String {
    let counters = state.evidence.counters();
    let cells = [
        ("Exchanges by code", counters.code_exchanges),
        ("Exchanges by refresh token", counters.refreshes),
        ("Exchanges refused", counters.token_requests_refused),
        ("Refresh tokens reused", counters.refresh_tokens_reused),
        ("Grants ended by reuse", counters.grants_revoked),
        ("Revocations", counters.revocations),
        ("Resources opened", counters.authorized),
        ("401", counters.unauthorized),
        ("403", counters.forbidden),
        ("Most requests at once", counters.max_in_flight),
    ];
    let rows = cells.map(|(name, count)| row(&[&name, &count]));
    section("Counters", &["What", "How often"], &rows)
}

fn live(state: &State) -> String {
    let now = state.now();
    let rows: Vec<_> = state
        .evidence
        .live()
        .filter(|request| !serves(&request.path))
        .map(|request| {
            let age = seconds(now.saturating_sub(request.since));
            row(&[&request.method, &request.path, &age])
        })
        .collect();
    section("Live requests", &["Method", "Path", "For"], &rows)
}

fn grants(state: &State) -> String {
    let now = state.now();
    let rows: Vec<_> = state
        .authority
        .overview(now, GRANTS_SHOWN, TOKENS_SHOWN)
        .iter()
        .map(|grant: &GrantOverview| {
            let alive = if grant.ended { "ended" } else { "alive" };
            row(&[
                &grant.number,
                &grant.client_id,
                &alive,
                &tokens(&grant.access_tokens, now),
                &tokens(&grant.refresh_tokens, now),
                &grant.scopes,
            ])
        })
        .collect();
    let columns = [
        "Grant",
        "ClientRegistration",
        "State",
        "Access tokens",
        "Refresh tokens",
        "Scopes",
    ];
    section("Grants", &columns, &rows)
}

/// Tokens in words.
fn tokens(tokens: &[TokenOverview], now: Duration) -> String {
    let words: Vec<_> = tokens
        .iter()
        .map(|token| match token.state {
            "live" => {
                let left = seconds(token.expires_at.saturating_sub(now));
                format!("{} live for {left}", token.token)
            }
            state => format!("{} {state}", token.token),
        })
        .collect();
    words.join(", ")
}

fn events(state: &State) -> String {
    let rows: Vec<_> = state
        .evidence
        .events()
        .rev()
        .take(EVENTS_SHOWN)
        .map(|event| {
            let at = Timestamp::try_from(event.at).unwrap_or_default();
            row(&[&at.strftime("%m-%d %H:%M:%S"), &event.kind])
        })
        .collect();
    section("Latest events", &["When", "What"], &rows)
}

/// A heading and a table. Titles and columns are HTML, as are the rows.
pub(super) fn section(title: &str, columns: &[&str], rows: &[String]) -> String {
    if rows.is_empty() {
        return format!("<h2>{title}</h2>\n<p class=\"note\">None.</p>\n");
    }
    let columns = columns
        .iter()
        .map(|column| format!("<th>{column}</th>"))
        .collect::<Vec<_>>()
        .concat();
    format!(
        "<h2>{title}</h2>\n<table>\n<tr>{columns}</tr>\n{}</table>\n",
        rows.concat()
    )
}

/// A row of text.
pub(super) fn row(cells: &[&dyn Display]) -> String {
    let cells = cells
        .iter()
        .map(|cell| format!("<td>{}</td>", escaped(&cell.to_string())))
        .collect::<Vec<_>>()
        .concat();
    format!("<tr>{cells}</tr>\n")
}

/// A duration to read at a glance.
fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        days if days >= 2 * 86_400 => format!("{} d", days / 86_400),
        hours if hours >= 2 * 3_600 => format!("{} h", hours / 3_600),
        minutes if minutes >= 120 => format!("{} min", minutes / 60),
        seconds => format!("{seconds} s"),
    }
}

pub(super) const PATH: &str = "/sandbox";
pub(super) const SWITCH: &str = "/sandbox/switch";
const GRANTS_SHOWN: usize = 50;
const TOKENS_SHOWN: usize = 4;
const EVENTS_SHOWN: usize = 40;
