//! `/sandbox`: what goes on, for a developer who watches their own client.

use std::fmt::Display;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::page::{document, error_page, escaped};
use super::read_form;
use crate::sandbox::answer::{self, Answer};
use crate::sandbox::authority::{GrantOverview, TokenOverview};
use crate::sandbox::body::RequestBody;
use crate::sandbox::fault::{Endpoint, Fault};
use crate::sandbox::form::Form;
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
        ("POST", SWITCH) => switch(shared, &request.headers, body).await,
        (_, PATH) => answer::method_not_allowed("GET"),
        _ => answer::method_not_allowed("POST"),
    }
}

/// Does what a button says, and shows the page again.
async fn switch(shared: &Shared, headers: &HeaderMap, body: RequestBody) -> Answer {
    // Any page in the same browser could post here.
    let site = headers
        .get("sec-fetch-site")
        .map(http::HeaderValue::as_bytes);
    if !matches!(site, None | Some(b"same-origin" | b"none")) {
        return error_page(
            StatusCode::FORBIDDEN,
            "The switches work from their own page only.",
        );
    }
    let form = match read_form(headers, body).await {
        Ok(form) => form,
        Err(not_a_form) => return not_a_form.page(),
    };
    if flip(&mut shared.lock(), &form).is_none() {
        return error_page(StatusCode::BAD_REQUEST, "There is no such switch.");
    }
    answer::redirect(StatusCode::SEE_OTHER, PATH).unwrap_or_else(answer::not_found)
}

fn flip(state: &mut State, form: &Form) -> Option<()> {
    let now = state.now();
    match form.field("switch")? {
        "inject" => {
            let endpoint = form.field("endpoint")?;
            let endpoint = Endpoint::ALL
                .into_iter()
                .find(|known| name(*known) == endpoint)?;
            let place: usize = form.field("fault")?.parse().ok()?;
            let fault = faults().into_iter().nth(place)?;
            let times = form
                .field("times")
                .map_or(Some(1), |times| times.parse().ok())?;
            state.script.push(endpoint, fault.times(times));
        }
        "clear" => state.script.clear(),
        "expire" => state.authority.expire_access_tokens(now),
        "revoke" => state.authority.revoke_access_tokens(),
        "disconnect" => state.authority.revoke_grants(),
        "advance" => {
            let hours: u32 = form.field("hours")?.parse().ok()?;
            let hour = Duration::from_secs(60 * 60);
            state.clock.advance(hour.saturating_mul(hours));
        }
        _ => return None,
    }
    Some(())
}

/// The faults that have a switch.
fn faults() -> Vec<Fault> {
    let unavailable = Fault::status(StatusCode::SERVICE_UNAVAILABLE).retry_after("5");
    let throttled = Fault::status(StatusCode::TOO_MANY_REQUESTS).retry_after("5");
    let delay = Fault::delay(Duration::from_secs(2));
    vec![
        Fault::status(StatusCode::UNAUTHORIZED),
        throttled,
        unavailable,
        delay.clone(),
        delay.after_work(),
        Fault::drop_connection(),
        Fault::drop_connection().after_work(),
        Fault::reset(),
        Fault::reset().after_work(),
        Fault::hang(),
        Fault::truncate(),
        Fault::slow(Duration::from_millis(20)),
        Fault::garbage(),
        Fault::huge(4 * 1024 * 1024),
    ]
}

fn name(endpoint: Endpoint) -> String {
    format!("{endpoint:?}")
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
        switches(state),
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
        ("Exchanges by code", counters.exchanges_by_code),
        ("Exchanges by refresh token", counters.exchanges_by_refresh),
        ("Exchanges refused", counters.exchanges_refused),
        ("Refresh tokens reused", counters.refresh_tokens_reused),
        ("Grants ended by reuse", counters.families_killed),
        ("Revocations", counters.revocations),
        ("Resources opened", counters.authorized),
        ("401", counters.unauthorized),
        ("403", counters.forbidden),
        ("Most requests at once", counters.in_flight_most),
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
        .overview(now)
        .iter()
        .take(GRANTS_SHOWN)
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
        "App",
        "State",
        "Access tokens",
        "Refresh tokens",
        "Scopes",
    ];
    section("Grants", &columns, &rows)
}

/// The newest tokens of a grant.
fn tokens(tokens: &[TokenOverview], now: Duration) -> String {
    let newest = tokens.iter().rev().take(TOKENS_SHOWN);
    let words: Vec<_> = newest
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

fn switches(state: &State) -> String {
    let pending: Vec<_> = Endpoint::ALL
        .into_iter()
        .flat_map(|endpoint| {
            let faults = state.script.pending(endpoint);
            faults.map(move |fault| row(&[&name(endpoint), fault, &fault.count()]))
        })
        .collect();
    let endpoints = Endpoint::ALL
        .into_iter()
        .map(|endpoint| format!("<option>{}</option>", name(endpoint)))
        .collect::<Vec<_>>()
        .concat();
    let faults = faults()
        .iter()
        .enumerate()
        .map(|(place, fault)| {
            format!(
                "<option value=\"{place}\">{}</option>",
                escaped(&fault.to_string())
            )
        })
        .collect::<Vec<_>>()
        .concat();
    format!(
        "{pending}<form class=\"buttons\" method=\"post\" action=\"{SWITCH}\">\n\
         <select name=\"endpoint\" aria-label=\"Endpoint\">{endpoints}</select>\n\
         <select name=\"fault\" aria-label=\"Fault\">{faults}</select>\n\
         <input name=\"times\" type=\"number\" min=\"1\" value=\"1\" aria-label=\"Times\">\n\
         <button class=\"main\" name=\"switch\" value=\"inject\">Inject</button>\n\
         <button name=\"switch\" value=\"clear\">Clear all</button>\n</form>\n\
         <h2>Tokens and time</h2>\n\
         <form class=\"buttons\" method=\"post\" action=\"{SWITCH}\">\n\
         <button name=\"switch\" value=\"expire\">Expire access tokens</button>\n\
         <button name=\"switch\" value=\"revoke\">Revoke access tokens</button>\n\
         <button name=\"switch\" value=\"disconnect\">End all grants</button>\n</form>\n\
         <form class=\"buttons\" method=\"post\" action=\"{SWITCH}\">\n\
         <input name=\"hours\" type=\"number\" min=\"1\" value=\"24\" aria-label=\"Hours\">\n\
         <button name=\"switch\" value=\"advance\">Advance the clock by these hours</button>\n</form>\n",
        pending = section("Faults to come", &["Endpoint", "Fault", "Times"], &pending),
    )
}

fn events(state: &State) -> String {
    let rows: Vec<_> = state
        .evidence
        .events()
        .rev()
        .take(EVENTS_SHOWN)
        .map(|event| {
            let at = Timestamp::try_from(event.at).unwrap_or_default();
            row(&[&at.strftime("%m-%d %H:%M:%S"), &event.what])
        })
        .collect();
    section("Latest events", &["When", "What"], &rows)
}

fn section(title: &str, columns: &[&str], rows: &[String]) -> String {
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

fn row(cells: &[&dyn Display]) -> String {
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

const PATH: &str = "/sandbox";
const SWITCH: &str = "/sandbox/switch";
const GRANTS_SHOWN: usize = 50;
const TOKENS_SHOWN: usize = 4;
const EVENTS_SHOWN: usize = 40;
