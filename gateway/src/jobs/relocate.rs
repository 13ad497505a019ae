//! Moving a version to another storage class: its sealed chunks are copied to the class's backend, then the catalog
//! switches over in one transaction. Nothing is opened, so what only a client can read moves as well.

use std::collections::HashMap;
use std::sync::Arc;

use datamesh_backend::Backend;
use datamesh_catalog::{
    AgingVersion, Bucket, Catalog, CatalogError, ManifestAppend, ManifestContent, ManifestEntry, Message,
    PlannedChunk, RelocateVersion, VersionManifest,
};
use datamesh_types::{ChunkId, SealedId};
use futures::{StreamExt, TryStreamExt, stream};

use super::JobError;
use crate::ingest::PendingManifest;
use crate::retrieve::Backends;
use crate::s3::StorageClasses;

/// Chunks of one version that are copied at the same time.
const CHUNKS_AT_ONCE: usize = 4;
/// How long the manifests of a move live between two pages of chunks, and while later parts are copied.
const PENDING_TTL_MS: u64 = 24 * 3600 * 1000;

/// Moves versions. Cheap to clone.
#[derive(Clone)]
pub struct Mover {
    /// Versions and manifests.
    pub catalog: Catalog,
    /// What storage classes mean.
    pub classes: StorageClasses,
    /// Where the chunks are now.
    pub backends: Backends,
}

/// Where chunks go.
struct Target<'a> {
    name: &'a str,
    backend: &'a Arc<dyn Backend>,
}

impl Mover {
    /// Moves a version to `class`, and tells of it with `messages`; `false` when there is nothing to move any more, or no
    /// such class.
    ///
    /// # Errors
    /// When chunks can't be read or written. The version stays where it was.
    pub async fn relocate(
        &self,
        bucket: &Bucket,
        version: &AgingVersion,
        class: &str,
        messages: Vec<Message>,
        now_ms: u64,
    ) -> Result<bool, JobError> {
        let Some((name, backend)) = self.classes.placement(class) else {
            tracing::warn!(
                bucket = bucket.name,
                class,
                "a rule names a storage class that is not configured"
            );
            return Ok(false);
        };
        let stored = self.catalog.version(bucket.id, &version.key, Some(version.id)).await?;
        let Some(stored) = stored.filter(|stored| stored.sequence == version.sequence) else {
            return Ok(false);
        };
        let (mut moved, mut pending) = (Vec::new(), Vec::new());
        for manifest in self.catalog.version_manifests(&stored).await? {
            if manifest.backend == name {
                continue;
            }
            let (content, guard) = self.copy(&manifest, &Target { name, backend }, now_ms).await?;
            moved.push((manifest, content));
            pending.push(guard);
        }
        let relocate = RelocateVersion {
            bucket: bucket.id,
            key: version.key.clone(),
            version: version.id,
            sequence: version.sequence,
            storage_class: class.to_owned(),
            moved,
            now_ms,
        };
        match self.catalog.announcing(messages).relocate_version(relocate).await {
            Ok(true) => {
                pending.into_iter().for_each(PendingManifest::committed);
                Ok(true)
            }
            // Replaced or deleted while its bytes were copied.
            Ok(false) | Err(CatalogError::NoSuchBucket) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Copies one manifest's chunks into a pending manifest on the target.
    async fn copy(
        &self,
        from: &VersionManifest,
        to: &Target<'_>,
        now_ms: u64,
    ) -> Result<(ManifestContent, PendingManifest), JobError> {
        let mut pending = PendingManifest::none(self.catalog.clone());
        let mut copied = 0;
        while copied < from.size {
            let chunks = self.catalog.manifest_chunks(from.manifest, copied).await?;
            let entries = self.copy_page(from, &chunks, to, now_ms).await?;
            let len: u64 = entries.iter().map(|entry| u64::from(entry.len())).sum();
            let append = ManifestAppend {
                manifest: pending.id(),
                domain: from.domain,
                backend: to.name.to_owned(),
                start_offset: copied,
                entries,
                expires_at_ms: now_ms + PENDING_TTL_MS,
            };
            pending.hold(self.catalog.append_manifest(append).await?);
            copied += len;
        }
        let content = ManifestContent {
            pending: pending.id(),
            domain: from.domain,
            backend: to.name.to_owned(),
            tail: Vec::new(),
        };
        Ok((content, pending))
    }

    /// The chunks of a page as entries of a manifest on the target: those that it has already are referred to, the
    /// others copied, each once.
    async fn copy_page(
        &self,
        from: &VersionManifest,
        chunks: &[PlannedChunk],
        to: &Target<'_>,
        now_ms: u64,
    ) -> Result<Vec<ManifestEntry>, JobError> {
        let ids: Vec<ChunkId> = chunks.iter().map(|chunk| chunk.chunk).collect();
        let known = self.catalog.find_chunks(from.domain, to.name, &ids, now_ms).await?;
        let mut entries = HashMap::new();
        let mut wanted = HashMap::new();
        for (chunk, known) in chunks.iter().zip(known) {
            match known {
                Some(known) => {
                    entries
                        .insert(chunk.chunk, ManifestEntry::Known { row: known.row, len: known.plain_len });
                }
                None => {
                    wanted.insert(chunk.chunk, chunk);
                }
            }
        }
        let copies: Vec<_> = wanted.into_values().map(|chunk| self.copy_chunk(chunk, to)).collect();
        let put: Vec<(ChunkId, ManifestEntry)> =
            stream::iter(copies).buffer_unordered(CHUNKS_AT_ONCE).try_collect().await?;
        entries.extend(put);
        let entry = |id| entries.get(id).cloned().expect("every chunk was found or copied");
        Ok(ids.iter().map(entry).collect())
    }

    async fn copy_chunk(
        &self,
        chunk: &PlannedChunk,
        to: &Target<'_>,
    ) -> Result<(ChunkId, ManifestEntry), JobError> {
        let source = self.backends.get(&chunk.backend);
        let source = source.ok_or_else(|| JobError::UnknownBackend { name: chunk.backend.clone() })?;
        let sealed = source.get(&chunk.location).await?;
        let placed = to.backend.put(SealedId::random(), sealed).await?;
        let entry = ManifestEntry::New {
            chunk: chunk.chunk,
            len: chunk.plain_len,
            location: placed.location,
            missing: placed.missing,
        };
        Ok((chunk.chunk, entry))
    }
}
