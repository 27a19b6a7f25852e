//! The texts of the default pages, in one language.

use std::{borrow::Cow, fmt, sync::Arc};

use http::{header::ACCEPT_LANGUAGE, request::Parts};

use super::ConnectFailure;

/// The texts of the default pages, in one language.
///
/// [`ConnectHandler::texts`](super::ConnectHandler::texts) returns those of a request. A page whose
/// text is not set is in English, and says so to screen readers. All texts are plain text: markup
/// in them is escaped.
///
/// ```
/// use tower_oauth2_client::connect::{ConnectFailureKind, PageText, PageTexts};
///
/// let german = PageTexts::new("de")
///     .confirm(
///         PageText::new(
///             "Konto verbinden",
///             "Sie verbinden Ihr Konto mit einem anderen Dienst. Wenn Sie das nicht wollten, \
///              schließen Sie bitte diese Seite.",
///         ),
///         "Weiter",
///     )
///     .connected(PageText::new("Verbunden", "Ihr Konto ist jetzt verbunden."))
///     .denied(PageText::new("Nicht verbunden", "Der Zugriff wurde nicht erlaubt."))
///     .disconnected(PageText::new("Getrennt", "Ihr Konto ist nicht mehr verbunden."))
///     .start_again("Neu beginnen")
///     .failed(|failure| {
///         let text = match failure.kind() {
///             ConnectFailureKind::NotPending => "Diese Seite ist abgelaufen.",
///             ConnectFailureKind::InProgress => "Ihr Konto wird gerade verbunden.",
///             _ => "Etwas ist schiefgegangen. Bitte beginnen Sie neu.",
///         };
///         Some(PageText::new("Nicht verbunden", text))
///     });
/// assert_eq!(german.language(), "de");
/// ```
#[derive(Clone)]
pub struct PageTexts {
    language: Cow<'static, str>,
    is_right_to_left: bool,
    confirm: Option<(PageText, Cow<'static, str>)>,
    connected: Option<PageText>,
    denied: Option<PageText>,
    disconnected: Option<PageText>,
    start_again: Option<Cow<'static, str>>,
    failed: Option<Arc<FailureTexts>>,
}

/// The text for a failure, or `None` for the English one.
type FailureTexts = dyn Fn(&ConnectFailure) -> Option<PageText> + Send + Sync;

/// The title of a page, which is also its heading, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageText {
    pub(super) title: Cow<'static, str>,
    pub(super) text: Cow<'static, str>,
}

impl PageText {
    /// Creates the text of a page.
    pub fn new(title: impl Into<Cow<'static, str>>, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            title: title.into(),
            text: text.into(),
        }
    }

    const fn borrowed(title: &'static str, text: &'static str) -> Self {
        Self {
            title: Cow::Borrowed(title),
            text: Cow::Borrowed(text),
        }
    }
}

impl PageTexts {
    /// Creates the texts of a language, such as `de` or `pt-BR` (BCP 47). Until they are set, the
    /// pages are in English.
    pub fn new(language: impl Into<Cow<'static, str>>) -> Self {
        Self {
            language: language.into(),
            ..Self::ENGLISH
        }
    }

    /// Returns the default texts.
    #[must_use]
    pub fn english() -> &'static Self {
        static ENGLISH: PageTexts = PageTexts::ENGLISH;
        &ENGLISH
    }

    /// Returns the texts in the language that a request prefers by its `Accept-Language` (RFC 9110
    /// section 12.5.4), or the first ones if it prefers none of them.
    ///
    /// A preference for `de-CH` is met by `de`, and one for `pt` by `pt-BR`. If there are no texts
    /// at all, these are the English ones.
    ///
    /// ```
    /// # use http::Request;
    /// # use tower_oauth2_client::connect::PageTexts;
    /// let texts = [PageTexts::english().clone(), PageTexts::new("de")];
    /// let request = Request::get("/").header("accept-language", "fr, de-CH;q=0.8, en;q=0.5");
    /// let (request, ()) = request.body(())?.into_parts();
    /// assert_eq!(PageTexts::preferred(&request, &texts).language(), "de");
    /// # Ok::<(), http::Error>(())
    /// ```
    #[must_use]
    pub fn preferred<'a>(request: &Parts, texts: &'a [Self]) -> &'a Self {
        ranges(request)
            .iter()
            .find_map(|range| Self::in_range(range, texts))
            .or(texts.first())
            .unwrap_or(Self::english())
    }

    /// Sets that the language is written from right to left, such as Arabic or Hebrew.
    #[must_use]
    pub fn right_to_left(mut self) -> Self {
        self.is_right_to_left = true;
        self
    }

    /// Sets the page for a request to start that may come from another site, and the label of its
    /// button, which continues.
    #[must_use]
    pub fn confirm(mut self, text: PageText, button: impl Into<Cow<'static, str>>) -> Self {
        self.confirm = Some((text, button.into()));
        self
    }

    /// Sets the page for a tenant whose tokens have been saved.
    #[must_use]
    pub fn connected(mut self, text: PageText) -> Self {
        self.connected = Some(text);
        self
    }

    /// Sets the page that is shown after the customer or the provider has denied access.
    #[must_use]
    pub fn denied(mut self, text: PageText) -> Self {
        self.denied = Some(text);
        self
    }

    /// Sets the page for a tenant that has no grant any more, or never had one.
    #[must_use]
    pub fn disconnected(mut self, text: PageText) -> Self {
        self.disconnected = Some(text);
        self
    }

    /// Sets the label of the link that starts again. Some pages have it: after a denial, and after
    /// a failure where that can help.
    #[must_use]
    pub fn start_again(mut self, label: impl Into<Cow<'static, str>>) -> Self {
        self.start_again = Some(label.into());
        self
    }

    /// Sets the pages for failures. If the function returns `None`, the page is in English.
    ///
    /// [`ConnectFailure::kind`] says what has failed. If the provider has sent an OAuth error code,
    /// the page also shows that, for the program's support.
    #[must_use]
    pub fn failed(
        mut self,
        text: impl Fn(&ConnectFailure) -> Option<PageText> + Send + Sync + 'static,
    ) -> Self {
        self.failed = Some(Arc::new(text));
        self
    }

    /// Returns the language of the texts.
    #[must_use]
    pub fn language(&self) -> &str {
        &self.language
    }

    pub(super) fn confirm_page(&self) -> (Localized<'_, PageText>, Localized<'_, str>) {
        match &self.confirm {
            Some((text, button)) => (self.localized(text), self.localized(&**button)),
            None => (Localized::english(&CONFIRM), Localized::english("Continue")),
        }
    }

    pub(super) fn connected_page(&self) -> Localized<'_, PageText> {
        self.or_english(self.connected.as_ref(), &CONNECTED)
    }

    pub(super) fn denied_page(&self) -> Localized<'_, PageText> {
        self.or_english(self.denied.as_ref(), &DENIED)
    }

    pub(super) fn disconnected_page(&self) -> Localized<'_, PageText> {
        self.or_english(self.disconnected.as_ref(), &DISCONNECTED)
    }

    pub(super) fn start_again_label(&self) -> Localized<'_, str> {
        self.or_english(self.start_again.as_deref(), "Start again")
    }

    /// The text for a failure, if there is one in this language.
    pub(super) fn failed_page(&self, failure: &ConnectFailure) -> Option<PageText> {
        self.failed.as_ref().and_then(|text| text(failure))
    }

    pub(super) fn localized<'a, T: ?Sized>(&'a self, value: &'a T) -> Localized<'a, T> {
        Localized {
            value,
            language: &self.language,
            is_right_to_left: self.is_right_to_left,
        }
    }

    fn or_english<'a, T: ?Sized>(
        &'a self,
        own: Option<&'a T>,
        english: &'static T,
    ) -> Localized<'a, T> {
        own.map_or(Localized::english(english), |own| self.localized(own))
    }

    /// The best match of a language range: the language itself, a more general one, or a more
    /// special one.
    fn in_range<'a>(range: &str, texts: &'a [Self]) -> Option<&'a Self> {
        if range == "*" {
            return texts.first();
        }
        let general = texts
            .iter()
            .filter(|texts| is_prefix(&texts.language, range))
            .max_by_key(|texts| texts.language.len());
        general.or_else(|| texts.iter().find(|texts| is_prefix(range, &texts.language)))
    }

    const ENGLISH: Self = Self {
        language: Cow::Borrowed("en"),
        is_right_to_left: false,
        confirm: None,
        connected: None,
        denied: None,
        disconnected: None,
        start_again: None,
        failed: None,
    };
}

impl fmt::Debug for PageTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageTexts")
            .field("language", &self.language)
            .finish_non_exhaustive()
    }
}

/// A text, and the language that it is in.
pub(super) struct Localized<'a, T: ?Sized> {
    pub(super) value: &'a T,
    pub(super) language: &'a str,
    pub(super) is_right_to_left: bool,
}

impl<'a, T: ?Sized> Localized<'a, T> {
    pub(super) fn english(value: &'a T) -> Self {
        Self {
            value,
            language: "en",
            is_right_to_left: false,
        }
    }
}

/// The language ranges of a request, the preferred ones first.
fn ranges(request: &Parts) -> Vec<&str> {
    let mut ranges: Vec<(f32, &str)> = request
        .headers
        .get_all(ACCEPT_LANGUAGE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(range)
        .take(MAX_RANGES)
        .collect();
    // Stable: ranges of the same weight stay in their order.
    ranges.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    ranges.into_iter().map(|(_, range)| range).collect()
}

/// A language range and its weight. `None` if it is excluded.
fn range(text: &str) -> Option<(f32, &str)> {
    let (range, parameters) = text.split_once(';').unwrap_or((text, "q=1"));
    let weight = parameters.trim().strip_prefix("q=")?.trim();
    let weight = weight.parse().ok().filter(|weight| *weight > 0.0)?;
    Some((weight, range.trim()))
}

/// Whether a language tag begins with these subtags.
fn is_prefix(prefix: &str, tag: &str) -> bool {
    let (mut tag, mut prefix) = (tag.split('-'), prefix.split('-'));
    prefix.all(|subtag| {
        tag.next()
            .is_some_and(|tag| tag.eq_ignore_ascii_case(subtag))
    })
}

/// More than browsers send.
const MAX_RANGES: usize = 50;

static CONFIRM: PageText = PageText::borrowed(
    "Connect your account",
    "You are about to connect your account at another service. If you did not want to do this, \
     please close this page.",
);
static CONNECTED: PageText = PageText::borrowed(
    "Connected",
    "Your account is now connected. You can close this page.",
);
static DENIED: PageText = PageText::borrowed(
    "Not connected",
    "Access was not granted, so nothing has changed.",
);
static DISCONNECTED: PageText =
    PageText::borrowed("Disconnected", "Your account is no longer connected.");

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn preferred_language_is_that_of_the_request() {
        let texts = ["en", "de", "pt-BR", "zh-Hant"].map(PageTexts::new);
        for (header, expected) in [
            ("", "en"),
            ("de", "de"),
            ("DE-ch", "de"),
            ("fr, de;q=0.5, en;q=0.4", "de"),
            ("en;q=0.4,de;q=0.5", "de"),
            ("de;q=0,en", "en"),
            ("pt", "pt-BR"),
            ("pt-BR", "pt-BR"),
            ("pt-PT", "en"),
            ("zh-Hans, zh-Hant-TW;q=0.9", "zh-Hant"),
            ("fr, *;q=0.1, de;q=0.01", "en"),
            ("d", "en"),
            ("de;q=x, -;;,=, ;q=NaN, de;q=-1", "en"),
        ] {
            let request = Request::get("/").header(ACCEPT_LANGUAGE, header);
            let (request, ()) = request.body(()).unwrap().into_parts();
            let preferred = PageTexts::preferred(&request, &texts);
            assert_eq!(preferred.language(), expected, "{header}");
        }
        let (request, ()) = Request::new(()).into_parts();
        assert_eq!(PageTexts::preferred(&request, &texts).language(), "en");
        assert_eq!(PageTexts::preferred(&request, &[]).language(), "en");
    }
}
