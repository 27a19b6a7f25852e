//! A metadata document: a JSON object whose members are checked one by one.

use std::collections::BTreeMap;

use super::{json::Json, url};
use crate::error::{Error, ErrorKind};

/// An object of a document. Its errors name the document and the member.
pub(super) struct Document {
    /// The document, and the path of the object in it.
    name: String,
    members: BTreeMap<String, Json>,
}

impl Document {
    /// Parses a document. `name` is its name in errors.
    pub(super) fn parse(name: &str, json: &[u8]) -> Result<Self, Error> {
        let json = json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json);
        let parsed = serde_json::from_slice(json).map_err(|error| {
            invalid(name, "not JSON; check the URL, and any proxy before it").with_source(error)
        })?;
        Self::of(name, parsed)
    }

    fn of(name: &str, json: Json) -> Result<Self, Error> {
        let Json::Object(list) = json else {
            return Err(invalid(name, "not a JSON object"));
        };
        let mut members = BTreeMap::new();
        for (member, value) in list {
            if members.contains_key(&member) {
                let source = format!("repeated: {}", shown(&member));
                return Err(invalid(name, "repeats a member: see the source").with_source(source));
            }
            // As if it were omitted, which RFC 8414 section 3.2 asks for.
            members.insert(member, value);
        }
        members.retain(|_, value| *value != Json::Null);
        Ok(Self {
            name: name.to_owned(),
            members,
        })
    }

    /// A text.
    pub(super) fn text(&self, member: &str) -> Result<Option<&str>, Error> {
        match self.members.get(member) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.invalid(member, "not a text")),
        }
    }

    /// True or false. False if there is no such member.
    pub(super) fn flag(&self, member: &str) -> Result<bool, Error> {
        match self.members.get(member) {
            None => Ok(false),
            Some(Json::Flag(flag)) => Ok(*flag),
            Some(_) => Err(self.invalid(member, "neither true nor false")),
        }
    }

    /// A list of texts.
    pub(super) fn list(&self, member: &str) -> Result<Option<Vec<String>>, Error> {
        let wrong = || self.invalid(member, "not a list of texts");
        let list = match self.members.get(member) {
            None => return Ok(None),
            Some(Json::List(list)) => list,
            Some(_) => return Err(wrong()),
        };
        let texts = list.iter().map(|element| match element {
            Json::Text(text) => Ok(text.clone()),
            _ => Err(wrong()),
        });
        texts.collect::<Result<_, _>>().map(Some)
    }

    /// The URL of an endpoint. `http` is accepted only to loopback, and only if `allows_http`.
    pub(super) fn url(&self, member: &str, allows_http: bool) -> Result<Option<String>, Error> {
        let Some(text) = self.text(member)? else {
            return Ok(None);
        };
        self.check_url(member, text, allows_http)?;
        Ok(Some(text.to_owned()))
    }

    /// Checks a URL that the member contains.
    pub(super) fn check_url(
        &self,
        member: &str,
        text: &str,
        allows_http: bool,
    ) -> Result<(), Error> {
        check_url(&format!("{}: {member}", self.name), text, allows_http)
    }

    /// An object.
    pub(super) fn object(&self, member: &str) -> Result<Option<Self>, Error> {
        let Some(value) = self.members.get(member) else {
            return Ok(None);
        };
        Self::of(&format!("{}: {member}", self.name), value.clone()).map(Some)
    }

    /// An error about a member. `member` is written in this crate, not read from the document.
    pub(super) fn invalid(&self, member: &str, problem: &str) -> Error {
        invalid(&self.name, &format!("{member}: {problem}"))
    }
}

/// Checks a URL. `name` says where it stands.
pub(super) fn check_url(name: &str, text: &str, allows_http: bool) -> Result<(), Error> {
    url::check(text, allows_http).map_err(|problem| {
        let source = format!("the URL: {}", shown(text));
        invalid(name, problem).with_source(source)
    })
}

/// An error about a document.
pub(super) fn invalid(name: &str, problem: &str) -> Error {
    Error::new(ErrorKind::InvalidResponse, format!("{name}: {problem}"))
}

/// A text of a server for the source of an error: short, and on one line.
pub(super) fn shown(text: &str) -> String {
    let short: String = text.chars().take(MAX_SHOWN).collect();
    format!("{short:?}")
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const MAX_SHOWN: usize = 200;
