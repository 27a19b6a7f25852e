//! The pages of the application.

use std::fmt::Write as _;

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use http::{StatusCode, Uri};
use tower::ServiceExt;
use tower_oauth2_client::{
    Error,
    cache::Status,
    connect::{ConnectFailure, ConnectFailureKind},
    tenants::Tenants,
    token::TenantId,
};

use super::{
    Api,
    html::{Escaped, page},
    status_text::{self, StatusText},
};

/// The number of customers on one page.
const PAGE_SIZE: usize = 100;
/// A longer response body of the API is not shown.
const MAX_BODY: usize = 64 * 1024;

/// The customer that a request names: `?customer=…`.
pub(super) fn customer(uri: &Uri) -> Result<TenantId, Error> {
    TenantId::new(parameter(uri, "customer").unwrap_or_default().trim())
}

/// A page of customers, after the one that `?after=…` names.
pub(super) async fn customers(
    State((tenants, _)): State<(Tenants, Api)>,
    request: Request,
) -> Result<Response, Response> {
    let after = parameter(request.uri(), "after")
        .map(TenantId::new)
        .transpose()
        .map_err(|error| bad_request(&error))?;
    let customers = list(&tenants, after)
        .await
        .map_err(|error| failure(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()))?;
    let mut body = String::from(NEW_CUSTOMER);
    if customers.is_empty() {
        body.push_str("<p>No customer is connected yet.</p>\n");
    } else {
        body.push_str(TABLE);
        for customer in &customers {
            let status = tenants.status(customer).await;
            body.push_str(&row(customer, status.as_ref()));
        }
        body.push_str("</tbody></table>\n");
    }
    if let Some(last) = customers.last().filter(|_| customers.len() >= PAGE_SIZE) {
        let _ = writeln!(
            body,
            "<p><a href=\"/?{}\">More</a></p>",
            query_string("after", last)
        );
    }
    Ok(page(StatusCode::OK, "Customers", &body))
}

/// The API's data about a customer's company.
pub(super) async fn company(
    State((tenants, api)): State<(Tenants, Api)>,
    request: Request,
) -> Result<Response, Response> {
    let customer = customer(request.uri()).map_err(|error| bad_request(&error))?;
    let call = Request::get(format!("{}/v1/company", tenants.origins()[0]))
        // The layer adds the token of this tenant.
        .extension(customer.clone())
        .body(Body::empty())
        .map_err(|error| failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))?;
    let (summary, detail) = match api.oneshot(call).await {
        Ok(response) => {
            let status = response.status();
            let body = to_bytes(response.into_body(), MAX_BODY).await;
            let body = body.map_or_else(|error| error.to_string(), |body| pretty(&body));
            if status.is_success() {
                (None, body)
            } else {
                (Some(format!("The API responded with {status}.")), body)
            }
        }
        Err(error) => (
            Some("The API could not be called.".to_owned()),
            error.to_string(),
        ),
    };
    // After the call, which may have changed the status.
    let status = tenants.status(&customer).await;
    let body = match summary {
        None => format!(
            "<pre>{}</pre>\n{}",
            Escaped(detail),
            state_html(&customer, status.as_ref())
        ),
        Some(summary) => trouble(&customer, status.as_ref(), &summary, &detail),
    };
    // A failure of the API is not a failure of this page.
    Ok(page(
        StatusCode::OK,
        &format!("Company data of {customer}"),
        &(body + BACK_LINK),
    ))
}

/// Why there are no data. The state of the connection is the reason, if it says that there is
/// something to do: then it is the only message.
fn trouble(
    customer: &TenantId,
    status: Result<&Status, &Error>,
    summary: &str,
    detail: &str,
) -> String {
    let is_reason = status.is_ok_and(|status| {
        let text = StatusText::new(status);
        text.advice.is_some() || !text.is_connected
    });
    let message = if is_reason {
        message(customer, status)
    } else {
        "<p>The data cannot be shown at the moment. Please try again in a few minutes.</p>\n"
            .to_owned()
    };
    let last_error = last_error(status).map_or_else(String::new, |error| format!("\n{error}"));
    format!(
        "<div class=\"notice\" role=\"alert\">\n{message}</div>\n{}{}",
        actions(customer, status, ""),
        technical_details(&format!("{summary}\n{detail}{last_error}")),
    )
}

/// Asks whether to disconnect a customer. The form of the front page leads here.
pub(super) async fn disconnect(request: Request) -> Result<Response, Response> {
    let customer = customer(request.uri()).map_err(|error| bad_request(&error))?;
    let body = format!(
        "<p>We will no longer have access to the data of {}. The customer can connect again at any \
         time, and then has to allow access again.</p>\n\
         <form method=\"post\" action=\"/connect/disconnect?{}\"><button class=\"main\">Disconnect</button></form>\n\
         <p><a href=\"/\">Keep the connection</a></p>\n",
        Escaped(&customer),
        query_string("customer", &customer),
    );
    Ok(page(
        StatusCode::OK,
        &format!("Disconnect {customer}?"),
        &body,
    ))
}

/// The page after the customer or the provider has denied access.
pub(super) fn denied(customer: &TenantId) -> Response {
    let text = "The customer or the provider denied access. Nothing has changed.";
    not_completed(StatusCode::OK, "Access was denied", Some(customer), text)
}

/// The page after a customer was not connected or disconnected.
pub(super) fn failed(failure: &ConnectFailure) -> Response {
    let customer = match failure.kind() {
        // To connect would not help.
        ConnectFailureKind::CrossSite
        | ConnectFailureKind::NotPersisted
        | ConnectFailureKind::ProviderNotNotified
        | ConnectFailureKind::RefreshTokenMissing => None,
        _ => failure.tenant(),
    };
    let title = "The request was not completed";
    not_completed(failure.status(), title, customer, &failure.to_string())
}

/// A page with a button to connect, if there is a customer.
fn not_completed(
    status: StatusCode,
    title: &str,
    customer: Option<&TenantId>,
    text: &str,
) -> Response {
    let again = customer.map(connect_button).unwrap_or_default();
    page(
        status,
        title,
        &format!(
            "<p role=\"alert\">{}</p>\n{again}{BACK_LINK}",
            Escaped(text)
        ),
    )
}

/// Lists up to a page of customers. A store may return them in smaller parts.
async fn list(tenants: &Tenants, after: Option<TenantId>) -> Result<Vec<TenantId>, Error> {
    let mut found = Vec::new();
    let mut after = after;
    while found.len() < PAGE_SIZE {
        let part = tenants
            .list(after.as_ref(), PAGE_SIZE - found.len())
            .await?;
        let Some(last) = part.last() else {
            break;
        };
        after = Some(last.clone());
        found.extend(part);
    }
    Ok(found)
}

fn row(customer: &TenantId, status: Result<&Status, &Error>) -> String {
    let link = query_string("customer", customer);
    let days = status
        .ok()
        .and_then(status_text::days_left)
        .map_or("–".to_owned(), |days| days.to_string());
    // On a phone the table is displayed as cards, so its roles are explicit.
    format!(
        "<tr role=\"row\"><td role=\"cell\"><a href=\"/company?{link}\">{}</a></td>\
         <td role=\"cell\">{}</td><td role=\"cell\" data-label=\"Expires in (days)\">{days}</td>\
         <td role=\"cell\">{}</td></tr>\n",
        Escaped(customer),
        state_html(customer, status),
        actions(customer, status, DISCONNECT),
    )
}

/// The state of a connection: one message, and the last error on demand.
fn state_html(customer: &TenantId, status: Result<&Status, &Error>) -> String {
    let mut html = message(customer, status);
    if let Some(error) = last_error(status) {
        html.push_str(&technical_details(&error));
    }
    html
}

/// The state in plain words, with the reason and what to do.
fn message(customer: &TenantId, status: Result<&Status, &Error>) -> String {
    let text = status.map_or(StatusText::UNKNOWN, StatusText::new);
    let mut html = format!("<p>{} {}.</p>\n", Escaped(customer), text.state);
    if let Some(advice) = text.advice {
        let _ = writeln!(html, "<p>{advice}</p>");
    }
    html
}

fn last_error(status: Result<&Status, &Error>) -> Option<String> {
    match status {
        Ok(status) => status.last_error.as_ref().map(ToString::to_string),
        Err(error) => Some(error.to_string()),
    }
}

fn technical_details(text: &str) -> String {
    format!(
        "<details><summary>Technical details</summary><pre>{}</pre></details>\n",
        Escaped(text)
    )
}

/// The buttons for what can be done. `disconnect` is the label of the one that asks whether to
/// disconnect, or empty for none.
fn actions(customer: &TenantId, status: Result<&Status, &Error>, disconnect: &str) -> String {
    let Ok(status) = status else {
        return String::new();
    };
    let text = StatusText::new(status);
    let start = match (text.is_connected, text.needs_reconnect) {
        (false, _) => connect_button(customer),
        (true, true) => button("/connect/start", customer, "Reconnect", "main"),
        (true, false) => String::new(),
    };
    let end = if text.is_connected && !disconnect.is_empty() {
        button("/disconnect", customer, disconnect, "")
    } else {
        String::new()
    };
    format!("<div class=\"actions\">\n{start}{end}</div>\n")
}

fn connect_button(customer: &TenantId) -> String {
    button("/connect/start", customer, "Connect", "main")
}

/// A button for a customer. Screen readers say for which one.
fn button(path: &str, customer: &TenantId, label: &str, class: &str) -> String {
    let customer = Escaped(customer);
    format!(
        "<form action=\"{path}\"><input type=\"hidden\" name=\"customer\" value=\"{customer}\">\
         <button class=\"{class}\" aria-label=\"{label} {customer}\">{label}</button></form>\n"
    )
}

/// The form for a new customer. A real application has a table of customers.
const NEW_CUSTOMER: &str = "<form class=\"new\" action=\"/connect/start\"><label>New customer <input name=\"customer\" maxlength=\"60\" required></label>\n\
     <button class=\"main\">Connect a new customer</button></form>\n";

const TABLE: &str = "<table role=\"table\"><thead role=\"rowgroup\"><tr role=\"row\">\
     <th scope=\"col\" role=\"columnheader\">Customer</th><th scope=\"col\" role=\"columnheader\">State</th>\
     <th scope=\"col\" role=\"columnheader\">Expires in (days)</th><th scope=\"col\" role=\"columnheader\">Actions</th>\
     </tr></thead>\n<tbody role=\"rowgroup\">\n";

/// It leads to a page that asks.
const DISCONNECT: &str = "Disconnect…";

const BACK_LINK: &str = "<p><a href=\"/\">All customers</a></p>\n";

pub(super) fn bad_request(error: &Error) -> Response {
    failure(StatusCode::BAD_REQUEST, &error.to_string())
}

fn failure(status: StatusCode, text: &str) -> Response {
    page(
        status,
        "Something went wrong",
        &format!("<p role=\"alert\">{}</p>\n{BACK_LINK}", Escaped(text)),
    )
}

/// Indents a body that is JSON.
fn pretty(body: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(body)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned())
}

fn parameter(uri: &Uri, name: &str) -> Option<String> {
    form_urlencoded::parse(uri.query()?.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// A query string. It needs no escaping in an attribute in double quotes.
fn query_string(name: &str, customer: &TenantId) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair(name, customer.as_str())
        .finish()
}
