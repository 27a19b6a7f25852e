//! The pages of the application.

use std::fmt::Write as _;

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use http::{StatusCode, Uri};
use tower::ServiceExt;
use tower_oauth2_client::{Error, cache::Status, tenants::Tenants, token::TenantId};

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
    body.push_str(
        "<table><tr><th>Customer</th><th>State</th><th>Expires in (days)</th><th></th></tr>\n",
    );
    for customer in &customers {
        let status = tenants.status(customer).await;
        body.push_str(&row(customer, status.as_ref()));
    }
    body.push_str("</table>\n");
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
    let (status, text) = match api.oneshot(call).await {
        Ok(response) => {
            let status = response.status();
            let body = to_bytes(response.into_body(), MAX_BODY).await;
            (
                status,
                body.map_or_else(|error| error.to_string(), |body| pretty(&body)),
            )
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()),
    };
    // After the call, which may have changed the status.
    let tenant_status = tenants.status(&customer).await;
    let body = format!(
        "<p>{} {}</p>\n<pre>{}</pre>\n{}",
        status.as_u16(),
        Escaped(status.canonical_reason().unwrap_or_default()),
        Escaped(text),
        status_html(&customer, tenant_status.as_ref()),
    );
    // A failure of the API is not a failure of this page.
    Ok(page(
        StatusCode::OK,
        &format!("Company data of {customer}"),
        &(body + BACK_LINK),
    ))
}

/// The page after a customer was not connected or disconnected.
pub(super) fn not_completed(
    status: StatusCode,
    customer: Option<&TenantId>,
    text: &str,
) -> Response {
    let again = customer.map(connect_button).unwrap_or_default();
    page(
        status,
        "The request was not completed",
        &format!("<p>{}</p>\n{again}{BACK_LINK}", Escaped(text)),
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
    format!(
        "<tr><td><a href=\"/company?{link}\">{}</a></td><td>{}</td><td>{days}</td><td>{}</td></tr>\n",
        Escaped(customer),
        status_html(customer, status),
        buttons(customer, status),
    )
}

fn status_html(customer: &TenantId, status: Result<&Status, &Error>) -> String {
    let status = match status {
        Ok(status) => status,
        Err(error) => return format!("<p class=\"advice\">{}</p>\n", Escaped(error)),
    };
    let text = StatusText::new(status);
    let mut html = format!("<p>{} {}.</p>\n", Escaped(customer), text.state);
    if let Some(advice) = text.advice {
        let _ = writeln!(html, "<p class=\"advice\">{advice}</p>");
    }
    if let Some(error) = &status.last_error {
        let _ = writeln!(html, "<p>Last error: {}</p>", Escaped(error));
    }
    html
}

fn buttons(customer: &TenantId, status: Result<&Status, &Error>) -> String {
    let is_connected = status.is_ok_and(|status| StatusText::new(status).is_connected);
    if !is_connected {
        return connect_button(customer);
    }
    format!(
        "{}<form method=\"post\" action=\"/connect/disconnect?{}\"><button>Disconnect</button></form>",
        button(customer, "Reconnect"),
        query_string("customer", customer),
    )
}

fn connect_button(customer: &TenantId) -> String {
    button(customer, "Connect")
}

fn button(customer: &TenantId, label: &str) -> String {
    format!(
        "<form action=\"/connect/start\"><input type=\"hidden\" name=\"customer\" value=\"{}\"><button>{label}</button></form>\n",
        Escaped(customer)
    )
}

/// The form for a new customer. A real application has a table of customers.
const NEW_CUSTOMER: &str = "<form action=\"/connect/start\"><p><label>New customer: <input name=\"customer\" maxlength=\"60\" required></label> \
     <button>Connect a new customer</button></p></form>\n";

const BACK_LINK: &str = "<p><a href=\"/\">All customers</a></p>\n";

pub(super) fn bad_request(error: &Error) -> Response {
    failure(StatusCode::BAD_REQUEST, &error.to_string())
}

fn failure(status: StatusCode, text: &str) -> Response {
    page(
        status,
        "Something went wrong",
        &format!("<p>{}</p>\n{BACK_LINK}", Escaped(text)),
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
