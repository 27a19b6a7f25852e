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

use crate::{
    provider::{Provider, TokenMember},
    token::{NamedValues, unescaped},
};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The members of a token response.
#[derive(Default)]
pub(super) struct Members {
    pub(super) access_token: Member,
    pub(super) token_type: Member,
    pub(super) expires_at: Member,
    pub(super) expires_in: Member,
    pub(super) refresh_token: Member,
    pub(super) refresh_token_expires_at: Member,
    pub(super) refresh_token_expires_in: Member,
    pub(super) scope: Member,
    pub(super) error: Member,
    /// All others: strings as text, and other values as JSON.
    pub(super) others: NamedValues,
    /// Whether the object is cut off or malformed, so that members may be missing.
    pub(super) is_damaged: bool,
}

impl Members {
    /// Reads the members of the first object in `body`, each at its path in the provider's data.
    /// `None` if there is none.
    ///
    /// A web page is never read, because documentation contains examples of token responses.
    pub(super) fn read(body: &[u8], provider: &Provider) -> Option<Self> {
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        let body = body.trim_ascii();
        if body.starts_with(b"<") {
            return None;
        }
        let mut members = Self::default();
        let mut reader = Reader::at_object(body)?;
        let paths = TokenMember::ALL.map(|member| (member, provider.response_member(member)));
        while let Some((name, value, json)) = reader.next_member() {
            reader.is_damaged |= members.add(&name, value, json, &paths);
        }
        members.is_damaged = reader.is_damaged;
        if members.refresh_token.text().is_none()
            && serde_json::from_slice::<IgnoredAny>(body).is_err()
        {
            // A quote or a brace too many or too few hides the members after it.
            let path = provider.response_member(TokenMember::RefreshToken);
            members.refresh_token = last_text(body, path);
        }
        Some(members)
    }

    /// Adds a member of the response. Returns whether an object with a member of it is damaged.
    fn add(&mut self, name: &str, value: Member, json: &[u8], paths: &[Path<'_>]) -> bool {
        let is_damaged = self.add_nested(name, json, paths);
        let found = at_end(paths, name);
        let is_other = match found {
            // RFC 6749 does not define these, so they are for the program too.
            Some(TokenMember::RefreshTokenExpiresIn | TokenMember::RefreshTokenExpiresAt) => true,
            Some(_) => false,
            None => name != "error",
        };
        if is_other {
            let text = match &value {
                Member::Text(text) => Some(text.as_str()),
                _ => std::str::from_utf8(json).ok(),
            };
            if let Some(text) = text.filter(|text| *text != "null") {
                self.others.set(name, text);
            }
        }
        match found {
            Some(member) => self.set(member, value),
            // The last one counts, whatever it says.
            None if name == "error" => self.error = value,
            None => {}
        }
        is_damaged
    }

    /// Adds the members of a nested object, of which only those of the paths count. Returns whether
    /// the object is damaged.
    fn add_nested(&mut self, name: &str, json: &[u8], paths: &[Path<'_>]) -> bool {
        let inner = paths.iter().filter_map(|(member, path)| {
            let (first, rest) = path.split_once('.')?;
            (first == name).then_some((*member, rest))
        });
        let inner: Vec<Path<'_>> = inner.collect();
        let Some(object) = json.strip_prefix(b"{").filter(|_| !inner.is_empty()) else {
            return false;
        };
        let mut reader = Reader::at(object);
        while let Some((name, value, json)) = reader.next_member() {
            reader.is_damaged |= self.add_nested(&name, json, &inner);
            if let Some(member) = at_end(&inner, &name) {
                self.set(member, value);
            }
        }
        reader.is_damaged
    }

    /// Sets a member. A second value that says less does not replace the first.
    fn set(&mut self, member: TokenMember, value: Member) {
        let member = match member {
            TokenMember::AccessToken => &mut self.access_token,
            TokenMember::TokenType => &mut self.token_type,
            TokenMember::ExpiresIn => &mut self.expires_in,
            TokenMember::ExpiresAt => &mut self.expires_at,
            TokenMember::RefreshToken => &mut self.refresh_token,
            TokenMember::RefreshTokenExpiresIn => &mut self.refresh_token_expires_in,
            TokenMember::RefreshTokenExpiresAt => &mut self.refresh_token_expires_at,
            TokenMember::Scope => &mut self.scope,
        };
        if value.content() >= member.content() {
            *member = value;
        }
    }
}

/// A member of a token response, with its path from an object on.
type Path<'a> = (TokenMember, &'a str);

/// The member whose path ends with this name. A dot in a name of the response separates nothing.
fn at_end(paths: &[Path<'_>], name: &str) -> Option<TokenMember> {
    let mut found = paths
        .iter()
        .filter(|(_, path)| *path == name && !name.contains('.'));
    found.next().map(|(member, _)| *member)
}

/// Whether the first object in `body` has a value at `path` that `is_match` accepts: the names of
/// nested members, separated by dots. Any element of an array may be the value.
pub(super) fn has_member(body: &[u8], path: &str, is_match: impl Fn(&str) -> bool) -> bool {
    value_at(body, path).is_some_and(|mut value| value.any_scalar(is_match))
}

/// The value at `path` in the first object in `body`: a string as text, and any other value as
/// JSON. `None` if it is missing, blank, `null` or cut off.
pub(super) fn text_at(body: &[u8], path: &str) -> Option<Zeroizing<String>> {
    let mut reader = value_at(body, path)?;
    let json = reader.rest;
    let value = reader.value();
    let length = json.len() - reader.rest.len();
    let text = match value {
        Member::Text(text) => text,
        // A string that cannot be decoded is no JSON to keep.
        _ if reader.is_damaged || json.starts_with(b"\"") => return None,
        _ => Zeroizing::new(str::from_utf8(json.get(..length)?).ok()?.to_owned()),
    };
    (!is_blank(&text) && *text != "null").then_some(text)
}

/// A reader at the value at `path` in the first object in `body`.
fn value_at<'a>(body: &'a [u8], path: &str) -> Option<Reader<'a>> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    Reader::at_object(body.trim_ascii())?.follow(path)
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

    /// A reader at the value at `path`, from the members of an object on.
    fn follow(mut self, path: &str) -> Option<Self> {
        let mut names = path.split('.');
        let mut value = self.find(names.next()?)?;
        for name in names {
            value = Self::at(value.rest.strip_prefix(b"{")?).find(name)?;
        }
        Some(value)
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

/// The last text value at this path, in a JSON text that cannot be read member by member.
fn last_text(json: &[u8], path: &str) -> Member {
    let Some((parent, rest)) = path.split_once('.') else {
        let mut texts = values(json, path).map(text);
        return texts.rfind(|text| !text.is_blank()).unwrap_or_default();
    };
    // Only from this object: another one may have a token of the same name.
    let Some(object) = values(json, parent).rfind(|value| value.starts_with(b"{")) else {
        return Member::Absent;
    };
    let object = whole_object(object);
    match serde_json::from_slice::<IgnoredAny>(object) {
        Ok(_) => {
            let members = object.strip_prefix(b"{").map(Reader::at);
            let value = members.and_then(|members| members.follow(rest));
            value.map_or(Member::Absent, |value| text(value.rest))
        }
        Err(_) => first_text(object, rest),
    }
}

/// The first text value at this path. What comes later may be behind the end of the object.
fn first_text(json: &[u8], path: &str) -> Member {
    let Some((parent, rest)) = path.split_once('.') else {
        return values(json, path).next().map_or(Member::Absent, text);
    };
    match values(json, parent).find(|value| value.starts_with(b"{")) {
        Some(object) => first_text(whole_object(object), rest),
        None => Member::Absent,
    }
}

/// The text at the start of a part of a JSON text.
fn text(json: &[u8]) -> Member {
    let text = json.strip_prefix(b"\"").and_then(|inner| {
        let length = end_of_string(inner)?;
        unescaped(inner.get(..length)?)
    });
    text.map_or(Member::Absent, Member::Text)
}

/// The text behind each occurrence of this quoted name and a colon.
fn values<'a>(json: &'a [u8], name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    let name = format!("\"{name}\"").into_bytes();
    let length = name.len();
    let windows = json.windows(length).enumerate();
    let found = windows.filter(move |(_, window)| *window == name);
    found.filter_map(move |(at, _)| {
        let rest = json.get(at + length..)?.trim_ascii_start();
        Some(rest.strip_prefix(b":")?.trim_ascii_start())
    })
}

/// The object at the start of a part of a JSON text.
fn whole_object(json: &[u8]) -> &[u8] {
    let mut reader = Reader::at(json);
    reader.nested();
    let object = json.split_at(json.len() - reader.rest.len()).0;
    if serde_json::from_slice::<IgnoredAny>(object).is_ok() {
        return object;
    }
    // A quote is missing or left over, and only the braces can show the end.
    let mut depth = 0_usize;
    let end = object.iter().position(|byte| {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    });
    end.map_or(object, |end| object.split_at(end).0)
}
