//! Where the crates meet: each adapter lets one of them use another without knowing it.

mod directory;

pub use directory::CatalogDirectory;
