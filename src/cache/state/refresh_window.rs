//! When the provider accepts a refresh, relative to the end of the access token.
//!
//! Most providers accept one at any time. Some refuse it long before the access token expires, and
//! count such errors against the application. Others need an access token that is still valid.

use std::time::Duration;

/// How much later than the provider begins to accept refreshes they are sent. Its clock started
/// when it issued the token, which was after the token request was sent.
const LONGEST_MARGIN: Duration = Duration::from_secs(5);

/// Both durations count backwards from the end of the access token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RefreshWindow {
    /// When the first refresh is accepted. `None` for at any time.
    pub(crate) earliest: Option<Duration>,
    /// When the last refresh is accepted. `None` for at any time, also after the end.
    pub(crate) latest: Option<Duration>,
}

impl RefreshWindow {
    /// From when on a refresh is sent. `None` for at any time.
    pub(super) fn opens(self) -> Option<Duration> {
        let earliest = self.earliest?;
        let width = earliest.saturating_sub(self.closes());
        Some(earliest.saturating_sub(LONGEST_MARGIN.min(width / 6)))
    }

    /// Until when a refresh has to be made.
    pub(super) fn closes(self) -> Duration {
        self.latest.unwrap_or(Duration::ZERO)
    }

    /// How long refreshes are accepted.
    pub(super) fn width(self) -> Duration {
        let opens = self.opens().unwrap_or(Duration::MAX);
        opens.saturating_sub(self.closes())
    }
}
