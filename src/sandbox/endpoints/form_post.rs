//! The page that sends a callback as a form (OAuth 2.0 Form Post Response Mode).

use http::{HeaderValue, StatusCode, header::CONTENT_SECURITY_POLICY};

use super::html::{escaped, page};
use crate::sandbox::{
    response::{self, CallbackUrl, SandboxResponse},
    style::style_hash,
};

/// A page whose form the browser submits to the redirect URI at once.
///
/// `url` is the callback of the same fields in query mode, for the simulated user.
pub(super) fn form_post_page(
    redirect_uri: &str,
    fields: &[(&str, &str)],
    url: String,
) -> SandboxResponse {
    let fields = fields
        .iter()
        .map(|(name, value)| {
            let (name, value) = (escaped(name), escaped(value));
            format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">\n")
        })
        .collect::<Vec<_>>()
        .concat();
    let body = format!(
        "<h1>Back to the application</h1>\n\
         <form method=\"post\" action=\"{action}\">\n{fields}\
         <div class=\"buttons\"><button class=\"main\">Continue</button></div>\n\
         </form>\n<script>{SCRIPT}</script>",
        action = escaped(redirect_uri),
    );
    let mut response = response::html(StatusCode::OK, page("Continue", &body));
    let policy = HeaderValue::from_static(POLICY);
    response
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, policy);
    response.extensions_mut().insert(CallbackUrl(url));
    response
}

const SCRIPT: &str = "document.forms[0].submit()";

/// The policy of the other pages, and the hash of the script.
const POLICY: &str = concat!(
    "default-src 'none'; style-src ",
    style_hash!(),
    "; script-src 'sha256-ePniVEkSivX/c7XWBGafqh8tSpiRrKiqYeqbG7N1TOE='; \
     base-uri 'none'; frame-ancestors 'none'"
);

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::*;

    #[test]
    fn the_policy_allows_the_script() {
        let hash = BASE64_STANDARD.encode(hmac_sha256::Hash::hash(SCRIPT.as_bytes()));
        assert!(
            POLICY.contains(&format!("script-src 'sha256-{hash}';")),
            "{hash}"
        );
    }

    #[test]
    fn the_page_escapes_the_fields() {
        let fields = [("state", "\"><script>x</script>")];
        let page = form_post_page("https://p.example/?a=b&c=\"d", &fields, String::new());
        let page = page.into_body().into_bytes();
        let page = str::from_utf8(&page).unwrap();
        assert!(page.contains("action=\"https://p.example/?a=b&amp;c=&quot;d\""));
        assert!(page.contains("value=\"&quot;&gt;&lt;script&gt;x&lt;/script&gt;\""));
    }
}
