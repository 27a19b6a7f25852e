//! The members of a JSON object, read one by one.
//!
//! A member that cannot be read costs nothing but itself. A strict JSON parser rejects the whole
//! response because of one, and a rotated refresh token would be lost with it (P24). This reader
//! therefore accepts:
//!
//! * text before and after the object, such as a byte order mark or a warning of the server,
//! * a member that is given twice: the last one wins, unless it is blank,
//! * values of any type, depth and encoding in other members,
//! * an object that is cut off, up to the last complete value.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use crate::token::{NamedValues, unescaped};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The members of a token response.
#[derive(Default)]
pub(super) struct Members {
    pub(super) access_token: Member,
    pub(super) token_type: Member,
    pub(super) expires_at: Member,
    pub(super) expires_in: Member,
    pub(super) refresh_token: Member,
    pub(super) scope: Member,
    pub(super) error: Member,
    /// All others: strings as text, and other values as JSON.
    pub(super) others: NamedValues,
    /// Whether the object is cut off or malformed, so that members may be missing.
    pub(super) is_damaged: bool,
}

impl Members {
    /// Reads the members of the first object in `body`. `None` if there is none.
    ///
    /// A web page is never read, because documentation contains examples of token responses.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        let body = body.trim_ascii();
        if body.starts_with(b"<") {
            return None;
        }
        let mut members = Self::default();
        let mut reader = Reader::at_object(body)?;
        while let Some((name, value, json)) = reader.next_member() {
            members.set(&name, value, json);
        }
        members.is_damaged = reader.is_damaged;
        if members.refresh_token.text().is_none()
            && serde_json::from_slice::<IgnoredAny>(body).is_err()
        {
            // A quote or a brace too many or too few hides the members after it.
            members.refresh_token = last_text(body, b"\"refresh_token\"");
        }
        Some(members)
    }

    fn set(&mut self, name: &str, value: Member, json: &[u8]) {
        let member = match name {
            "access_token" => &mut self.access_token,
            "token_type" => &mut self.token_type,
            "expires_at" => &mut self.expires_at,
            "expires_in" => &mut self.expires_in,
            "refresh_token" => &mut self.refresh_token,
            "scope" => &mut self.scope,
            "error" => &mut self.error,
            other => {
                let text = match &value {
                    Member::Text(text) => Some(text.as_str()),
                    _ => std::str::from_utf8(json).ok(),
                };
                if let Some(text) = text.filter(|text| *text != "null") {
                    self.others.set(other, text);
                }
                return;
            }
        };
        // A second value that says less does not replace the first. An error is no value to keep.
        if name == "error" || value.content() >= member.content() {
            *member = value;
        }
    }
}

/// Whether the first object in `body` has a value at `path` that `is_match` accepts: the names of
/// nested members, separated by dots. Any element of an array may be the value.
pub(super) fn has_member(body: &[u8], path: &str, is_match: impl Fn(&str) -> bool) -> bool {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let Some(mut object) = Reader::at_object(body.trim_ascii()) else {
        return false;
    };
    let mut names = path.split('.').peekable();
    while let Some(name) = names.next() {
        let Some(mut value) = object.find(name) else {
            return false;
        };
        if names.peek().is_none() {
            return value.any_scalar(is_match);
        }
        let Some(nested) = value.rest.strip_prefix(b"{") else {
            return false;
        };
        object = Reader::at(nested);
    }
    false
}

/// A value of any JSON type.
#[derive(Default)]
pub(super) enum Member {
    /// Missing, or without a value: `null`, `false`, or an empty array or object.
    #[default]
    Absent,
    Text(Zeroizing<String>),
    /// A number as it is written, so that a token of digits is unchanged.
    Number(Zeroizing<String>, f64),
    /// The texts of an array.
    List(Vec<Zeroizing<String>>),
    /// Another type, or text that cannot be decoded.
    Other,
}

/// How much a value says. A later value replaces an earlier one that says no more.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Content {
    None,
    Unreadable,
    Readable,
}

impl Member {
    fn content(&self) -> Content {
        match self {
            Self::Absent => Content::None,
            Self::Other => Content::Unreadable,
            Self::Text(text) if is_blank(text) => Content::None,
            Self::Text(_) | Self::Number(..) | Self::List(_) => Content::Readable,
        }
    }

    /// Whether the member is missing or has no content.
    pub(super) fn is_blank(&self) -> bool {
        self.content() == Content::None
    }

    /// The text, or the digits of a number, or the only text of an array. `None` if it is blank.
    pub(super) fn text(&self) -> Option<&str> {
        let text = match self {
            Self::Text(text) => text,
            Self::Number(digits, number)
                if *number > 0.0 && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                digits
            }
            Self::List(texts) => match &texts[..] {
                [text] => text,
                _ => return None,
            },
            Self::Absent | Self::Number(..) | Self::Other => return None,
        };
        (!is_blank(text)).then_some(text.as_str())
    }

    /// The text, or the texts of an array joined by spaces.
    pub(super) fn words(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text.as_str())),
            Self::List(texts) => {
                let texts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
                Some(Cow::Owned(texts.join(" ")))
            }
            Self::Absent | Self::Number(..) | Self::Other => None,
        }
    }
}

fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || c.is_control())
}

/// A position in a JSON text.
struct Reader<'a> {
    rest: &'a [u8],
    is_damaged: bool,
}

impl<'a> Reader<'a> {
    /// A reader behind the brace that opens the first object.
    fn at_object(body: &'a [u8]) -> Option<Self> {
        let mut rest = body;
        if let Some(rest) = body.strip_prefix(b"{") {
            return Some(Self::at(rest));
        }
        loop {
            let at = rest.iter().position(|byte| *byte == b'{')?;
            rest = rest.get(at + 1..)?;
            // Other braces may stand in a text before the object.
            if rest.trim_ascii_start().starts_with(b"\"") {
                return Some(Self::at(rest));
            }
        }
    }

    fn at(rest: &'a [u8]) -> Self {
        Self {
            rest,
            is_damaged: false,
        }
    }

    /// The next member with its value as JSON, or `None` at the end of the object or if the rest
    /// cannot be read.
    fn next_member(&mut self) -> Option<(Zeroizing<String>, Member, &'a [u8])> {
        let name = self.next_name()?;
        let json = self.rest;
        let value = self.value();
        Some((name, value, &json[..json.len() - self.rest.len()]))
    }

    /// The name of the next member, whose value comes next. It is empty if it cannot be decoded.
    /// `None` at the end of the object, or if the rest cannot be read.
    fn next_name(&mut self) -> Option<Zeroizing<String>> {
        loop {
            self.skip(|byte| byte.is_ascii_whitespace() || byte == b',');
            let Some((first, rest)) = self.rest.split_first() else {
                self.is_damaged = true;
                return None;
            };
            match first {
                b'}' => return None,
                b'"' => {}
                _ => {
                    // No name: the next member may have one.
                    self.is_damaged = true;
                    self.rest = rest;
                    continue;
                }
            }
            let name = self.string().unwrap_or_default();
            self.skip(|byte| byte.is_ascii_whitespace());
            let Some(rest) = self.rest.strip_prefix(b":") else {
                self.is_damaged = true;
                continue;
            };
            self.rest = rest;
            self.skip(|byte| byte.is_ascii_whitespace());
            return Some(name);
        }
    }

    /// A reader at the value of the last member with this name.
    fn find(&mut self, name: &str) -> Option<Self> {
        let mut found = None;
        while let Some(member) = self.next_name() {
            let value = Self::at(self.rest);
            self.value();
            if *member == name {
                found = Some(value);
            }
        }
        found
    }

    /// Whether the value, or one of the elements of an array, is accepted as a text.
    fn any_scalar(&mut self, is_match: impl Fn(&str) -> bool) -> bool {
        let Some(elements) = self.rest.strip_prefix(b"[") else {
            return self.scalar().is_some_and(|text| is_match(&text));
        };
        self.rest = elements;
        loop {
            self.skip(|byte| byte.is_ascii_whitespace() || byte == b',');
            match self.rest.first() {
                None | Some(b']' | b'}') => return false,
                Some(b'{' | b'[') => {
                    self.nested();
                }
                Some(_) if self.scalar().is_some_and(|text| is_match(&text)) => return true,
                Some(_) => {}
            }
        }
    }

    /// A text, or a number, truth value or `null` as it is written.
    fn scalar(&mut self) -> Option<Zeroizing<String>> {
        if self.rest.first() == Some(&b'"') {
            return self.string();
        }
        let is_end =
            |byte: &u8| matches!(byte, b',' | b'}' | b']' | b'"') || byte.is_ascii_whitespace();
        let length = self.rest.iter().position(is_end);
        let (word, rest) = self.rest.split_at(length.unwrap_or(self.rest.len()));
        // At least one byte, so that a loop over elements ends.
        self.rest = if word.is_empty() {
            rest.get(1..)?
        } else {
            rest
        };
        std::str::from_utf8(word)
            .ok()
            .map(|word| Zeroizing::new(word.to_owned()))
    }

    fn value(&mut self) -> Member {
        match self.rest.first() {
            Some(b'"') => self.string().map_or(Member::Other, Member::Text),
            Some(b'{' | b'[') => self.nested(),
            _ => self.literal(),
        }
    }

    /// A string. `None` if it is cut off or cannot be decoded.
    fn string(&mut self) -> Option<Zeroizing<String>> {
        let (_, inner) = self.rest.split_first()?;
        let Some(length) = end_of_string(inner) else {
            self.is_damaged = true;
            self.rest = &[];
            return None;
        };
        let (raw, rest) = inner.split_at_checked(length)?;
        self.rest = rest.get(1..).unwrap_or_default();
        unescaped(raw)
    }

    /// An array or object. The open brackets are on the heap, so the depth has no limit.
    fn nested(&mut self) -> Member {
        let is_array = self.rest.first() == Some(&b'[');
        let mut texts = Vec::new();
        let mut open = Vec::new();
        let (mut is_empty, mut is_texts_only) = (true, is_array);
        loop {
            let Some((first, rest)) = self.rest.split_first() else {
                self.is_damaged = true;
                return Member::Other;
            };
            match first {
                b'"' => {
                    is_empty = false;
                    match self.string() {
                        Some(text) if is_texts_only && open.len() == 1 => texts.push(text),
                        _ => is_texts_only = false,
                    }
                    continue;
                }
                b'{' | b'[' => {
                    is_empty &= open.is_empty();
                    is_texts_only &= open.is_empty();
                    open.push(if *first == b'{' { b'}' } else { b']' });
                }
                b'}' | b']' => self.is_damaged |= open.pop() != Some(*first),
                b',' => {}
                byte if byte.is_ascii_whitespace() => {}
                _ => (is_empty, is_texts_only) = (false, false),
            }
            self.rest = rest;
            if open.is_empty() {
                return match (is_empty, is_texts_only) {
                    (true, _) => Member::Absent,
                    (false, true) => Member::List(texts),
                    (false, false) => Member::Other,
                };
            }
        }
    }

    /// A number, `true`, `false`, `null`, or a word that JSON does not have.
    fn literal(&mut self) -> Member {
        let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b'"') || byte.is_ascii_whitespace();
        let Some(length) = self.rest.iter().position(is_end) else {
            // A number may go on behind the end.
            self.is_damaged = true;
            self.rest = &[];
            return Member::Other;
        };
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        let Ok(word) = std::str::from_utf8(word) else {
            return Member::Other;
        };
        let is_number = word.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        match word {
            "null" | "false" | "" => Member::Absent,
            number if is_number => match number.parse() {
                Ok(value) => Member::Number(Zeroizing::new(number.to_owned()), value),
                Err(_) => Member::Other,
            },
            _ => Member::Other,
        }
    }

    fn skip(&mut self, is_skipped: impl Fn(u8) -> bool) {
        let length = self.rest.iter().position(|byte| !is_skipped(*byte));
        self.rest = length.map_or(&[][..], |length| self.rest.split_at(length).1);
    }
}

/// The length of a string up to its closing quote. `inner` begins behind the opening one.
fn end_of_string(inner: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    inner.iter().position(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    })
}

/// The last text value of this quoted name, in a JSON text that cannot be read member by member.
fn last_text(body: &[u8], name: &[u8]) -> Member {
    let texts = body.windows(name.len()).enumerate();
    let texts = texts.filter(|(_, window)| *window == name);
    texts
        .filter_map(|(at, _)| {
            let rest = body.get(at + name.len()..)?.trim_ascii_start();
            let rest = rest.strip_prefix(b":")?.trim_ascii_start();
            let inner = rest.strip_prefix(b"\"")?;
            unescaped(inner.get(..end_of_string(inner)?)?)
        })
        .rfind(|text| !is_blank(text))
        .map_or(Member::Absent, Member::Text)
}
