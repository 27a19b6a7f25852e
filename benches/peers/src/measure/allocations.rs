//! How often memory is allocated, counted in each thread by itself.
//!
//! Around mimalloc, whose threads share nothing on the way: of what they slow each other down by, none is the allocator's. A
//! counter that threads shared would be; a crate that counts more than this would cost more than what it counts.

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
};

use mimalloc::MiMalloc;

use crate::load::Load;

const REQUESTS: u32 = 1_000;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Allocations per request.
pub(crate) fn per_request(load: &mut dyn Load) -> f64 {
    // What is allocated once is not what a request costs.
    load.send(u64::from(REQUESTS));
    let before = COUNT.get();
    load.send(u64::from(REQUESTS));
    let counted = u32::try_from(COUNT.get() - before).unwrap_or(u32::MAX);
    f64::from(counted) / f64::from(REQUESTS)
}

/// The allocator of this program.
pub(crate) struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(
    unsafe_code,
    reason = "there is no safe way to be an allocator; all is handed on as it came"
)]
// SAFETY: each call is mimalloc's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as the caller has it.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as the caller has it.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as the caller has it.
        unsafe { MiMalloc.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller has it.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }
}
