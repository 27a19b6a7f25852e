//! The HTML of the default pages. It loads and runs nothing.

use super::texts::{Localized, PageText};

/// A document.
pub(super) struct Document<'a> {
    pub(super) text: Localized<'a, PageText>,
    /// An OAuth error code, for the program's support.
    pub(super) code: Option<String>,
    /// Whether screen readers announce the text at once.
    pub(super) is_alert: bool,
    /// HTML in the head and at the end.
    pub(super) head: &'static str,
    pub(super) end: String,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: Localized<'a, PageText>) -> Self {
        Self {
            text,
            code: None,
            is_alert: false,
            head: "",
            end: String::new(),
        }
    }

    pub(super) fn to_html(&self) -> String {
        let PageText { title, text } = self.text.value;
        let (title, text) = (escaped(title), escaped(text));
        let code = self.code.as_ref().map_or_else(String::new, |code| {
            format!(" (<code>{}</code>)", escaped(code))
        });
        format!(
            "<!DOCTYPE html>\n<html{language}>\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n{head}</head>\n\
             <body>\n<main>\n<h1>{title}</h1>\n<p{role}>{text}{code}</p>\n{end}</main>\n</body>\n</html>\n",
            language = self.text.attributes(),
            role = if self.is_alert { " role=\"alert\"" } else { "" },
            head = self.head,
            end = self.end,
        )
    }
}

impl<T: ?Sized> Localized<'_, T> {
    /// The attributes of an element with the text.
    fn attributes(&self) -> String {
        let direction = if self.is_right_to_left { "rtl" } else { "ltr" };
        format!(" lang=\"{}\" dir=\"{direction}\"", escaped(self.language))
    }
}

/// A link. `reference` is HTML.
pub(super) fn link(reference: &str, label: &Localized<'_, str>) -> String {
    let (attributes, label) = (label.attributes(), escaped(label.value));
    format!("<p><a class=\"button\" href=\"{reference}\"{attributes}>{label}</a></p>\n")
}

/// A button that sends the URL of its page.
pub(super) fn button(label: &Localized<'_, str>) -> String {
    let (attributes, label) = (label.attributes(), escaped(label.value));
    format!("<form method=\"post\"><button class=\"button\"{attributes}>{label}</button></form>\n")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The policies of the pages contain its hash.
const STYLE: &str = "\
    :root{color-scheme:light dark;--text:#1b1f24;--page:#f3f5f7;--card:#fff;--line:#d5dbe1;--main:#1b3a57;--on-main:#fff}\
    @media (prefers-color-scheme:dark){:root{--text:#e6e9ed;--page:#14181d;--card:#1d232a;--line:#3a444f;--main:#9cc3ee;--on-main:#10202f}}\
    body{margin:0;padding:1rem;font:1rem/1.5 system-ui,sans-serif;color:var(--text);background:var(--page)}\
    main{max-width:34rem;margin:1rem auto;padding:1.5rem;background:var(--card);border:1px solid var(--line);border-radius:8px}\
    h1{margin:0 0 1rem;font-size:1.5rem;line-height:1.25}\
    h1,p{overflow-wrap:anywhere}p{margin:0 0 1rem}main>:last-child{margin-bottom:0}\
    .button{display:inline-block;padding:.5rem 1rem;font:inherit;text-decoration:none;border:1px solid var(--main);border-radius:4px;background:var(--main);color:var(--on-main);cursor:pointer}\
    .button:focus-visible{outline:3px solid var(--main);outline-offset:2px}";

/// The source of the style sheet in a content security policy. A macro, because `concat!` takes
/// literals only.
macro_rules! style_hash {
    () => {
        "'sha256-YftpUectgbWC005LUt9z5qU5OoA3HwOSEyidAsmpFu0='"
    };
}
pub(super) use style_hash;

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::*;

    #[test]
    fn style_has_the_hash_of_the_policies() {
        let hash = BASE64_STANDARD.encode(hmac_sha256::Hash::hash(STYLE.as_bytes()));
        assert_eq!(style_hash!(), format!("'sha256-{hash}'"));
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(
            escaped("<a href=\"x\">'&'</a>"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;"
        );
    }
}
