//! What people may ask for: a copy of everything that is known about them, and to be forgotten.

mod archive;
mod erasure;

pub use archive::{ExportError, export};
pub use erasure::{EraseError, ErasurePass, ErasureReport, ErasureStep};
