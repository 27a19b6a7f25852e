//! Cursor pagination.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::sandbox::form::Form;

/// The page that a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    start: usize,
    limit: usize,
}

impl Page {
    /// Reads `cursor` and `limit`, or returns a message about the query.
    pub(super) fn from_query(query: &Form) -> Result<Self, &'static str> {
        if query.has_repeated() {
            return Err("a parameter was sent more than once");
        }
        let limit = match query.raw_field("limit") {
            None => MAX_LIMIT,
            Some(limit) => limit
                .parse()
                .ok()
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                .ok_or("limit is not a number from 1 to 100")?,
        };
        let start = match query.raw_field("cursor") {
            None => 0,
            Some(cursor) => decoded(cursor).ok_or("cursor was not issued by this API")?,
        };
        Ok(Self { start, limit })
    }

    /// The JSON of this page of `all`, with a cursor if there are more items.
    pub(super) fn to_json(&self, all: impl Iterator<Item = Value>) -> Value {
        let mut rest = all.skip(self.start);
        let items: Vec<_> = rest.by_ref().take(self.limit).collect();
        let next = self.start.saturating_add(items.len());
        let mut page = json!({ "items": items });
        // The Partner API omits empty values, such as the cursor on the last page.
        if rest.next().is_some() {
            page["next_cursor"] = encoded(next).into();
        }
        page
    }
}

fn encoded(start: usize) -> String {
    URL_SAFE_NO_PAD.encode(format!("start:{start}"))
}

fn decoded(cursor: &str) -> Option<usize> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    text.strip_prefix("start:")?.parse().ok()
}

const MAX_LIMIT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<Page, &'static str> {
        Page::from_query(&Form::parse(query.as_bytes()))
    }

    #[test]
    fn following_the_cursors_returns_every_item_once() {
        let mut seen = Vec::new();
        let mut query = "limit=3".to_owned();
        loop {
            let page = page(&query).unwrap().to_json((0..7).map(Value::from));
            seen.extend(page["items"].as_array().unwrap().iter().cloned());
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(cursor) => query = format!("limit=3&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(seen, (0..7).map(Value::from).collect::<Vec<_>>());
    }

    #[test]
    fn invalid_limits_and_cursors_are_refused() {
        for query in [
            "limit=",
            "cursor=",
            "limit=1&limit=1",
            "limit=0",
            "limit=101",
            "limit=-1",
            "limit=x",
            "cursor=x",
            "cursor=////",
        ] {
            assert!(page(query).is_err(), "{query}");
        }
        assert_eq!(
            page(""),
            Ok(Page {
                start: 0,
                limit: 100
            })
        );
    }

    #[test]
    fn a_cursor_beyond_the_end_returns_an_empty_page() {
        let far = format!("cursor={}", encoded(usize::MAX));
        let page = page(&far).unwrap().to_json((0..7).map(Value::from));
        assert_eq!(page, json!({ "items": [] }));
    }
}
