//! Counts allocations, with a counter for each thread.
//!
//! It wraps mimalloc, whose cost does not depend on earlier allocations.

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
};

use mimalloc::MiMalloc;

use crate::{load::Load, work::SHAPES};

const REQUESTS: u32 = 1_000;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Allocations per request.
pub(crate) fn per_request(load: &mut dyn Load) -> f64 {
    // Excludes one-time allocations.
    load.send(SHAPES[0], REQUESTS);
    let before = COUNT.get();
    load.send(SHAPES[0], REQUESTS);
    let counted = u32::try_from(COUNT.get() - before).unwrap_or(u32::MAX);
    f64::from(counted) / f64::from(REQUESTS)
}

/// The allocator of this program.
pub(crate) struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(
    unsafe_code,
    reason = "an allocator needs unsafe code; each call is forwarded unchanged"
)]
// SAFETY: each call is forwarded to mimalloc.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller upholds the contract.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller upholds the contract.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller upholds the contract.
        unsafe { MiMalloc.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }
}
