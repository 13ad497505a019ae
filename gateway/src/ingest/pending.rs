//! A pending manifest that is given up unless it is committed.

use datamesh_catalog::{Catalog, ManifestId};

/// Holds the pending manifest of an upload. Dropped without [`Self::committed`], it releases the manifest in the
/// background; when that fails too, the manifest's expiry does.
pub struct PendingManifest {
    catalog: Catalog,
    pub(super) id: Option<ManifestId>,
}

impl PendingManifest {
    pub(super) fn none(catalog: Catalog) -> Self {
        Self { catalog, id: None }
    }

    /// The commit succeeded: the manifest stays.
    pub fn committed(mut self) {
        self.id = None;
    }
}

impl Drop for PendingManifest {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) else { return };
        let catalog = self.catalog.clone();
        runtime.spawn(async move {
            if let Err(error) = catalog.release_manifest(id, crate::s3::now_ms()).await {
                tracing::debug!(manifest = id.0, %error, "left a pending manifest to expire");
            }
        });
    }
}
