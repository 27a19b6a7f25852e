//! Progress on the standard error output. Without a terminal there, nothing is drawn.

use indicatif::{ProgressBar, ProgressStyle};

/// The progress towards a known number of grants.
pub(crate) fn bar(total: u64) -> ProgressBar {
    styled(ProgressBar::new(total), "{bar:40} {pos}/{len} {eta}")
}

/// The progress of a list whose length is not known.
pub(crate) fn counter() -> ProgressBar {
    styled(ProgressBar::new_spinner(), "{spinner} {pos} grants read")
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
