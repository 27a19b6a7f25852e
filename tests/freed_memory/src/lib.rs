//! An allocator that finds secrets in the memory that a program frees.
//!
//! It is a package of its own, because an allocator needs `unsafe`, which the library forbids.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    backtrace::Backtrace,
    cell::Cell,
    slice,
    sync::{Mutex, OnceLock, PoisonError},
};

/// The system's allocator, which looks for [watched](watch) patterns in each block before it is
/// freed.
///
/// All memory is zeroed when it is allocated, so that nothing is found that was left there before.
#[derive(Debug)]
pub struct Inspecting;

static PATTERNS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
static FOUND: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// How many blocks are recorded.
const MOST_FOUND: usize = 200;

thread_local! {
    /// Whether this thread records a block at the moment.
    static IS_RECORDING: Cell<bool> = const { Cell::new(false) };
}

/// Sets the patterns to look for. Only the first call has an effect.
pub fn watch(patterns: impl IntoIterator<Item = Vec<u8>>) {
    let patterns = patterns.into_iter().collect();
    let _ = PATTERNS.set(patterns);
}

/// Takes the backtraces of the first blocks that were freed with a pattern in them.
pub fn found() -> Vec<String> {
    std::mem::take(&mut FOUND.lock().unwrap_or_else(PoisonError::into_inner))
}

// SAFETY: every block comes from `System` with the layout that it is returned with. A block is read
// only while it is allocated, within its layout, and all of its bytes are initialized.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Inspecting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those of this method.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is allocated, has this layout, and nothing else uses it any more.
        inspect(unsafe { slice::from_raw_parts(block, layout.size()) });
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    // The provided `realloc` allocates, copies, and calls `dealloc`, as a block that moves does.
}

fn inspect(block: &[u8]) {
    let Some(patterns) = PATTERNS.get() else {
        return;
    };
    let is_in_block = |pattern: &Vec<u8>| {
        block
            .windows(pattern.len())
            .any(|window| window == &pattern[..])
    };
    if !patterns.iter().any(is_in_block) {
        return;
    }
    // The backtrace allocates too. A thread that ends has no thread-local data any more.
    let is_recording = IS_RECORDING.try_with(|it| it.replace(true)).unwrap_or(true);
    if is_recording {
        return;
    }
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    // Backtraces are slow, and the first ones are enough.
    if found.len() < MOST_FOUND {
        // Without the text, which would be found again.
        let backtrace = Backtrace::force_capture();
        found.push(format!("{} bytes\n{backtrace}", block.len()));
    }
    drop(found);
    IS_RECORDING.with(|it| it.set(false));
}
