//! Texts with named holes, such as `{tenant}.my.salesforce.com`.

use std::collections::BTreeMap;

/// The texts in the holes, by name.
pub(super) type Captures = BTreeMap<String, String>;

/// A text with holes.
#[derive(Clone, Debug)]
pub(super) struct Text {
    first: String,
    /// Each hole, and the text behind it.
    holes: Vec<(String, String)>,
}

impl Text {
    /// Parses a text in which `{name}` is a hole. `replace` returns the text of a hole that is
    /// none.
    pub(super) fn parse(text: &str, replace: impl Fn(&str) -> Option<String>) -> Self {
        let mut replaced = String::new();
        let mut rest = text;
        while let Some((before, name, behind)) = next_hole(rest) {
            replaced.push_str(before);
            replaced.push_str(&replace(name).unwrap_or_else(|| format!("{{{name}}}")));
            rest = behind;
        }
        replaced.push_str(rest);
        let mut parsed = Self {
            first: String::new(),
            holes: Vec::new(),
        };
        let mut rest = replaced.as_str();
        while let Some((before, name, behind)) = next_hole(rest) {
            parsed.last_mut().push_str(before);
            parsed.holes.push((name.to_owned(), String::new()));
            rest = behind;
        }
        parsed.last_mut().push_str(rest);
        parsed
    }

    /// The texts in the holes, if the text matches. A hole has at least one character and no
    /// slash.
    pub(super) fn captures(&self, text: &str) -> Option<Captures> {
        let mut captures = Captures::new();
        let mut rest = text.strip_prefix(self.first.as_str())?;
        for (index, (name, behind)) in self.holes.iter().enumerate() {
            let is_last = index + 1 == self.holes.len();
            let end = if is_last {
                rest.len().checked_sub(behind.len())?
            } else {
                rest.find(behind.as_str())?
            };
            let (value, remaining) = rest.split_at_checked(end)?;
            rest = remaining.strip_prefix(behind.as_str())?;
            let is_value = !value.is_empty() && !value.contains('/');
            let is_new = captures
                .insert(name.clone(), value.to_owned())
                .is_none_or(|other| other == value);
            if !is_value || !is_new {
                return None;
            }
        }
        rest.is_empty().then_some(captures)
    }

    fn last_mut(&mut self) -> &mut String {
        match self.holes.last_mut() {
            Some((_, behind)) => behind,
            None => &mut self.first,
        }
    }
}

fn next_hole(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (name, behind) = rest.split_once('}')?;
    Some((before, name, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text {
        Text::parse(text, |name| {
            (name == "api").then(|| "www.zohoapis.{tenant}".to_owned())
        })
    }

    #[test]
    fn holes_capture_what_stands_in_them() {
        for (pattern, input, expected) in [
            ("a.example", "a.example", Some("")),
            ("a.example", "b.example", None),
            ("{tenant}.shop.example", "acme.shop.example", Some("acme")),
            ("{tenant}.shop.example", ".shop.example", None),
            ("{tenant}.shop.example", "acme.shop.example.evil", None),
            ("{tenant}.shop.example", "acme/.shop.example", None),
            ("{api}", "www.zohoapis.eu", Some("eu")),
            ("/{tenant}/x/{tenant}", "/a/x/a", Some("a")),
            ("/{tenant}/x/{tenant}", "/a/x/b", None),
            ("/{tenant}/token", "/a/token", Some("a")),
            ("/{tenant}/token", "/a/b/token", None),
        ] {
            let captures = text(pattern).captures(input);
            let tenant = captures.map(|found| found.get("tenant").cloned().unwrap_or_default());
            assert_eq!(tenant.as_deref(), expected, "{pattern}: {input}");
        }
    }
}
