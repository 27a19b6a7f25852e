//! The actions of the status page: faults, tokens and time.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::html::{escaped, row, table};
use crate::sandbox::{
    fault::{Endpoint, Fault},
    form::{Form, FormError},
    own_origin::is_cross_site,
    request_body::RequestBody,
    state::{SandboxState, SharedState},
};

/// How many faults the page queues for an endpoint.
const MAX_FAULTS: usize = 100;

pub(super) const ACTION_PATH: &str = "/sandbox/action";

/// Performs the action in a form.
pub(super) async fn perform(
    shared: &SharedState,
    headers: &HeaderMap,
    body: RequestBody,
) -> Result<(), FormError> {
    // Any page in the same browser could send this form.
    if is_cross_site(headers) {
        return Err(FormError {
            status: StatusCode::FORBIDDEN,
            description: "Actions are accepted only from the status page.",
        });
    }
    let form = Form::read(headers, body).await?;
    apply(&mut shared.lock(), &form).ok_or(FormError {
        status: StatusCode::BAD_REQUEST,
        description: "The action is unknown, or a value is invalid.",
    })
}

fn apply(state: &mut SandboxState, form: &Form) -> Option<()> {
    let now = state.now();
    match form.field("action")? {
        "inject" => {
            let endpoint = form.field("endpoint")?;
            let endpoint = Endpoint::ALL
                .into_iter()
                .find(|known| name(*known) == endpoint)?;
            let index: usize = form.field("fault")?.parse().ok()?;
            let fault = offered().into_iter().nth(index)?;
            let times = form
                .field("times")
                .map_or(Some(1), |times| times.parse().ok())
                .filter(|times| *times > 0)?;
            if state.faults.pending(endpoint).count() >= MAX_FAULTS {
                return None;
            }
            state.faults.push(endpoint, fault.times(times));
        }
        "clear" => state.faults.clear(),
        "expire" => state.authority.expire_access_tokens(now),
        "revoke" => state.authority.revoke_access_tokens(),
        "revoke-grants" => state.authority.revoke_grants(),
        "advance" => {
            let hours: u32 = form.field("hours")?.parse().ok()?;
            let hour = Duration::from_secs(60 * 60);
            state.clock.advance(hour.saturating_mul(hours));
        }
        _ => return None,
    }
    Some(())
}

/// The queued faults, and the form that injects one.
pub(super) fn faults(state: &SandboxState) -> String {
    let queued: Vec<_> = Endpoint::ALL
        .into_iter()
        .flat_map(|endpoint| {
            let faults = state.faults.pending(endpoint);
            faults.map(move |fault| row(&[&name(endpoint), fault, &fault.remaining()]))
        })
        .collect();
    let endpoints = Endpoint::ALL
        .into_iter()
        .map(|endpoint| format!("<option>{}</option>", name(endpoint)))
        .collect::<Vec<_>>()
        .concat();
    let faults = offered()
        .iter()
        .enumerate()
        .map(|(index, fault)| {
            let description = escaped(&fault.to_string());
            format!("<option value=\"{index}\">{description}</option>")
        })
        .collect::<Vec<_>>()
        .concat();
    format!(
        "{queued}<form class=\"buttons\" method=\"post\" action=\"{ACTION_PATH}\">\n\
         <div><label for=\"endpoint\">Endpoint</label>\n\
         <select id=\"endpoint\" name=\"endpoint\">{endpoints}</select></div>\n\
         <div><label for=\"fault\">Fault</label>\n\
         <select id=\"fault\" name=\"fault\">{faults}</select></div>\n\
         <div><label for=\"times\">Requests</label>\n\
         <input id=\"times\" name=\"times\" type=\"number\" min=\"1\" value=\"1\"></div>\n\
         <button class=\"main\" name=\"action\" value=\"inject\">Inject</button>\n\
         <button name=\"action\" value=\"clear\">Clear all</button>\n</form>\n",
        queued = table(&["Endpoint", "Fault", "Requests"], &queued),
    )
}

/// The forms that end tokens and advance the clock.
pub(super) fn tokens_and_time() -> String {
    format!(
        "<form class=\"buttons\" method=\"post\" action=\"{ACTION_PATH}\">\n\
         <button name=\"action\" value=\"expire\">Expire access tokens</button>\n\
         <button name=\"action\" value=\"revoke\">Revoke access tokens</button>\n\
         <button name=\"action\" value=\"revoke-grants\">Revoke all grants</button>\n</form>\n\
         <form class=\"buttons\" method=\"post\" action=\"{ACTION_PATH}\">\n\
         <div><label for=\"hours\">Hours</label>\n\
         <input id=\"hours\" name=\"hours\" type=\"number\" min=\"1\" value=\"24\"></div>\n\
         <button name=\"action\" value=\"advance\">Advance the clock</button>\n</form>\n"
    )
}

/// The faults that the page offers.
fn offered() -> Vec<Fault> {
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
