//! The pages of an authorization request.

use http::StatusCode;

use super::html::{escaped, page};
use crate::sandbox::{
    fixtures::COMPANY_NAME,
    response::{self, SandboxResponse},
    scope::{SENSITIVE_SCOPES, Scopes},
};

/// The page that asks the user to log in.
pub(super) fn login_page(
    status: StatusCode,
    consent_id: &str,
    client: &str,
    hint: Option<&str>,
) -> SandboxResponse {
    let hint = hint.map_or_else(String::new, |hint| {
        format!("<p class=\"wrong\" role=\"alert\">{}</p>\n", escaped(hint))
    });
    let body = format!(
        "<h1>Log in</h1>\n\
         <p><strong>{client_name}</strong> wants to connect to your company.</p>\n{hint}\
         <form method=\"post\" action=\"/oauth/login\">\n\
         <input type=\"hidden\" name=\"consent\" value=\"{consent_id}\">\n\
         <label for=\"email\">Email</label>\n\
         <input id=\"email\" name=\"email\" type=\"email\" autocomplete=\"username\" value=\"admin@sandbox.example\">\n\
         <label for=\"password\">Password</label>\n\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"off\">\n\
         <p class=\"note\">This is a sandbox: it accepts any password and stores none.</p>\n\
         <div class=\"buttons\"><button class=\"main\">Next</button></div>\n\
         </form>",
        client_name = escaped(client),
        consent_id = escaped(consent_id),
    );
    response::html(status, page(&format!("Log in to connect {client}"), &body))
}

/// The page that asks the user to consent.
pub(super) fn consent_page(consent_id: &str, client: &str, scopes: &Scopes) -> SandboxResponse {
    let items = scopes
        .iter()
        .filter(|scope| !SENSITIVE_SCOPES.contains(scope))
        .map(|scope| {
            let description = escaped(description(scope));
            format!("<li>{description} <code>{}</code></li>\n", escaped(scope))
        })
        .collect::<Vec<_>>()
        .concat();
    let sensitive = if scopes.any_sensitive() {
        SENSITIVE_CHECKBOX
    } else {
        ""
    };
    let body = format!(
        "<h1>Allow {client_name} to access {COMPANY_NAME}?</h1>\n\
         <p><strong>{client_name}</strong> asks for permission to:</p>\n\
         <ul>\n{items}</ul>\n\
         <form method=\"post\" action=\"/oauth/consent\">\n\
         <input type=\"hidden\" name=\"consent\" value=\"{consent_id}\">\n{sensitive}\
         <div class=\"buttons\">\n\
         <button class=\"main\" name=\"decision\" value=\"allow\">Allow</button>\n\
         <button name=\"decision\" value=\"deny\">Deny</button>\n\
         </div>\n\
         </form>",
        client_name = escaped(client),
        consent_id = escaped(consent_id),
    );
    let title = format!("Allow {client} to access {COMPANY_NAME}");
    response::html(StatusCode::OK, page(&title, &body))
}

/// The description of a scope on the consent page.
fn description(scope: &str) -> &str {
    match scope {
        "company.basic:read" => "See the company's name and addresses",
        "company.bank_account:read" => "See the company's bank account, masked",
        "company.detail:read" => "See the company's registrations and officers",
        "deductions:read" => "See deductions",
        "deductions:write" => "Create, change and cancel deductions",
        "member.basic:read" => "See the list of members",
        "member.detail:read" => "See members' addresses and phones",
        "member.employment:read" => "See members' employment history",
        "member.pay:read" => "See members' pay history",
        "member.tax_id:read" => "See members' social security numbers",
        "payroll:read" => "See payroll runs and fees",
        "paystub:read" => "See paystubs",
        "time_off:read" => "See time off",
        _ => "Other access",
    }
}

const SENSITIVE_CHECKBOX: &str = "\
    <p class=\"choice\"><input id=\"sensitive\" name=\"sensitive\" type=\"checkbox\" value=\"yes\">\n\
    <label for=\"sensitive\">Also share dates of birth and sex assigned at birth (optional).</label></p>\n";

#[cfg(test)]
mod tests {
    use super::{super::html::error_page, *};

    #[test]
    fn a_hostile_client_name_stays_text() {
        let hostile = "<img src=x onerror=alert(1)>\"'";
        for response in [
            login_page(StatusCode::OK, hostile, hostile, Some(hostile)),
            consent_page(hostile, hostile, &Scopes::parse(hostile)),
            error_page(StatusCode::OK, hostile),
        ] {
            let page = String::from_utf8(response.into_body().into_bytes().to_vec()).unwrap();
            assert!(!page.contains("<img") && page.contains("&lt;img"));
        }
    }
}
