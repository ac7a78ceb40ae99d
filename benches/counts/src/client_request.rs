//! What a program can tell the valgrind that it runs under. Without one these do nothing.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("counts are of x86-64 alone");

use std::{arch::asm, ffi::CStr};

const RUNNING_ON_VALGRIND: usize = 0x1001;
const COUNT_ERRORS: usize = 0x1201;
const MEMCHECK: usize = tool(b'M', b'C');
const CALLGRIND: usize = tool(b'C', b'T');

const fn tool(first: u8, second: u8) -> usize {
    (first as usize) << 24 | (second as usize) << 16
}

/// Whether this runs under valgrind.
pub fn is_running() -> bool {
    ask(RUNNING_ON_VALGRIND, [0; 2]) > 0
}

/// Makes callgrind count from now on.
pub fn start() {
    ask(CALLGRIND + 4, [0; 2]);
}

/// Counts from zero.
#[inline(always)]
pub fn zero() {
    ask(CALLGRIND + 1, [0; 2]);
}

/// Writes down what was counted, under a name.
#[inline(always)]
pub fn dump(name: &CStr) {
    ask(CALLGRIND + 3, [name.as_ptr() as usize, 0]);
}

/// Takes memory for undefined: memcheck reports whatever branches on it, or indexes by it.
pub fn undefine(word: *mut u64) {
    ask(MEMCHECK + 1, [word as usize, size_of::<u64>()]);
}

/// Takes memory for defined again.
pub fn define<T>(value: *const T) {
    ask(MEMCHECK + 2, [value as usize, size_of::<T>()]);
}

/// How much memcheck has reported so far.
pub fn reports() -> usize {
    ask(COUNT_ERRORS, [0; 2])
}

#[inline(always)]
fn ask(request: usize, [first, second]: [usize; 2]) -> usize {
    let words = [request, first, second, 0, 0, 0];
    let mut result = 0;
    // SAFETY: four rotations by 128 bits in all and an exchange of a register with itself change
    // nothing. valgrind knows them by their look, and reads the six words; where a request names
    // memory, its caller has it.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") words.as_ptr(),
            inout("rdx") result,
        );
    }
    result
}
