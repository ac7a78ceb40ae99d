//! Memory that is always handed out in the same few instructions, whatever came before, so that
//! counts are those of the code that asked for it; and all in one place, so that it can be searched.

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::UnsafeCell,
    ptr,
};

const SIZE: usize = 1 << 28;
const CLASSES: usize = SIZE.ilog2() as usize;

struct Arena(UnsafeCell<State>);

#[repr(C, align(4096))]
struct State {
    memory: [u8; SIZE],
    used: usize,
    /// What was given back, by the logarithm of its size: each piece points to the next.
    free: [*mut u8; CLASSES],
}

#[global_allocator]
static ARENA: Arena =
    Arena(UnsafeCell::new(State { memory: [0; SIZE], used: 0, free: [ptr::null_mut(); CLASSES] }));

// SAFETY: the programs of this package have one thread each.
unsafe impl Sync for Arena {}

/// A power of two, so that a piece at a multiple of its size is aligned for whatever fits.
fn class(layout: Layout) -> usize {
    layout.size().max(layout.align()).max(16).next_power_of_two().ilog2() as usize
}

// SAFETY: pieces are as large and as aligned as the class says, and lie beside one another. One that
// was given back is nobody's, and is handed out once.
unsafe impl GlobalAlloc for Arena {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let class = class(layout);
        let state = self.0.get();
        // SAFETY: nobody else has the state meanwhile; a piece is large enough for a pointer.
        unsafe {
            let Some(free) = (*state).free.get_mut(class) else { return ptr::null_mut() };
            let piece = *free;
            if !piece.is_null() {
                *free = *piece.cast();
                return piece;
            }
            let start = (*state).used.next_multiple_of(1 << class);
            if start + (1 << class) > SIZE {
                return ptr::null_mut();
            }
            (*state).used = start + (1 << class);
            (&raw mut (*state).memory).cast::<u8>().add(start)
        }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let state = self.0.get();
        // SAFETY: as above; the class is the one that it was handed out by.
        unsafe {
            let free = &mut (*state).free[class(layout)];
            *piece.cast() = *free;
            *free = piece;
        }
    }
}

/// All that was ever handed out, word by word.
pub fn words() -> impl Iterator<Item = *mut u64> {
    let state = ARENA.0.get();
    // SAFETY: only addresses are taken, of places within the memory.
    unsafe {
        let start = (&raw mut (*state).memory).cast::<u64>();
        (0..(*state).used / size_of::<u64>()).map(move |at| start.add(at))
    }
}
