//! Cursor pagination.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::sandbox::form::Form;

/// The page a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    start: usize,
    limit: usize,
}

impl Page {
    /// Reads `cursor` and `limit`, or says what is wrong with the query.
    pub(super) fn asked_for(query: &Form) -> Result<Self, &'static str> {
        if query.repeated().is_some() {
            return Err("a parameter was sent more than once");
        }
        let limit = match query.sent("limit") {
            None => LARGEST,
            Some(limit) => limit
                .parse()
                .ok()
                .filter(|limit| (1..=LARGEST).contains(limit))
                .ok_or("limit is not a number from 1 to 100")?,
        };
        let start = match query.sent("cursor") {
            None => 0,
            Some(cursor) => decoded(cursor).ok_or("cursor is not one of ours")?,
        };
        Ok(Self { start, limit })
    }

    /// This page of `all`, and a cursor if there is more.
    pub(super) fn of(&self, all: impl Iterator<Item = Value>) -> Value {
        let mut rest = all.skip(self.start);
        let items: Vec<_> = rest.by_ref().take(self.limit).collect();
        let next = self.start.saturating_add(items.len());
        let mut page = json!({ "items": items });
        // The Partner API leaves empty values out, the last page's cursor among them.
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

const LARGEST: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Page, &'static str> {
        Page::asked_for(&Form::parse(query.as_bytes()))
    }

    #[test]
    fn a_walk_sees_everything_once() {
        let mut seen = Vec::new();
        let mut query = "limit=3".to_owned();
        loop {
            let page = asked(&query).unwrap().of((0..7).map(Value::from));
            seen.extend(page["items"].as_array().unwrap().iter().cloned());
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(cursor) => query = format!("limit=3&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(seen, (0..7).map(Value::from).collect::<Vec<_>>());
    }

    #[test]
    fn wrong_limits_and_cursors_are_refused() {
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
            assert!(asked(query).is_err(), "{query}");
        }
        assert_eq!(
            asked(""),
            Ok(Page {
                start: 0,
                limit: 100
            })
        );
    }

    #[test]
    fn a_cursor_beyond_the_end_gives_an_empty_page() {
        let far = format!("cursor={}", encoded(usize::MAX));
        let page = asked(&far).unwrap().of((0..7).map(Value::from));
        assert_eq!(page, json!({ "items": [] }));
    }
}
