//! The events on the status page: a search, and one line for accepted API requests in a row.
//!
//! A client sends far more API requests than anything else. They would hide the events between
//! them, such as refreshes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use jiff::Timestamp;

use super::html::{Row, escaped, row, table};
use crate::sandbox::{
    event::{Event, EventKind, TokenHash},
    form::Form,
};

/// The parameters of the page: how it reloads, and which events it shows.
pub(super) struct View {
    pub(super) follows: bool,
    /// Each accepted API request is a line.
    shows_each: bool,
    /// Only events whose description contains this text.
    search: Option<String>,
}

impl View {
    pub(super) fn from_query(query: &str) -> Self {
        let form = Form::parse(query.as_bytes());
        Self {
            follows: form.raw_field("follow").is_some(),
            shows_each: form.raw_field("each").is_some(),
            search: form.field("search").map(str::to_owned),
        }
    }

    /// The URL of the page with the same events, as HTML.
    pub(super) fn url(&self, path: &str, follows: bool) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if follows {
            query.append_pair("follow", "yes");
        }
        if self.shows_each {
            query.append_pair("each", "yes");
        }
        if let Some(search) = &self.search {
            query.append_pair("search", search);
        }
        let query = query.finish();
        let separator = if query.is_empty() { "" } else { "?" };
        escaped(&format!("{path}{separator}{query}"))
    }

    /// The form of the search, and the latest events that match it.
    pub(super) fn events<'a>(
        &self,
        path: &str,
        events: impl DoubleEndedIterator<Item = &'a Event>,
    ) -> String {
        let search = self.search.as_ref().map(|search| search.to_lowercase());
        let mut matching = events.rev().filter(|event| {
            search.as_ref().is_none_or(|search| {
                let description = event.kind.to_string().to_lowercase();
                description.contains(search)
            })
        });
        let lines = lines(&mut matching, self.shows_each, MAX_LINES);
        let earlier = if matching.next().is_some() {
            format!(
                "<p class=\"note\">Earlier events are not shown; the limit is {MAX_LINES} lines.</p>\n"
            )
        } else {
            String::new()
        };
        let rows: Vec<Row> = lines.iter().map(Line::row).collect();
        let body = match &self.search {
            Some(search) if rows.is_empty() => format!(
                "<p role=\"status\">No event contains “{}”.</p>\n",
                escaped(search)
            ),
            _ => table(&["Time", "Event"], &rows),
        };
        format!("{}{body}{earlier}", self.form(path))
    }

    fn form(&self, path: &str) -> String {
        let follow = if self.follows {
            "<input type=\"hidden\" name=\"follow\" value=\"yes\">\n"
        } else {
            ""
        };
        let checked = if self.shows_each { " checked" } else { "" };
        format!(
            "<form class=\"buttons\" role=\"search\" action=\"{path}#events\">\n{follow}\
             <div><label for=\"search\">Events that contain</label>\n\
             <input id=\"search\" name=\"search\" type=\"search\" value=\"{search}\"></div>\n\
             <div class=\"choice\"><input id=\"each\" name=\"each\" type=\"checkbox\" value=\"yes\"{checked}>\n\
             <label for=\"each\">Each accepted API request</label></div>\n\
             <button>Show</button>\n</form>\n",
            search = escaped(self.search.as_deref().unwrap_or_default()),
        )
    }
}

/// A line of the list.
enum Line<'a> {
    Event(&'a Event),
    Accepted(Accepted),
}

/// Accepted API requests with no other event between them.
struct Accepted {
    first: SystemTime,
    last: SystemTime,
    /// By the name of the endpoint.
    requests: BTreeMap<String, usize>,
    tokens: BTreeSet<TokenHash>,
}

/// The first lines of a list of events, the latest of which is the first.
fn lines<'a>(
    events: &mut impl Iterator<Item = &'a Event>,
    shows_each: bool,
    limit: usize,
) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    let mut events = events.peekable();
    while lines.len() < limit
        && let Some(event) = events.next()
    {
        let next = events.peek().and_then(|next| accepted(next));
        let (Some(_), Some(_), false) = (accepted(event), next, shows_each) else {
            lines.push(Line::Event(event));
            continue;
        };
        let mut line = Accepted {
            first: event.at,
            last: event.at,
            requests: BTreeMap::new(),
            tokens: BTreeSet::new(),
        };
        line.add(event);
        while let Some(event) = events.next_if(|event| accepted(event).is_some()) {
            line.add(event);
        }
        lines.push(Line::Accepted(line));
    }
    lines
}

/// The endpoint and the token of an accepted API request.
fn accepted(event: &Event) -> Option<(String, TokenHash)> {
    match &event.kind {
        EventKind::Authorized { endpoint, token } => Some((format!("{endpoint:?}"), *token)),
        _ => None,
    }
}

impl Accepted {
    /// Adds an earlier request.
    fn add(&mut self, event: &Event) {
        let Some((endpoint, token)) = accepted(event) else {
            return;
        };
        self.first = event.at;
        *self.requests.entry(endpoint).or_default() += 1;
        self.tokens.insert(token);
    }

    fn description(&self) -> String {
        let count: usize = self.requests.values().sum();
        let requests: Vec<_> = self
            .requests
            .iter()
            .map(|(endpoint, count)| format!("{endpoint} {count}"))
            .collect();
        let mut tokens = self.tokens.iter();
        let tokens = match (tokens.next(), tokens.len()) {
            (Some(token), 0) => format!("access token {token}"),
            _ => format!("{} access tokens", self.tokens.len()),
        };
        format!(
            "{count} API requests with {tokens} accepted: {}",
            requests.join(", ")
        )
    }
}

impl Line<'_> {
    fn row(&self) -> Row {
        match self {
            Self::Event(event) => row(&[&time(event.at), &event.kind]),
            Self::Accepted(line) if time(line.first) == time(line.last) => {
                row(&[&time(line.last), &line.description()])
            }
            Self::Accepted(line) => {
                let times = format!("{} to {}", time(line.first), time(line.last));
                row(&[&times, &line.description()])
            }
        }
    }
}

fn time(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or_default();
    at.strftime("%m-%d %H:%M:%S").to_string()
}

const MAX_LINES: usize = 40;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sandbox::fault::Endpoint;

    fn event(seconds: u64, kind: EventKind) -> Event {
        Event {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            kind,
        }
    }

    fn read(seconds: u64, endpoint: Endpoint, token: &str) -> Event {
        let token = TokenHash::of(token);
        event(seconds, EventKind::Authorized { endpoint, token })
    }

    fn events() -> Vec<Event> {
        vec![
            read(1, Endpoint::Company, "a"),
            event(2, EventKind::GrantRevoked { grant: 7 }),
            read(3, Endpoint::Members, "a"),
            read(4, Endpoint::Company, "a"),
            read(5, Endpoint::Members, "a"),
            event(6, EventKind::GrantRevoked { grant: 8 }),
            read(7, Endpoint::Company, "a"),
            read(7, Endpoint::Company, "b"),
        ]
    }

    fn page(query: &str) -> String {
        View::from_query(query).events("/sandbox", events().iter())
    }

    #[test]
    fn accepted_requests_in_a_row_are_one_line() {
        let page = page("");
        let a = TokenHash::of("a");
        for row in [
            "<td>01-01 00:00:07</td><td>2 API requests with 2 access tokens accepted: Company 2</td>"
                .to_owned(),
            "<td>01-01 00:00:06</td><td>grant 8 revoked because of reuse</td>".to_owned(),
            format!(
                "<td>01-01 00:00:03 to 01-01 00:00:05</td><td>3 API requests with access token {a} \
                 accepted: Company 1, Members 2</td>"
            ),
            format!("<td>01-01 00:00:01</td><td>Company accepted access token {a}</td>"),
        ] {
            assert!(page.contains(&row), "{row}: {page}");
        }
        assert_eq!(page.matches("<td>").count(), 2 * 5);
    }

    #[test]
    fn each_accepted_request_is_a_line_if_wanted() {
        let page = page("each=yes");
        assert_eq!(page.matches("<td>").count(), 2 * 8);
        assert!(page.contains(" checked"));
    }

    #[test]
    fn search_shows_the_events_that_contain_it() {
        let page = page("search=GRANT+8");
        assert_eq!(page.matches("<td>").count(), 2);
        assert!(page.contains("grant 8") && page.contains("value=\"GRANT 8\""));
        // The requests that match are in a row.
        let page = self::page("search=company+accepted");
        assert!(
            page.contains("4 API requests") && !page.contains("revoked"),
            "{page}"
        );
    }

    #[test]
    fn hostile_search_stays_text() {
        let query = "follow&search=%22%3E%3Cscript%3E%26%27";
        let view = View::from_query(query);
        let page = view.events("/sandbox", events().iter());
        assert!(page.contains("No event contains “&quot;&gt;&lt;script&gt;&amp;&#39;”."));
        assert!(!page.contains("<script"), "{page}");
        let url = view.url("/sandbox", true);
        assert_eq!(
            url,
            "/sandbox?follow=yes&amp;search=%22%3E%3Cscript%3E%26%27"
        );
    }

    #[test]
    fn lines_are_limited() {
        let events: Vec<_> = (0..100)
            .map(|grant| event(grant, EventKind::GrantRevoked { grant }))
            .collect();
        let page = View::from_query("").events("/sandbox", events.iter());
        assert_eq!(page.matches("<td>").count(), 2 * MAX_LINES);
        assert!(page.contains("Earlier events are not shown"));
    }
}
