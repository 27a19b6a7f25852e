//! Time arithmetic that saturates: no setting and no response overflows it.

use std::time::{Duration, Instant, SystemTime};

/// Addition to a time.
pub(crate) trait Later: Sized {
    /// The time that is `by` later. If there is none, it is a century later, or the same time.
    fn later(self, by: Duration) -> Self;
}

const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

macro_rules! impl_later {
    ($($time:ty),*) => {$(
        impl Later for $time {
            fn later(self, by: Duration) -> Self {
                let later = self.checked_add(by);
                later.or_else(|| self.checked_add(CENTURY)).unwrap_or(self)
            }
        }
    )*};
}

impl_later!(Instant, SystemTime, tokio::time::Instant);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p18_later_times_saturate() {
        let wall = SystemTime::UNIX_EPOCH;
        let second = Duration::from_secs(1);
        assert_eq!(wall.later(second), wall + second);
        for by in [Duration::from_secs(u64::MAX), Duration::MAX] {
            assert_eq!(wall.later(by), wall + CENTURY);
            assert_eq!(wall.later(by).later(by), wall + CENTURY + CENTURY);
        }
        let mut last = wall;
        for exponent in 0..64 {
            last = last.later(Duration::from_secs(1 << exponent));
        }
        assert!(last >= wall);
    }
}
