//! The device authorization endpoint (RFC 8628), and the page where a user enters the code.

use http::{HeaderMap, StatusCode, request::Parts};
use serde_json::json;

use super::{
    base_url::base_url,
    client_authentication::{ClientError, authenticate, process_form},
    html::{error_page, escaped, page},
    page_form,
};
use crate::sandbox::{
    authority::Decision,
    event::EventKind,
    form::Form,
    request_body::RequestBody,
    response::{self, ResponseResult, SandboxResponse},
    scope::Scopes,
    state::{SandboxState, SharedState},
};

pub(super) const PAGE: &str = "/oauth/device";

/// Processes a device authorization request.
pub(super) async fn start(
    shared: &SharedState,
    parts: &Parts,
    body: RequestBody,
) -> SandboxResponse {
    process_form(shared, &parts.headers, body, |state, form| {
        issue_codes(state, parts, form)
    })
    .await
}

fn issue_codes(
    state: &mut SandboxState,
    parts: &Parts,
    form: &Form,
) -> Result<SandboxResponse, ClientError> {
    let client_id = authenticate(&parts.headers, form, state)?;
    let scopes = form.field("scope").map(Scopes::parse);
    let now = state.now();
    let codes = state
        .authority
        .start_device(&client_id, scopes, &state.behavior, now)
        .map_err(|refusal| ClientError::new(refusal.error, refusal.description))?;
    let uri = format!("{}{PAGE}", base_url(parts));
    let body = json!({
        "device_code": codes.device_code,
        "user_code": codes.user_code,
        "verification_uri": uri,
        "verification_uri_complete": format!("{uri}?user_code={}", codes.user_code),
        "expires_in": state.behavior.device_code_lifetime.as_secs(),
        "interval": state.behavior.device_interval.as_secs(),
    });
    Ok(response::json(StatusCode::OK, &body))
}

/// Shows the page with its form.
pub(super) fn show(shared: &SharedState, parts: &Parts) -> SandboxResponse {
    let query = Form::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let user_code = query.field("user_code").unwrap_or_default();
    let now = shared.lock().now();
    let pending = shared.lock().authority.pending_device(user_code, now);
    let request = match (&pending, user_code) {
        (Some((client_id, scopes)), _) => format!(
            "<p><strong>{}</strong> requests: {}.</p>\n",
            escaped(client_id),
            escaped(&scopes.to_string())
        ),
        (None, "") => String::new(),
        (None, _) => "<p class=\"wrong\" role=\"alert\">This code is unknown or has expired.</p>\n"
            .to_owned(),
    };
    let body = format!(
        "<h1>Connect a device</h1>\n{request}\
         <form method=\"post\" action=\"{PAGE}\">\n\
         <label for=\"user_code\">The code that the device shows</label>\n\
         <input id=\"user_code\" name=\"user_code\" type=\"text\" autocomplete=\"off\" value=\"{}\">\n\
         <div class=\"buttons\">\n\
         <button class=\"main\" name=\"decision\" value=\"allow\">Allow</button>\n\
         <button name=\"decision\" value=\"deny\">Deny</button>\n\
         </div>\n\
         </form>",
        escaped(user_code)
    );
    response::html(StatusCode::OK, page("Connect a device", &body))
}

/// Processes the form of the page.
pub(super) async fn submit(
    shared: &SharedState,
    headers: &HeaderMap,
    body: RequestBody,
) -> ResponseResult {
    let form = page_form::read(headers, body).await?;
    let decision = page_form::decision(&form)?;
    let user_code = form.field("user_code").unwrap_or_default();
    if !decide(&mut shared.lock(), user_code, decision) {
        let message = "This code is unknown or has expired.";
        return Ok(error_page(StatusCode::BAD_REQUEST, message));
    }
    let text = "<h1>Done</h1>\n<p>You can close this page and return to the device.</p>";
    Ok(response::html(StatusCode::OK, page("Done", text)))
}

/// Records the decision of a user. Returns whether the code was known.
pub(in crate::sandbox) fn decide(
    state: &mut SandboxState,
    user_code: &str,
    decision: Decision,
) -> bool {
    let now = state.now();
    let decided = state.authority.decide_device(user_code, decision, now);
    let Some((client_id, scopes)) = decided else {
        return false;
    };
    state.record(match decision {
        Decision::Allow => EventKind::ConsentGranted {
            client_id,
            scope: scopes.to_string(),
        },
        Decision::Deny => EventKind::ConsentDenied { client_id },
    });
    true
}
