//! A pending manifest that is given up unless it is committed.

use datamesh_catalog::{Catalog, ManifestId};

/// Holds the pending manifest of an upload. Dropped without [`Self::committed`], it releases the manifest in the
/// background; when that fails too, the manifest's expiry does.
pub struct PendingManifest {
    catalog: Catalog,
    id: Option<ManifestId>,
}

impl PendingManifest {
    /// Holds nothing yet.
    pub(crate) fn none(catalog: Catalog) -> Self {
        Self { catalog, id: None }
    }

    /// What it holds.
    pub(crate) const fn id(&self) -> Option<ManifestId> {
        self.id
    }

    /// Holds a manifest.
    pub(crate) const fn hold(&mut self, id: ManifestId) {
        self.id = Some(id);
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
