//! Evidence from the requests of all tenants of how soon the API knows new tokens.

use std::sync::atomic::{AtomicU8, Ordering};

use super::state::ApiPropagation;

/// Shared by all caches of one builder, because they use one API.
#[derive(Debug, Default)]
pub(super) struct SharedPropagation(AtomicU8);

const PROMPT: u8 = 1;
const DELAYED: u8 = 2;

impl SharedPropagation {
    pub(super) fn get(&self) -> ApiPropagation {
        match self.0.load(Ordering::Relaxed) {
            PROMPT => ApiPropagation::Prompt,
            DELAYED => ApiPropagation::Delayed,
            _ => ApiPropagation::Unknown,
        }
    }

    /// One delay outweighs any number of tokens that were known at once.
    pub(super) fn learn(&self, shown: ApiPropagation) {
        let shown = match shown {
            ApiPropagation::Unknown => return,
            ApiPropagation::Prompt => PROMPT,
            ApiPropagation::Delayed => DELAYED,
        };
        self.0.fetch_max(shown, Ordering::Relaxed);
    }
}
