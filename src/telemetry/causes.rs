//! The text of an error with its causes, for one field of an event.

use std::{borrow::Cow, error::Error as StdError, fmt, iter, path::Path};

use super::url::with_plain_urls;
use crate::{
    error::{AtPath, Error},
    token::{OfTenant, TenantId},
};

/// How many causes are shown, and how much of each.
const MAX_CAUSES: usize = 8;
const MAX_LENGTH: usize = 300;

/// An error and its sources, joined by `: `. A source whose text is shown already is skipped.
///
/// The sources of a store's error may name a tenant. That name is shown only if the tenant is
/// recorded.
pub(super) struct Causes<'a> {
    error: &'a Error,
    tenant: Option<&'a TenantId>,
    is_recorded: bool,
}

impl<'a> Causes<'a> {
    /// The causes of a failure for this tenant, if it is for one.
    pub(super) fn of(error: &'a Error, tenant: Option<&'a TenantId>, is_recorded: bool) -> Self {
        Self {
            error,
            tenant,
            is_recorded,
        }
    }

    /// The causes of a failure that is not for one tenant.
    pub(super) fn of_all(error: &'a Error) -> Self {
        Self::of(error, None, false)
    }

    fn shown(&self, source: &(dyn StdError + 'static)) -> Option<String> {
        if self.is_recorded {
            return Some(source.to_string());
        }
        if source.is::<OfTenant>() {
            return None;
        }
        if let Some(at) = source.downcast_ref::<AtPath>() {
            let path = at.path();
            return Some(match path.parent() {
                Some(directory) if is_of_grant(path) => format!("in {}", directory.display()),
                _ => path.display().to_string(),
            });
        }
        let text = source.to_string();
        Some(match self.tenant {
            Some(tenant) => {
                let name = tenant.as_str();
                // As in the keys of Redis.
                let encoded: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
                without(&without(&text, &encoded), name).into_owned()
            }
            None => text,
        })
    }
}

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.error.to_string();
        let sources = iter::successors(self.error.source(), |&source| source.source());
        for cause in sources
            .take(MAX_CAUSES)
            .filter_map(|source| self.shown(source))
        {
            let cause: String = with_plain_urls(&cause).chars().take(MAX_LENGTH).collect();
            if !text.contains(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
        }
        // The sources follow here, or are left out.
        for reference in [": see the source", "see the source; "] {
            text = text.replace(reference, "");
        }
        for place in [
            " (tenant in the error source)",
            " (path in the error source)",
        ] {
            text = text.replace(place, "");
        }
        // One event is one line of a log.
        f.write_str(&text.replace(char::is_control, " "))
    }
}

/// Whether the file is that of one grant: its name ends with a SHA-256 hash of the tenant's name.
fn is_of_grant(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut words = name.split(|c: char| !c.is_ascii_hexdigit());
    words.any(|word| word.len() >= 64)
}

/// The text with a placeholder for each occurrence of the name as a word.
fn without<'a>(text: &'a str, name: &str) -> Cow<'a, str> {
    let (low_text, low_name) = (text.to_ascii_lowercase(), name.to_ascii_lowercase());
    let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let (mut shown, mut end) = (String::new(), 0);
    for (start, found) in low_text.match_indices(&low_name) {
        let after = start + found.len();
        let is_word =
            !is_part(text[..start].chars().next_back()) && !is_part(text[after..].chars().next());
        if is_word {
            shown.push_str(&text[end..start]);
            shown.push_str("[tenant]");
            end = after;
        }
    }
    if end == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[end..]);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::error::ErrorKind;

    fn refused() -> io::Error {
        io::Error::from(io::ErrorKind::ConnectionRefused)
    }

    #[test]
    fn causes_are_joined_and_not_repeated() {
        let inner =
            Error::new(ErrorKind::Store, "PostgreSQL: no connection").with_source(refused());
        let shown = Causes::of_all(&inner).to_string();
        assert_eq!(shown, "PostgreSQL: no connection: connection refused");
        let message = "store failed: connection refused\nnow";
        let outer = Error::new(ErrorKind::Store, message).with_source(refused());
        let shown = Causes::of_all(&outer).to_string();
        assert_eq!(shown, "store failed: connection refused now");
        let shown = Causes::of_all(&Error::store(refused())).to_string();
        assert_eq!(
            shown,
            "token store failed; check that the store is reachable and writable: connection refused"
        );
    }

    #[test]
    fn p21_causes_name_no_tenant_unless_it_is_recorded() {
        let acme = TenantId::new("Acme").unwrap();
        let file = format!("/var/grants/acme-{}.json", "0f".repeat(32));
        let path = Path::new(&file);
        let directory = Path::new("/var/grants");
        let failed = || Error::new(ErrorKind::Store, "failed");
        let of_file = format!("failed: {file}: connection refused");
        for (source, hidden, recorded) in [
            (
                failed().with_source(OfTenant::new(&acme, None)),
                "failed",
                "failed: tenant \"Acme\"",
            ),
            (
                failed().with_source(AtPath::new(path, Some(refused()))),
                "failed: in /var/grants: connection refused",
                &*of_file,
            ),
            (
                failed().with_source(AtPath::new(directory, Some(refused()))),
                "failed: /var/grants: connection refused",
                "failed: /var/grants: connection refused",
            ),
            (
                failed().with_source("redis, tow:acme: OOM, acmes"),
                "failed: redis, tow:[tenant]: OOM, acmes",
                "failed: redis, tow:acme: OOM, acmes",
            ),
        ] {
            assert_eq!(Causes::of(&source, Some(&acme), false).to_string(), hidden);
            assert_eq!(Causes::of(&source, Some(&acme), true).to_string(), recorded);
        }
    }

    #[test]
    fn p21_causes_do_not_name_an_encoded_tenant() {
        let tenant = TenantId::new("Ada L. <ada@example.com>").unwrap();
        let key = "redis, tow:{Ada+L.+%3Cada%40example.com%3E}:grant: OOM";
        let error = Error::new(ErrorKind::Store, "failed").with_source(key);
        let shown = Causes::of(&error, Some(&tenant), false).to_string();
        assert_eq!(shown, "failed: redis, tow:{[tenant]}:grant: OOM");
    }

    #[test]
    fn p21_causes_show_no_query_or_user_of_a_url() {
        let sent = "buffered: error sending request for url (https://a.example/revoke?token=r1&x=2), \
                    pool postgres://u:p4ss@db/x and http://b?r2#r3";
        let error = Error::new(ErrorKind::Unavailable, "failed").with_source(sent);
        assert_eq!(
            Causes::of_all(&error).to_string(),
            "failed: buffered: error sending request for url (https://a.example/revoke pool \
             postgres://db/x and http://b"
        );
    }
}
