//! The kinds of failures that were reported since the last refresh of a grant.
//!
//! A grant that fails is tried again and again, and one line of the log for each kind of failure is
//! enough until it works again.

use crate::error::{Error, ErrorKind};

/// A bit for each kind of failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reported(u8);

impl Reported {
    /// Whether this kind of failure was not reported yet. From now on it counts as reported.
    pub(super) fn is_news(&mut self, error: &Error) -> bool {
        if error.is_circuit_open() {
            // It says nothing about this grant.
            return false;
        }
        let bit = 1 << kind(error);
        let is_news = self.0 & bit == 0;
        self.0 |= bit;
        is_news
    }

    /// This kind of failure counts as not reported.
    pub(super) fn forget(&mut self, error: &Error) {
        self.0 &= !(1 << kind(error));
    }
}

fn kind(error: &Error) -> u8 {
    match error.kind() {
        _ if error.is_response_lost() => 0,
        _ if error.is_invalid_client() => 1,
        ErrorKind::Refused => 2,
        ErrorKind::Unavailable => 3,
        ErrorKind::InvalidResponse => 4,
        ErrorKind::Store | ErrorKind::ForeignGrant => 5,
        ErrorKind::Interrupted => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ResponseDetails;

    #[test]
    fn each_kind_of_failure_is_news_once() {
        let unavailable = || Error::unavailable("down");
        let open = || {
            unavailable().with_response(ResponseDetails {
                is_circuit_open: true,
                ..ResponseDetails::default()
            })
        };
        let mut reported = Reported::default();
        for (error, is_news) in [
            (open(), false),
            (unavailable(), true),
            (unavailable(), false),
            (Error::response_lost("cut"), true),
            (unavailable(), false),
            (Error::response_lost("cut"), false),
            (Error::new(ErrorKind::Refused, "no"), true),
            (Error::store("down"), true),
            (open(), false),
        ] {
            assert_eq!(reported.is_news(&error), is_news, "{error:?}");
        }
        assert!(Reported::default().is_news(&unavailable()));
    }
}
