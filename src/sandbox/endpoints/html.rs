//! The HTML that all pages share. It loads nothing.

use std::fmt::Display;

use http::StatusCode;

use crate::sandbox::response::{self, SandboxResponse};

/// A page that reports an error to the user, where a redirect is not possible.
pub(super) fn error_page(status: StatusCode, message: &str) -> SandboxResponse {
    let body = format!(
        "<h1>Something went wrong</h1>\n<p role=\"alert\">{}</p>",
        escaped(message)
    );
    response::html(status, page("Error", &body))
}

/// A page with `body`, which is HTML.
pub(super) fn page(title: &str, body: &str) -> String {
    document(title, "", &format!("<main>\n{body}\n</main>"))
}

/// A document with `head` and `body`, which are HTML.
pub(super) fn document(title: &str, head: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title} - Justworks sandbox</title>\n<style>{STYLE}</style>\n{head}</head>\n\
         <body>\n<header>Justworks sandbox</header>\n{body}\n</body>\n</html>\n",
        title = escaped(title),
    )
}

/// A heading and a table. The title, the columns and the rows are HTML.
pub(super) fn section(title: &str, columns: &[&str], rows: &[String]) -> String {
    if rows.is_empty() {
        return format!("<h2>{title}</h2>\n<p class=\"note\">None.</p>\n");
    }
    let columns = columns
        .iter()
        .map(|column| format!("<th>{column}</th>"))
        .collect::<Vec<_>>()
        .concat();
    format!(
        "<h2>{title}</h2>\n<table>\n<tr>{columns}</tr>\n{}</table>\n",
        rows.concat()
    )
}

/// A table row. The cells are text.
pub(super) fn row(cells: &[&dyn Display]) -> String {
    let cells = cells
        .iter()
        .map(|cell| format!("<td>{}</td>", escaped(&cell.to_string())))
        .collect::<Vec<_>>()
        .concat();
    format!("<tr>{cells}</tr>\n")
}

/// Escapes text for use between tags and in quoted attributes.
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
    fn escaped_text_contains_no_markup() {
        assert_eq!(
            escaped(r#"<script>alert("1&2")</script>'"#),
            "&lt;script&gt;alert(&quot;1&amp;2&quot;)&lt;/script&gt;&#39;"
        );
        assert_eq!(escaped("Ünï cödé"), "Ünï cödé");
    }
}
