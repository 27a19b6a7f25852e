//! Patterns that kept values have to match.
//!
//! A pattern is a regular expression over the whole value. A value in a URL comes from outside of
//! the program: from a callback, which can be forged, or from a response. So a pattern is checked
//! when the provider is built: the text that a URL gets may contain only characters that have no
//! meaning in URLs, and where it ends a host, the pattern has to end with a domain of the provider.
//! A value is compared with its pattern whenever an address is made of it.

use regex_automata::{
    Input,
    meta::{Config, Regex},
};
use regex_syntax::{
    ParserBuilder,
    hir::{
        Class, Hir, HirKind, Look,
        literal::{ExtractKind, Extractor},
    },
};

/// Longer than any account id or host.
pub(super) const LONGEST_VALUE: usize = 2_048;

const LONGEST_PATTERN: usize = 512;

/// The memory of a compiled pattern.
const LARGEST_PROGRAM: usize = 256 * 1024;

/// A value that no pattern has to match, because it has every kind of character. `.` matches all
/// but the line break at its end.
const ODD_VALUE: &str = "a Z0\u{e9}/\\?#@:%&=.\n";

/// A pattern that has been checked.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: Regex,
    /// The text that a URL gets: the group if there is one, and otherwise the whole value.
    substituted: Hir,
    has_group: bool,
}

impl Pattern {
    /// Compiles a pattern, or says what is wrong with it.
    pub(super) fn compile(pattern: &str) -> Result<Self, &'static str> {
        if pattern.len() > LONGEST_PATTERN {
            return Err("longer than 512 bytes; shorten it");
        }
        // Parsed by itself, so that no parenthesis in it can end the anchors. ASCII only: `\d` is a
        // digit from 0 to 9.
        let hir = ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .nest_limit(50)
            .build()
            .parse(pattern)
            .map_err(|_| "not a regular expression, as the crate `regex` defines it")?;
        let (substituted, has_group) = match hir.properties().explicit_captures_len() {
            0 => (hir.clone(), false),
            1 => (
                group_of(&hir).ok_or("its group is optional or repeated; move it")?,
                true,
            ),
            _ => return Err("more than one group; write the others as (?:...)"),
        };
        let anchored = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        let config = Config::new()
            .utf8_empty(false)
            .nfa_size_limit(Some(LARGEST_PROGRAM));
        let regex = Regex::builder().configure(config).build_from_hir(&anchored);
        let regex = regex.map_err(|_| "too large; simplify it")?;
        if regex.is_match(ODD_VALUE) || regex.is_match(ODD_VALUE.trim_end()) {
            return Err("matches everything; name the permitted characters");
        }
        Ok(Self {
            regex,
            substituted,
            has_group,
        })
    }

    /// Whether the whole value matches.
    pub(super) fn matches(&self, value: &str) -> bool {
        value.len() <= LONGEST_VALUE && self.regex.is_match(value)
    }

    /// The text that a URL gets for this value. `None` if the value does not match.
    pub(super) fn text_in_url<'a>(&self, value: &'a str) -> Option<&'a str> {
        if !self.matches(value) {
            return None;
        }
        if !self.has_group {
            return Some(value);
        }
        let mut captures = self.regex.create_captures();
        self.regex.captures(Input::new(value), &mut captures);
        value.get(captures.get_group(1)?.range())
    }

    /// Whether each text for a URL consists of characters without a meaning in URLs.
    pub(super) fn has_unreserved_text(&self) -> bool {
        is_unreserved(&self.substituted)
    }

    /// Whether each host that ends with a text of this pattern ends with a domain of at least two
    /// labels that is spelled out: a forged value cannot name a host of another domain.
    pub(super) fn ends_with_domain(&self, HostEnd { before, behind }: HostEnd<'_>) -> bool {
        if is_domain_behind_dot(behind) {
            return true;
        }
        let suffixes = Extractor::new()
            .kind(ExtractKind::Suffix)
            .extract(&self.substituted);
        suffixes.literals().is_some_and(|literals| {
            literals.iter().all(|literal| {
                let end = String::from_utf8_lossy(literal.as_bytes());
                match before {
                    // The whole host is spelled out.
                    None if literal.is_exact() => true,
                    Some(before) if literal.is_exact() => {
                        is_domain_behind_dot(&format!("{before}{end}{behind}"))
                    }
                    _ => is_domain_behind_dot(&format!("{end}{behind}")),
                }
            })
        })
    }
}

/// The text that a template has around the last variable of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HostEnd<'a> {
    /// The text between the variable before and this one. `None` if there is no other.
    pub(super) before: Option<&'a str>,
    /// The text between this variable and the end of the host.
    pub(super) behind: &'a str,
}

/// Whether the text contains a dot and then a name of at least two labels.
fn is_domain_behind_dot(end: &str) -> bool {
    end.split_once('.')
        .is_some_and(|(_, domain)| domain.contains('.') && !domain.contains(".."))
}

/// The expression in the only group, if it takes part in each match.
fn group_of(hir: &Hir) -> Option<Hir> {
    match hir.kind() {
        HirKind::Capture(capture) => Some((*capture.sub).clone()),
        HirKind::Concat(parts) => parts.iter().find_map(group_of),
        _ => None,
    }
}

/// Whether each match consists of the unreserved characters of RFC 3986 section 2.3.
fn is_unreserved(hir: &Hir) -> bool {
    let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => literal.0.iter().copied().all(is_byte),
        HirKind::Class(Class::Bytes(class)) => class
            .iter()
            .all(|range| (range.start()..=range.end()).all(is_byte)),
        HirKind::Class(Class::Unicode(class)) => class
            .iter()
            .all(|range| (range.start()..=range.end()).all(|c| u8::try_from(c).is_ok_and(is_byte))),
        HirKind::Repetition(repetition) => is_unreserved(&repetition.sub),
        HirKind::Capture(capture) => is_unreserved(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().all(is_unreserved),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::compile(text).unwrap()
    }

    #[test]
    fn whole_value_has_to_match() {
        for (text, value, expected) in [
            ("[a-z]+", "acme", Some("acme")),
            ("[a-z]+", "acme\n", None),
            ("[a-z]+", "acme1", None),
            ("eu|us", "us", Some("us")),
            ("eu|us", "eux", None),
            ("(?m)^[a-z]+$", "acme\nevil", None),
            (
                r"https://([a-z]+\.example\.com)",
                "https://a.example.com",
                Some("a.example.com"),
            ),
            (r"https://([a-z]+\.example\.com)", "a.example.com", None),
            (
                r"https://([a-z]+\.example\.com)",
                "https://a.example.com.evil.example",
                None,
            ),
            (r"\d+", "\u{0661}", None),
        ] {
            assert_eq!(
                pattern(text).text_in_url(value),
                expected,
                "{text}: {value:?}"
            );
        }
        assert!(!pattern("a+").matches(&"a".repeat(LONGEST_VALUE + 1)));
    }

    #[test]
    fn wrong_patterns_are_refused() {
        for wrong in [
            "",
            "(",
            "a)|(.*",
            "(?s).*",
            r"[\s\S]*",
            ".*",
            ".+",
            "^.+$",
            r"[^\n]+",
            "(.+)",
            ".{1,200}",
            "(a)?b",
            "(a)+",
            "(a)(b)",
            "(a)|b",
            "a{1000}{1000}",
            &"a".repeat(LONGEST_PATTERN + 1),
        ] {
            let compiled = Pattern::compile(wrong);
            let is_refused = compiled.is_err() || wrong.is_empty();
            assert!(is_refused, "{wrong}");
        }
        // It matches nothing but the empty value.
        assert!(!pattern("").matches("x"));
    }

    #[test]
    fn text_in_a_url_is_of_unreserved_characters() {
        for (text, expected) in [
            ("[a-z0-9-]+", true),
            (r"\w+", true),
            (r"\d{1,9}", true),
            ("https://([a-z.]+)/", true),
            ("[^/]+", false),
            ("a.c", false),
            (r"[^\s]+", false),
            ("[a-z/]+", false),
            ("[a-z]+@[a-z]+", false),
            ("a%2f", false),
            ("(?i)shop", true),
            (r"\S+", false),
            ("a|b:", false),
        ] {
            assert_eq!(pattern(text).has_unreserved_text(), expected, "{text}");
        }
    }

    #[test]
    fn host_ends_with_a_domain_of_the_pattern() {
        for (text, behind, expected) in [
            (r"[a-z0-9-]+\.myshopify\.com", "", true),
            (r"https://([a-z0-9.-]+\.my\.salesforce\.com)", "", true),
            (r"zoho\.(?:com|eu|in|com\.au)", "", true),
            ("eu|us|in", "", true),
            ("[a-z]+", ".example.com", true),
            ("[a-z.]+", "-api.example.com", true),
            ("[a-z.]+", "", false),
            ("[a-z]+", ".com", false),
            (r"[a-z]+\.com", "", false),
            // `evilmyshopify.com` matches.
            (r"[a-z]*myshopify\.com", "", false),
            (r"[a-z]+\.(?:myshopify\.com|[a-z]+)", "", false),
            (r"(?:[a-z]+\.)*example\.com", "", true),
            (r"(?:[a-z]+\.)+example\.com", "", true),
            (r"(?:[a-z]+\.)*[a-z]*example\.com", "", false),
        ] {
            let end = HostEnd {
                before: None,
                behind,
            };
            assert_eq!(
                pattern(text).ends_with_domain(end),
                expected,
                "{text} {behind}"
            );
        }
        // Another variable comes first, as in `https://{a}.{b}`.
        for (text, before, expected) in [
            ("eu|us", ".", false),
            ("eu|us", ".example.", true),
            (r"zoho\.(?:com|eu)", ".", true),
            (r"zoho\.(?:com|eu)", "", false),
        ] {
            let end = HostEnd {
                before: Some(before),
                behind: "",
            };
            assert_eq!(
                pattern(text).ends_with_domain(end),
                expected,
                "{before}{text}"
            );
        }
    }
}
