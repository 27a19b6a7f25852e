//! What is shown.

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
    html::{Text, page},
    words,
};

/// How many customers stand on one page.
const PAGE: usize = 100;
/// More of the API's answer is not shown.
const LONGEST: usize = 64 * 1024;

/// Whom a request is about: `?customer=…`.
pub(super) fn customer(uri: &Uri) -> Result<TenantId, Error> {
    TenantId::new(parameter(uri, "customer").unwrap_or_default().trim())
}

/// All customers, those behind `?after=…`.
pub(super) async fn front(
    State((tenants, _)): State<(Tenants, Api)>,
    request: Request,
) -> Result<Response, Response> {
    let after = parameter(request.uri(), "after")
        .map(TenantId::new)
        .transpose()
        .map_err(|error| refused(&error))?;
    let customers = list(&tenants, after)
        .await
        .map_err(|error| trouble(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()))?;
    let mut body = String::from(NEW_CUSTOMER);
    body.push_str("<table><tr><th>Customer</th><th>State</th><th>Days left</th><th></th></tr>\n");
    for customer in &customers {
        let status = tenants.status(customer).await;
        body.push_str(&row(customer, status.as_ref()));
    }
    body.push_str("</table>\n");
    if let Some(last) = customers.last().filter(|_| customers.len() >= PAGE) {
        let _ = writeln!(
            body,
            "<p><a href=\"/?{}\">More</a></p>",
            query("after", last)
        );
    }
    Ok(page(StatusCode::OK, "Customers", &body))
}

/// What the API tells of a customer's company.
pub(super) async fn company(
    State((tenants, api)): State<(Tenants, Api)>,
    request: Request,
) -> Result<Response, Response> {
    let customer = customer(request.uri()).map_err(|error| refused(&error))?;
    let call = Request::get(format!("{}/v1/company", tenants.origins()[0]))
        // Whose token it gets.
        .extension(customer.clone())
        .body(Body::empty())
        .map_err(|error| trouble(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))?;
    let (status, answer) = match api.oneshot(call).await {
        Ok(answer) => {
            let status = answer.status();
            let body = to_bytes(answer.into_body(), LONGEST).await;
            (
                status,
                body.map_or_else(|error| error.to_string(), |body| pretty(&body)),
            )
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()),
    };
    // Afterwards, as the call may have found out more.
    let known = tenants.status(&customer).await;
    let body = format!(
        "<p>{} {}</p>\n<pre>{}</pre>\n{}",
        status.as_u16(),
        Text(status.canonical_reason().unwrap_or_default()),
        Text(answer),
        how_it_does(&customer, known.as_ref()),
    );
    // Whatever it was, this page is not what failed.
    Ok(page(
        StatusCode::OK,
        &format!("The company of {customer}"),
        &(body + BACK),
    ))
}

/// Nothing came of connecting, or of disconnecting.
pub(super) fn not_connected(
    status: StatusCode,
    customer: Option<&TenantId>,
    text: &str,
) -> Response {
    let again = customer.map(connect_button).unwrap_or_default();
    page(
        status,
        "Not done",
        &format!("<p>{}</p>\n{again}{BACK}", Text(text)),
    )
}

/// A page of them that is full, if there are so many. A store may give them in smaller parts.
async fn list(tenants: &Tenants, after: Option<TenantId>) -> Result<Vec<TenantId>, Error> {
    let mut found = Vec::new();
    let mut after = after;
    while found.len() < PAGE {
        let part = tenants.list(after.as_ref(), PAGE - found.len()).await?;
        let Some(last) = part.last() else {
            break;
        };
        after = Some(last.clone());
        found.extend(part);
    }
    Ok(found)
}

fn row(customer: &TenantId, status: Result<&Status, &Error>) -> String {
    let link = query("customer", customer);
    let days = status
        .ok()
        .and_then(words::days_left)
        .map_or("–".to_owned(), |days| days.to_string());
    format!(
        "<tr><td><a href=\"/company?{link}\">{}</a></td><td>{}</td><td>{days}</td><td>{}</td></tr>\n",
        Text(customer),
        how_it_does(customer, status),
        buttons(customer, status),
    )
}

fn how_it_does(customer: &TenantId, status: Result<&Status, &Error>) -> String {
    let status = match status {
        Ok(status) => status,
        Err(error) => return format!("<p class=\"advice\">{}</p>\n", Text(error)),
    };
    let words = words::of(status);
    let mut told = format!("<p>{} {}.</p>\n", Text(customer), words.state);
    if let Some(advice) = words.advice {
        let _ = writeln!(told, "<p class=\"advice\">{advice}</p>");
    }
    if let Some(error) = &status.last_error {
        let _ = writeln!(told, "<p>The last trouble: {}</p>", Text(error));
    }
    told
}

fn buttons(customer: &TenantId, status: Result<&Status, &Error>) -> String {
    let is_connected = status.is_ok_and(|status| words::of(status).is_connected);
    if !is_connected {
        return connect_button(customer);
    }
    format!(
        "{}<form method=\"post\" action=\"/connect/disconnect?{}\"><button>Disconnect</button></form>",
        button(customer, "Reconnect"),
        query("customer", customer),
    )
}

fn connect_button(customer: &TenantId) -> String {
    button(customer, "Connect")
}

fn button(customer: &TenantId, label: &str) -> String {
    format!(
        "<form action=\"/connect/start\"><input type=\"hidden\" name=\"customer\" value=\"{}\"><button>{label}</button></form>\n",
        Text(customer)
    )
}

/// A customer is known from the first connection on; a program in earnest has them in a table of its own.
const NEW_CUSTOMER: &str = "<form action=\"/connect/start\"><p><label>A new customer: <input name=\"customer\" maxlength=\"60\" required></label> \
     <button>Connect a new customer</button></p></form>\n";

const BACK: &str = "<p><a href=\"/\">All customers</a></p>\n";

pub(super) fn refused(error: &Error) -> Response {
    trouble(StatusCode::BAD_REQUEST, &error.to_string())
}

fn trouble(status: StatusCode, text: &str) -> Response {
    page(
        status,
        "This did not work",
        &format!("<p>{}</p>\n{BACK}", Text(text)),
    )
}

/// Legible, if it is JSON.
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

/// For an address, in double quotes: what it is made of needs no escape there.
fn query(name: &str, customer: &TenantId) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair(name, customer.as_str())
        .finish()
}
