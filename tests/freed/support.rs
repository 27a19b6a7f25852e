//! Secrets that the allocator recognizes, and checks that none is found.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use tokio::runtime::Builder;
use tower_oauth2_client::token::{
    AccessToken, Generation, Grant, GrantState, RefreshToken, TenantId, TokenSet,
};

/// A part of each secret. Its length is a multiple of 3, so its base64 repeats, too.
const MARK: &str = "kX9qZ7wLm";

/// A secret that starts with a text.
macro_rules! secret {
    ($start:literal) => {
        concat!($start, "kX9qZ7wLmkX9qZ7wLmkX9qZ7wLmkX9qZ7wLm")
    };
}
pub(crate) use secret;

/// A long secret, whose buffers have to grow. It is never freed.
pub(crate) fn long(start: &str) -> &'static str {
    String::leak([start, MARK.repeat(4_000).leak()].concat())
}

/// Runs one test at a time, in virtual time, and returns what was found in freed memory.
pub(crate) fn freed<F: Future>(test: impl FnOnce() -> F) -> Vec<String> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    freed_memory::watch(patterns());
    drop(freed_memory::found());
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async { test().await });
    // Waits for blocking tasks.
    drop(runtime);
    freed_memory::found()
}

/// Fails if the test frees memory with a secret in it.
#[track_caller]
pub(crate) fn frees_no_secret<F: Future>(test: impl FnOnce() -> F) {
    let found = freed(test);
    let places: BTreeSet<String> = found.iter().map(|backtrace| place(backtrace)).collect();
    assert!(places.is_empty(), "{places:#?}");
}

/// The lines of this repository in a backtrace, from the inside.
fn place(backtrace: &str) -> String {
    let lines = backtrace.lines().map(str::trim);
    let own = lines.filter_map(|line| line.strip_prefix("at ./"));
    let own = own.filter(|line| !line.starts_with("tests/freed_memory"));
    own.take(6).collect::<Vec<_>>().join(" < ")
}

/// The mark, and its base64 at each offset.
fn patterns() -> Vec<Vec<u8>> {
    let mut patterns = vec![MARK.into()];
    for offset in 0..3 {
        let text = format!("{}{}", &"..."[offset..], MARK.repeat(3));
        let encoded = BASE64_STANDARD_NO_PAD.encode(text);
        patterns.push(encoded.as_bytes()[12..24].into());
    }
    patterns
}

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn tenant() -> TenantId {
    TenantId::new("acme").unwrap()
}

/// A token set with these secrets.
pub(crate) fn token_set(access_token: &'static str, refresh_token: &'static str) -> TokenSet {
    let at = SystemTime::UNIX_EPOCH + HOUR;
    TokenSet::new(AccessToken::new(access_token).unwrap(), HOUR, at)
        .with_refresh_token(RefreshToken::new(refresh_token), at)
        .with_scope("company.basic:read")
}

pub(crate) fn active(generation: u64, tokens: TokenSet) -> Grant {
    Grant::new(Generation::from_u64(generation), GrantState::Active(tokens))
}

#[test]
fn secrets_in_freed_memory_are_found() {
    let copy = || secret!("a1").to_owned();
    assert!(!freed(async || drop(copy())).is_empty(), "dropped");
    let part = freed(async || drop(secret!("a1")[5..20].to_owned()));
    assert!(!part.is_empty(), "a part");
    let outgrown = freed(async || {
        let mut secret = copy();
        secret.reserve(1_000);
        secret.leak();
    });
    assert!(!outgrown.is_empty(), "outgrown");
    for start in 0..3 {
        let encoded = || BASE64_STANDARD_NO_PAD.encode(&secret!("a1")[start..]);
        assert!(!freed(async || drop(encoded())).is_empty(), "base64");
    }
    assert!(freed(async || copy().leak()).is_empty(), "still in use");
    let wiped = freed(async || drop(zeroize::Zeroizing::new(copy())));
    assert!(wiped.is_empty(), "wiped");
}
