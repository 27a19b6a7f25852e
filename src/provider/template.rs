//! URLs with variables, such as `https://{shop}.myshopify.com/admin/oauth/access_token`.
//!
//! A variable is the name of a [kept value](super::KeptValue). It may be a part of the host, of the
//! path or of the query.

use std::fmt;

use http::Uri;

use super::pattern::HostEnd;
use crate::{error::Error, origin::Origin};

/// A URL, with or without variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
}

/// A variable of a template, with what matters for its pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variable<'a> {
    pub(super) name: &'a str,
    /// Set if the variable is the last one of the host.
    pub(super) ends_host: Option<HostEnd<'a>>,
}

impl Template {
    /// Parses a URL. `setting` names it in errors.
    pub(super) fn parse(setting: &str, url: &str) -> Result<Self, Error> {
        let fail = |what: &str| Error::configuration(format!("{setting}: {what}"));
        let mut parts = Vec::new();
        let mut rest = url;
        while let Some((text, behind)) = rest.split_once('{') {
            let (name, behind) = behind
                .split_once('}')
                .filter(|(name, _)| is_name(name))
                .ok_or_else(|| {
                    fail("a variable is a name of lower-case letters, digits and _ in braces")
                })?;
            parts.push(Part::Text(text.to_owned()));
            parts.push(Part::Variable(name.to_owned()));
            rest = behind;
        }
        if rest.contains('}') {
            return Err(fail("a brace has no partner; remove it"));
        }
        parts.push(Part::Text(rest.to_owned()));
        let template = Self { parts };
        if template.has_variables() && !template.text(0).contains("://") {
            return Err(fail("starts with a variable; write https:// before it"));
        }
        let has_host_variables = !template.has_fixed_host();
        if has_host_variables && !url.starts_with("https://") {
            return Err(fail("use https: the host contains a variable"));
        }
        if has_host_variables && url.contains('#') {
            // What follows a value in the host would not be a part of the host.
            return Err(fail("the URL contains a fragment; remove it"));
        }
        // Everything else is checked as a URL. A digit or a letter may stand wherever a variable
        // may.
        let sample = template.with(|_| Ok::<_, Error>("x"))?;
        let uri: Uri = sample.parse().map_err(|error| {
            fail("not a URL; use one such as https://id.example.com/token").with_source(error)
        })?;
        Origin::from_uri(setting, &uri)?;
        if has_host_variables && uri.port().is_some() {
            return Err(fail("a host with a variable has no port; remove it"));
        }
        if template.has_variables() {
            return Ok(template);
        }
        // In the spelling of requests, which the identity of stored grants contains.
        let parts = vec![Part::Text(uri.to_string())];
        Ok(Self { parts })
    }

    /// Whether there are any variables.
    pub(super) fn has_variables(&self) -> bool {
        self.parts.len() > 1
    }

    /// The variables in their order. A name may occur more than once.
    pub(super) fn variables(&self) -> Vec<Variable<'_>> {
        let host = self.host_variables();
        let last = host.last().copied();
        self.parts
            .iter()
            .enumerate()
            .filter_map(|(index, part)| match part {
                Part::Text(_) => None,
                Part::Variable(name) => Some(Variable {
                    name,
                    ends_host: (Some(index) == last).then(|| HostEnd {
                        before: (host.len() > 1).then(|| self.text(index - 1)),
                        behind: self.text(index + 1).split(['/', '?']).next().unwrap_or(""),
                    }),
                }),
            })
            .collect()
    }

    /// The URL with each variable replaced by the text that `value` returns.
    pub(super) fn with<'a, E>(
        &'a self,
        value: impl Fn(&'a str) -> Result<&'a str, E>,
    ) -> Result<String, E> {
        let texts = self.parts.iter().map(|part| match part {
            Part::Text(text) => Ok(text.as_str()),
            Part::Variable(name) => value(name),
        });
        let texts: Vec<&str> = texts.collect::<Result<_, E>>()?;
        // In one allocation, because a text may be a secret.
        Ok(texts.concat())
    }

    /// Whether no variable is a part of the host.
    pub(super) fn has_fixed_host(&self) -> bool {
        self.host_variables().is_empty()
    }

    /// The indices of the variables in the host.
    fn host_variables(&self) -> Vec<usize> {
        let mut indices = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(text) => {
                    let behind_scheme = match text.split_once("://") {
                        Some((_, behind)) if index == 0 => behind,
                        _ => text.as_str(),
                    };
                    if behind_scheme.contains(['/', '?']) {
                        break;
                    }
                }
                Part::Variable(_) => indices.push(index),
            }
        }
        indices
    }

    fn text(&self, index: usize) -> &str {
        match self.parts.get(index) {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Variable(name) => write!(f, "{{{name}}}"),
        })
    }
}

/// Whether a kept value may have this name.
pub(super) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(url: &str) -> Template {
        Template::parse("token_endpoint", url).unwrap()
    }

    #[test]
    fn variables_are_replaced_and_displayed() {
        let url = "https://{shop}.example.com/{version}/token?x={shop}";
        let template = template(url);
        assert_eq!(template.to_string(), url);
        let value = |name: &str| Ok::<_, ()>(if name == "shop" { "acme" } else { "v1" });
        let replaced = template.with(value).unwrap();
        assert_eq!(replaced, "https://acme.example.com/v1/token?x=acme");
        assert!(template.with(|_| Err::<&str, _>(())).is_err());
    }

    #[test]
    fn variable_that_decides_the_host_is_known() {
        let ends_host = |url: &str| -> Vec<(String, Option<String>)> {
            let template = template(url);
            let variables = template.variables().into_iter();
            variables
                .map(|variable| {
                    let end = variable.ends_host.map(|end| end.behind.to_owned());
                    (variable.name.into(), end)
                })
                .collect()
        };
        let end = |text: &str| Some(text.to_owned());
        let named = |name: &str, end| (name.to_owned(), end);
        for (url, expected) in [
            (
                "https://{a}.example.com/t",
                vec![named("a", end(".example.com"))],
            ),
            (
                "https://{a}-x.example.com/t",
                vec![named("a", end("-x.example.com"))],
            ),
            ("https://{a}/t", vec![named("a", end(""))]),
            ("https://{a}", vec![named("a", end(""))]),
            ("https://{a}?b", vec![named("a", end(""))]),
            ("https://{a}.com/t", vec![named("a", end(".com"))]),
            (
                "https://id.{a}/{b}",
                vec![named("a", end("")), named("b", None)],
            ),
            (
                "https://{a}.{b}/t",
                vec![named("a", None), named("b", end(""))],
            ),
            (
                "https://example.com/{a}?b={c}",
                vec![named("a", None), named("c", None)],
            ),
        ] {
            assert_eq!(ends_host(url), expected, "{url}");
        }
    }

    #[test]
    fn wrong_templates_are_named_by_their_setting() {
        for wrong in [
            "{a}",
            "{a}://example.com",
            "http://{a}.example.com",
            "http://127.0.0.1{a}/",
            "https://{A}.example.com",
            "https://{}.example.com",
            "https://{a.example.com",
            "https://a}.example.com",
            "https://{a}@example.com",
            "https://{a}.example.com:8443",
            "https://user:{a}@example.com",
            "https://{a b}.example.com",
            "https://{a}.exa mple.com",
            "https://{a}#.example.com",
        ] {
            let error = Template::parse("token_endpoint", wrong).unwrap_err();
            assert!(
                error.to_string().starts_with("token_endpoint: "),
                "{wrong}: {error}"
            );
        }
        template("http://127.0.0.1:8080/{a}/token");
    }
}
