//! The HTML that all pages share. It loads nothing.

use std::fmt::Display;

use http::StatusCode;

use crate::sandbox::{
    response::{self, SandboxResponse},
    style::STYLE,
};

/// A page that reports an error to the user, where a redirect is not possible.
pub(super) fn error_page(status: StatusCode, message: &str) -> SandboxResponse {
    let body = format!(
        "<h1>Something went wrong</h1>\n<p role=\"alert\">{}</p>",
        escaped(message)
    );
    response::html(status, page("Something went wrong", &body))
}

/// A page with `body`, which is HTML.
pub(super) fn page(title: &str, body: &str) -> String {
    document(title, "", &format!("<main>\n{body}\n</main>"))
}

/// A document with `head` and `body`, which are HTML.
pub(super) fn document(title: &str, head: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} – Justworks sandbox</title>\n<style>{STYLE}</style>\n{head}</head>\n\
         <body>\n<header>Justworks sandbox</header>\n{body}\n</body>\n</html>\n",
        title = escaped(title),
    )
}

/// The cells of a table row, as HTML.
pub(super) type Row = Vec<String>;

/// A table. The columns and the rows are HTML. On a phone, each row of a wide table is a card.
pub(super) fn table(columns: &[&str], rows: &[Row]) -> String {
    if rows.is_empty() {
        return "<p class=\"note\">None.</p>\n".to_owned();
    }
    let is_wide = columns.len() > 3;
    // A table that is displayed as cards is one for screen readers only if its roles are explicit.
    let role = |role: &str| {
        if is_wide {
            format!(" role=\"{role}\"")
        } else {
            String::new()
        }
    };
    let cell = |(column, cell): (&&str, &String)| {
        if is_wide {
            format!("<td role=\"cell\" data-label=\"{column}\">{cell}</td>")
        } else {
            format!("<td>{cell}</td>")
        }
    };
    let head = columns
        .iter()
        .map(|column| format!("<th scope=\"col\"{}>{column}</th>", role("columnheader")))
        .collect::<Vec<_>>()
        .concat();
    let body = rows
        .iter()
        .map(|row| {
            let cells: String = columns.iter().zip(row).map(cell).collect();
            format!("<tr{}>{cells}</tr>\n", role("row"))
        })
        .collect::<Vec<_>>()
        .concat();
    format!(
        "<table{class}{table}>\n<thead{group}><tr{row}>{head}</tr></thead>\n\
         <tbody{group}>\n{body}</tbody>\n</table>\n",
        class = if is_wide { " class=\"cards\"" } else { "" },
        table = role("table"),
        group = role("rowgroup"),
        row = role("row"),
    )
}

/// A table row. The cells are text.
pub(super) fn row(cells: &[&dyn Display]) -> Row {
    cells
        .iter()
        .map(|cell| escaped(&cell.to_string()))
        .collect()
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
