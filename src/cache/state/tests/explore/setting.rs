//! The setting of one exploration: what it starts with, and which faults it tries.

use std::time::{Duration, Instant, SystemTime};

use super::provider::Rotation;
use crate::{
    cache::{
        delivery::USUAL,
        state::{LostResponse, Moment, Policy, RefreshWindow},
    },
    clock::{Clock, SystemClock},
    token::{AccessToken, RefreshToken, TokenSet},
};

/// The lifetime of every access token: 60 seconds of advisory window, of which the refresh starts
/// 45 seconds before the expiry. The last resort begins 30 seconds before it, and the mandatory
/// window 12 seconds before it.
pub(super) const LIFETIME: Duration = Duration::from_secs(120);

/// The state of the grant when the exploration starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The access token has expired.
    Expired,
    /// The access token is in its mandatory window.
    Mandatory,
    /// The access token is in its advisory window.
    Advisory,
    /// The API rejects the access token, which has not expired.
    Rejected,
    /// A process crashed `age` seconds ago, after it saved its intent. `is_processed` says whether
    /// the provider got its token request.
    Intent {
        age: u64,
        is_processed: bool,
        is_expired: bool,
    },
}

/// How many faults of each kind may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) crashes: u8,
    /// Lost responses, before or after the provider's commit.
    pub(super) lost: u8,
    /// Failed operations of the store, with or without effect.
    pub(super) store: u8,
    /// Responses that prove that the token request was not processed.
    pub(super) refusals: u8,
    /// Replicas that stop while time passes, and then continue.
    pub(super) stalls: u8,
    /// Ends of the grant at the provider.
    pub(super) ends: u8,
    /// Refreshes that the program requests.
    pub(super) manual: u8,
}

/// One exploration.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) replicas: usize,
    pub(super) rotation: Rotation,
    pub(super) start: Start,
    pub(super) policy: Policy,
    pub(super) budget: Budget,
    /// Whether the store announces saves, each of which a replica adopts at any time.
    pub(super) announces: bool,
    /// Whether the processes have shown that they stay.
    pub(super) is_staying: bool,
    /// How long the exploration lasts, in milliseconds of virtual time.
    pub(super) horizon: u64,
    base: Instant,
    wall: SystemTime,
}

impl Setting {
    pub(super) fn new(rotation: Rotation, start: Start) -> Self {
        Self {
            replicas: 2,
            rotation,
            start,
            policy: Policy {
                lost_response: LostResponse::RetryOnce,
                min_refresh_interval: Duration::from_secs(1),
                lease: Duration::from_secs(15),
                fetch_timeout: Duration::from_secs(15),
                refresh_token_lifetime: None,
                refresh_window: RefreshWindow::default(),
                reuse_grace: None,
                propagation: Duration::from_secs(5),
            },
            budget: Budget::default(),
            announces: false,
            is_staying: true,
            horizon: 70_000,
            // Far from the start of the clock, which is the boot time on some systems.
            base: SystemClock.monotonic() + Duration::from_secs(86_400),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        }
    }

    pub(super) fn moment(&self, now: u64) -> Moment<'_> {
        Moment {
            now: self.base + Duration::from_millis(now),
            wall: self.wall(now),
            jitter: 0.5,
            secret_epoch: 0,
            is_staying: self.is_staying,
            recoveries: 0,
            policy: &self.policy,
            delivery: &USUAL,
        }
    }

    pub(super) fn wall(&self, now: u64) -> SystemTime {
        self.wall + Duration::from_millis(now)
    }

    /// Milliseconds from the start to `at`, rounded up. `None` if that is in the past.
    pub(super) fn until(&self, at: Instant) -> Option<u64> {
        let passed = at.checked_duration_since(self.base)?;
        u64::try_from(passed.as_nanos().div_ceil(1_000_000)).ok()
    }

    /// As [`until`](Self::until), by the wall clock.
    pub(super) fn until_wall(&self, at: SystemTime) -> Option<u64> {
        let passed = at.duration_since(self.wall).ok()?;
        u64::try_from(passed.as_nanos().div_ceil(1_000_000)).ok()
    }

    /// The wall clock some seconds before the start.
    pub(super) fn before(&self, seconds: u64) -> SystemTime {
        self.wall - Duration::from_secs(seconds)
    }

    /// The token set that the exploration starts with.
    pub(super) fn first_tokens(&self) -> TokenSet {
        let age = match self.start {
            Start::Expired
            | Start::Intent {
                is_expired: true, ..
            } => 200,
            Start::Mandatory => 115,
            Start::Advisory => 80,
            Start::Rejected => 30,
            Start::Intent {
                is_expired: false, ..
            } => 62,
        };
        tokens(1, 1, self.before(age))
    }
}

/// A token set whose numbers can be read in its debug output.
pub(super) fn tokens(access: u8, refresh: u8, issued_at: SystemTime) -> TokenSet {
    let access_token = AccessToken::new(format!("a{access}")).unwrap();
    TokenSet::new(access_token, LIFETIME, issued_at)
        .with_refresh_token(RefreshToken::new(format!("r{refresh}")), issued_at)
        .with_scope(format!("a{access} r{refresh}"))
}

/// The number of the access token.
pub(super) fn access_number(tokens: &TokenSet) -> u8 {
    number(tokens.access_token().expose())
}

/// The number of the refresh token.
pub(super) fn refresh_number(tokens: &TokenSet) -> u8 {
    number(tokens.refresh_token().unwrap().expose())
}

fn number(token: &str) -> u8 {
    token[1..].parse().unwrap()
}
