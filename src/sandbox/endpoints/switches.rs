//! The switches of the status page.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::page::{error_page, escaped};
use super::read_form;
use super::status::{PATH, SWITCH, row, section};
use crate::sandbox::answer::{self, Answer};
use crate::sandbox::body::RequestBody;
use crate::sandbox::fault::{Endpoint, Fault};
use crate::sandbox::form::Form;
use crate::sandbox::state::{Shared, State};

/// Does what a button says, and shows the page again.
pub(super) async fn flip(shared: &Shared, headers: &HeaderMap, body: RequestBody) -> Answer {
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
    if apply(&mut shared.lock(), &form).is_none() {
        return error_page(StatusCode::BAD_REQUEST, "There is no such switch.");
    }
    answer::redirect(StatusCode::SEE_OTHER, PATH).unwrap_or_else(answer::not_found)
}

fn apply(state: &mut State, form: &Form) -> Option<()> {
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
                .map_or(Some(1), |times| times.parse().ok())
                .filter(|times| *times > 0)?;
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

/// The faults to come, and the forms that switch.
pub(super) fn forms(state: &State) -> String {
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
        delay.after_processing(),
        Fault::drop_connection(),
        Fault::drop_connection().after_processing(),
        Fault::reset(),
        Fault::reset().after_processing(),
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
