//! How both binaries end when they fail: at once, and without running what could crash.

use std::error::Error;

use crate::one_line;

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
