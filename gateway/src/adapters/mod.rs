//! Where the parts meet: each adapter lets one of them use another without knowing it.

mod directory;
mod rest;

pub use directory::CatalogDirectory;
pub use rest::RestService;
