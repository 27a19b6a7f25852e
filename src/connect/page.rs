//! The default pages, and the headers that every response is sent with.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
};

use super::{
    ConnectFailure, PageText, PageTexts,
    html::{self, Document, style_hash},
    texts::Localized,
};

/// The pages load, run and submit nothing, and cannot be framed. The only style is their own.
const POLICY: &str = concat!(
    "default-src 'none'; style-src ",
    style_hash!(),
    "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
);

/// The policy does not limit the form, because browsers apply `form-action` to the redirect to the
/// provider too.
const POLICY_WITH_FORM: &str = concat!(
    "default-src 'none'; style-src ",
    style_hash!(),
    "; base-uri 'none'; frame-ancestors 'none'"
);

pub(super) fn connected(texts: &PageTexts) -> Response {
    page(
        StatusCode::OK,
        POLICY,
        &Document::new(texts.connected_page()),
    )
}

pub(super) fn denied(texts: &PageTexts) -> Response {
    let mut document = Document::new(texts.denied_page());
    document.end = start_again(texts);
    page(StatusCode::OK, POLICY, &document)
}

pub(super) fn disconnected(texts: &PageTexts) -> Response {
    let mut document = Document::new(texts.disconnected_page());
    document.end = start_again(texts);
    page(StatusCode::OK, POLICY, &document)
}

/// The page for a request to start that may come from another site. Its form sends the same URL,
/// and the page shows no part of it.
pub(super) fn confirm(texts: &PageTexts) -> Response {
    let (text, button) = texts.confirm_page();
    let mut document = Document::new(text);
    // Without a referrer, a browser would send `Origin: null` with the form.
    document.head = "<meta name=\"referrer\" content=\"same-origin\">\n";
    document.end = html::button(&button);
    page(StatusCode::OK, POLICY_WITH_FORM, &document)
}

impl ConnectFailure {
    /// Returns the default page for the customer, in the language of `texts`, with a link to start
    /// again where that can help. It contains no scripts, and cannot be framed.
    ///
    /// If the texts have none for this failure, the page shows the English `Display` text.
    #[must_use]
    pub fn page(&self, texts: &PageTexts) -> Response {
        let own = texts.failed_page(self);
        let english = PageText::new(self.title(), self.text());
        let mut document = Document::new(match &own {
            Some(own) => texts.localized(own),
            None => Localized::english(&english),
        });
        document.is_alert = true;
        document.code = self.code().map(|code| code.to_string());
        if self.can_start_again() {
            document.end = start_again(texts);
        }
        page(self.status(), POLICY, &document)
    }
}

/// The response to a request in advance. It is no success, so a browser requests the page again
/// when the customer opens it.
pub(super) fn not_prefetched() -> Response {
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

pub(super) fn redirect(url: &str) -> Option<Response> {
    let mut location = HeaderValue::from_str(url).ok()?;
    // It contains the state.
    location.set_sensitive(true);
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(LOCATION, location);
    Some(response)
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Response {
    let mut response = StatusCode::METHOD_NOT_ALLOWED.into_response();
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The URL of the response may contain a code. It must not be cached, or sent to another site.
pub(super) fn with_security_headers(mut response: Response) -> Response {
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A link, because it leads to another page. Relative: `start` is beside every page of the router.
fn start_again(texts: &PageTexts) -> String {
    html::link("start", &texts.start_again_label())
}

fn page(status: StatusCode, policy: &'static str, document: &Document<'_>) -> Response {
    let mut response = Response::new(Body::from(document.to_html()));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, policy),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;
    use crate::{
        connect::ConnectFailureKind,
        error::{Error, ErrorKind},
    };

    const HOSTILE: &str = "</p></title></style><script>alert('1')</script>\"><img src=x>&";

    fn failure() -> ConnectFailure {
        let error = Error::new(ErrorKind::Refused, "refused");
        ConnectFailure::new(ConnectFailureKind::NotPending).because(error)
    }

    async fn html(response: Response) -> String {
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str();
        assert!(!policy.unwrap().contains("unsafe"));
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    fn pages(texts: &PageTexts) -> [Response; 5] {
        [
            connected(texts),
            denied(texts),
            disconnected(texts),
            confirm(texts),
            failure().page(texts),
        ]
    }

    #[tokio::test]
    async fn p23_hostile_texts_of_the_program_stay_text() {
        let text = || PageText::new(HOSTILE, HOSTILE);
        let texts = PageTexts::new(HOSTILE)
            .confirm(text(), HOSTILE)
            .connected(text())
            .denied(text())
            .disconnected(text())
            .start_again(HOSTILE)
            .failed(move |_| Some(text()));
        for page in pages(&texts) {
            let page = html(page).await;
            assert!(
                !page.contains("<script") && !page.contains("<img"),
                "{page}"
            );
            assert!(page.contains("<html lang=\"&lt;/p&gt;"), "{page}");
            for (element, count) in [("<p", 2), ("</style>", 1), ("</title>", 1), ("<h1>", 1)] {
                assert!(page.matches(element).count() <= count, "{element}: {page}");
            }
        }
    }

    #[tokio::test]
    async fn page_without_a_text_is_in_english_and_says_so() {
        for page in pages(PageTexts::english()) {
            assert!(html(page).await.contains("<html lang=\"en\" dir=\"ltr\">"));
        }
        let texts = PageTexts::new("he")
            .right_to_left()
            .denied(PageText::new("לא מחובר", "הגישה לא אושרה"))
            .failed(|_| None);
        let denied = html(denied(&texts)).await;
        assert!(
            denied.contains("<html lang=\"he\" dir=\"rtl\">"),
            "{denied}"
        );
        let link = "<a class=\"button\" href=\"start\" lang=\"en\" dir=\"ltr\">Start again</a>";
        assert!(denied.contains(link), "{denied}");
        let texts = texts.start_again("להתחיל מחדש");
        let failed = html(failure().page(&texts)).await;
        assert!(
            failed.contains("<html lang=\"en\" dir=\"ltr\">"),
            "{failed}"
        );
        assert!(failed.contains("lang=\"he\" dir=\"rtl\">להתחיל מחדש</a>"));
    }
}
