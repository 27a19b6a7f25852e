//! The ids of client assertions, each of which is accepted once.

use super::model::Authority;
use crate::sandbox::clock::Moment;

impl Authority {
    /// Records the use of an assertion, and returns whether it is the first one.
    pub(in crate::sandbox) fn use_assertion(
        &mut self,
        client_id: &str,
        id: &str,
        expires_at: Moment,
        now: Moment,
    ) -> bool {
        // An assertion that has expired is refused for that.
        self.used_assertions.retain(|_, until| now < *until);
        let key = (client_id.to_owned(), id.to_owned());
        self.used_assertions.insert(key, expires_at).is_none()
    }
}
