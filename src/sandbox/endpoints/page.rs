//! The pages a person sees. They need no scripts, and load nothing.

use http::StatusCode;

use crate::sandbox::answer::{self, Answer};
use crate::sandbox::scope::{SENSITIVE_SCOPES, Scopes};
use crate::sandbox::seed::COMPANY_NAME;

/// The page that asks who is there.
pub(super) fn log_in_page(
    status: StatusCode,
    consent: &str,
    app: &str,
    hint: Option<&str>,
) -> Answer {
    let hint = hint.map_or_else(String::new, |hint| {
        format!("<p class=\"wrong\" role=\"alert\">{}</p>\n", escaped(hint))
    });
    let body = format!(
        "<h1>Log in</h1>\n\
         <p><strong>{app}</strong> wants to connect to your company.</p>\n{hint}\
         <form method=\"post\" action=\"/oauth/login\">\n\
         <input type=\"hidden\" name=\"consent\" value=\"{consent}\">\n\
         <label for=\"email\">Email</label>\n\
         <input id=\"email\" name=\"email\" type=\"email\" autocomplete=\"username\" value=\"admin@sandbox.example\">\n\
         <label for=\"password\">Password</label>\n\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"off\">\n\
         <p class=\"note\">This is a sandbox: any password will do, and none is kept.</p>\n\
         <div class=\"buttons\"><button class=\"main\">Next</button></div>\n\
         </form>",
        app = escaped(app),
        consent = escaped(consent),
    );
    answer::html(status, page("Log in", &body))
}

/// The page that shows what an app asks for.
pub(super) fn consent_page(consent: &str, app: &str, scopes: &Scopes) -> Answer {
    let items = scopes
        .iter()
        .filter(|scope| !SENSITIVE_SCOPES.contains(scope))
        .map(|scope| {
            let meaning = escaped(meaning(scope));
            format!("<li>{meaning} <code>{}</code></li>\n", escaped(scope))
        })
        .collect::<Vec<_>>()
        .concat();
    let sensitive = if scopes.any_sensitive() {
        SENSITIVE_CHECKBOX
    } else {
        ""
    };
    let body = format!(
        "<h1>Connect {app}</h1>\n\
         <p><strong>{app}</strong> asks for access to <strong>{COMPANY_NAME}</strong>:</p>\n\
         <ul>\n{items}</ul>\n\
         <form method=\"post\" action=\"/oauth/consent\">\n\
         <input type=\"hidden\" name=\"consent\" value=\"{consent}\">\n{sensitive}\
         <div class=\"buttons\">\n\
         <button class=\"main\" name=\"decision\" value=\"allow\">Allow</button>\n\
         <button name=\"decision\" value=\"deny\">Deny</button>\n\
         </div>\n\
         </form>",
        app = escaped(app),
        consent = escaped(consent),
    );
    answer::html(StatusCode::OK, page("Allow access", &body))
}

/// The page that says what is wrong, to a person who cannot be sent back.
pub(super) fn error_page(status: StatusCode, why: &str) -> Answer {
    let body = format!(
        "<h1>This did not work</h1>\n<p role=\"alert\">{}</p>",
        escaped(why)
    );
    answer::html(status, page("Error", &body))
}

/// A whole page around `body`, which is HTML.
fn page(title: &str, body: &str) -> String {
    document(title, "", &format!("<main>\n{body}\n</main>"))
}

/// A whole document: a title, more of a head, and a body, the latter two of HTML.
pub(super) fn document(title: &str, head: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title} - Justworks sandbox</title>\n<style>{STYLE}</style>\n{head}</head>\n\
         <body>\n<header>Justworks sandbox</header>\n{body}\n</body>\n</html>\n",
        title = escaped(title),
    )
}

/// Text as HTML shows it, between tags and inside quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character => escaped.push(character),
        }
    }
    escaped
}

/// What a scope means to a person.
fn meaning(scope: &str) -> &str {
    match scope {
        "company.basic:read" => "See the company's name and addresses",
        "company.bank_account:read" => "See the company's bank account, masked",
        "company.detail:read" => "See the company's registrations and officers",
        "deductions:read" => "See deductions",
        "deductions:write" => "Create, change and cancel deductions",
        "member.basic:read" => "See who works here",
        "member.detail:read" => "See members' addresses and phones",
        "member.employment:read" => "See members' employment history",
        "member.pay:read" => "See members' pay history",
        "member.tax_id:read" => "See members' social security numbers",
        "payroll:read" => "See payroll runs and fees",
        "paystub:read" => "See paystubs",
        "time_off:read" => "See time off",
        _ => "Something of the app's own",
    }
}

const SENSITIVE_CHECKBOX: &str = "\
    <p class=\"choice\"><input id=\"sensitive\" name=\"sensitive\" type=\"checkbox\" value=\"yes\">\n\
    <label for=\"sensitive\">Also share dates of birth and sex assigned at birth. You can go on without.</label></p>\n";

const STYLE: &str = "\
    body{margin:0;font:16px/1.5 system-ui,sans-serif;color:#1b1f24;background:#f3f5f7}\
    header{padding:.75rem 1.5rem;background:#1b3a57;color:#fff;font-weight:600}\
    main{max-width:34rem;margin:2rem auto;padding:1.5rem 2rem;background:#fff;border:1px solid #d5dbe1;border-radius:8px}\
    main.wide{max-width:64rem}\
    h1{font-size:1.4rem;margin:0 0 1rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:2rem 0 .5rem}\
    p,li{overflow-wrap:anywhere}td{overflow-wrap:break-word}\
    label{display:block;margin:.75rem 0 .25rem;font-weight:600}\
    input[type=email],input[type=password]{width:100%;box-sizing:border-box;padding:.5rem;font:inherit;border:1px solid #8a949e;border-radius:4px}\
    .choice{display:flex;gap:.5rem;align-items:baseline}.choice label{display:inline;margin:0;font-weight:400}\
    code{font-size:.85em;color:#5a6570}.note{color:#5a6570;font-size:.9rem}.wrong{color:#a1260d;font-weight:600}\
    .buttons{display:flex;flex-wrap:wrap;gap:.5rem;margin-top:1rem}\
    button{padding:.5rem 1rem;font:inherit;border:1px solid #8a949e;border-radius:4px;background:#fff;cursor:pointer}\
    button.main{background:#1b3a57;border-color:#1b3a57;color:#fff}\
    table{border-collapse:collapse;width:100%;font-size:.9rem}th,td{text-align:left;padding:.3rem .5rem;border-bottom:1px solid #e3e8ec;vertical-align:top}\
    select,input[type=number]{font:inherit;padding:.4rem}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        assert_eq!(
            escaped(r#"<script>alert("1&2")</script>'"#),
            "&lt;script&gt;alert(&quot;1&amp;2&quot;)&lt;/script&gt;&#39;"
        );
        assert_eq!(escaped("Ünï cödé"), "Ünï cödé");
    }

    #[test]
    fn a_hostile_app_name_stays_text() {
        let hostile = "<img src=x onerror=alert(1)>\"'";
        for answer in [
            log_in_page(StatusCode::OK, hostile, hostile, Some(hostile)),
            consent_page(hostile, hostile, &Scopes::parse(hostile)),
            error_page(StatusCode::OK, hostile),
        ] {
            let page = String::from_utf8(answer.into_body().into_bytes().to_vec()).unwrap();
            assert!(!page.contains("<img") && page.contains("&lt;img"));
        }
    }
}
