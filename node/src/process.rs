//! What both binaries need of their process: how it keeps memory, and an end that cannot crash.

use std::error::Error;
use std::ffi::{c_int, c_long};

use crate::one_line;

/// How long the allocator keeps freed memory before it gives it back to the system.
const KEPT_MS: c_long = 10_000;

/// `mi_option_purge_delay` of mimalloc 3, which its crate has no name for.
const PURGE_DELAY: c_int = 15;

/// Makes the allocator keep freed memory for ten seconds. Buffers of shards come and go all the time: with mimalloc's
/// default of a second and less, page faults took a tenth of an upload's CPU.
pub fn keep_freed_memory() {
    #[allow(unsafe_code, reason = "the allocator is configured through its C interface")]
    // SAFETY: the option exists in mimalloc 3; setting it is atomic.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, KEPT_MS);
    }
}

/// Prints why the process ends, in one line, and ends it at once.
pub fn fail(program: &str, code: i32, error: &(dyn Error + 'static)) -> ! {
    eprintln!("{program}: {}", one_line(error));
    _exit(code)
}

#[allow(
    unsafe_code,
    reason = "the standard library has no exit that leaves the destructors of C++ statics alone"
)]
unsafe extern "C" {
    /// Ends the process at once. After a failed start threads of RocksDB may still run, and an ordinary exit destroys
    /// what they use under them. What must survive is on disk already.
    safe fn _exit(code: i32) -> !;
}

#[cfg(test)]
mod tests {
    #[test]
    #[allow(unsafe_code, reason = "the allocator is configured through its C interface")]
    fn the_option_for_keeping_freed_memory_is_the_one_that_is_meant() {
        // SAFETY: reading an option is atomic.
        let read = || unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) };
        assert_eq!(read(), 1000, "mimalloc's default for the delay of a purge, in milliseconds");
        super::keep_freed_memory();
        assert_eq!(read(), super::KEPT_MS);
    }
}
