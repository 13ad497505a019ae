//! Chunks to manifest entries: dedup lookup, sealing and putting several at a time, entries kept in order.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use datamesh_catalog::{KnownChunk, ManifestAppend, ManifestContent, ManifestEntry};
use datamesh_pipeline::seal;
use datamesh_types::{ChunkId, SealedId};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

use super::{CutChunk, Destination, Ingest, IngestError, PendingManifest, hint};

/// An entry on its way. Slots are settled in the order of the chunks.
enum Slot {
    Known(ManifestEntry),
    Putting { put: AbortOnDropHandle<Result<ManifestEntry, IngestError>>, len: usize },
}

pub(super) struct ChunkWriter {
    ingest: Ingest,
    destination: Arc<Destination>,
    slots: VecDeque<Slot>,
    in_flight: usize,
    in_flight_bytes: usize,
    entries: Vec<ManifestEntry>,
    /// New chunks that the catalog does not know of yet. One that recurs among them is flushed first, so that it
    /// is not written twice.
    unflushed: HashSet<ChunkId>,
    pending: PendingManifest,
    flushed_len: u64,
}

impl ChunkWriter {
    pub(super) fn new(ingest: &Ingest, destination: Destination) -> Self {
        Self {
            pending: PendingManifest::none(ingest.catalog.clone()),
            ingest: ingest.clone(),
            destination: Arc::new(destination),
            slots: VecDeque::new(),
            in_flight: 0,
            in_flight_bytes: 0,
            entries: Vec::new(),
            unflushed: HashSet::new(),
            flushed_len: 0,
        }
    }

    /// Takes the next chunks of the body. Returns when they are known or being put; waits for room before.
    pub(super) async fn accept(&mut self, chunks: Vec<CutChunk>) -> Result<(), IngestError> {
        if chunks.is_empty() {
            return Ok(());
        }
        let ids: Vec<ChunkId> = chunks.iter().map(|chunk| chunk.id).collect();
        let known = self.find(&ids).await?;
        for (chunk, known) in chunks.into_iter().zip(known) {
            self.accept_one(chunk, known).await?;
        }
        while let Some(Slot::Known(_)) = self.slots.front() {
            self.settle_oldest().await?;
        }
        Ok(())
    }

    async fn accept_one(&mut self, chunk: CutChunk, known: Option<KnownChunk>) -> Result<(), IngestError> {
        let known = match known {
            None if self.unflushed.contains(&chunk.id) => {
                while !self.slots.is_empty() {
                    self.settle_oldest().await?;
                }
                self.flush().await?;
                self.find(&[chunk.id]).await?.pop().flatten()
            }
            known => known,
        };
        match known {
            Some(KnownChunk { row, plain_len }) => {
                metrics::counter!("datamesh_ingest_deduplicated_bytes_total").increment(u64::from(plain_len));
                self.slots.push_back(Slot::Known(ManifestEntry::Known { row, len: plain_len }));
            }
            None => self.start_put(chunk).await?,
        }
        Ok(())
    }

    async fn find(&self, ids: &[ChunkId]) -> Result<Vec<Option<KnownChunk>>, IngestError> {
        let Destination { domain, backend_name, .. } = &*self.destination;
        Ok(self.ingest.catalog.find_chunks(*domain, backend_name, ids, crate::s3::now_ms()).await?)
    }

    async fn start_put(&mut self, chunk: CutChunk) -> Result<(), IngestError> {
        let config = Arc::clone(&self.ingest.config);
        let len = chunk.plaintext.len();
        while self.in_flight >= config.chunks_in_flight
            || (self.in_flight > 0 && self.in_flight_bytes + len > config.in_flight_bytes)
        {
            self.settle_oldest().await?;
        }
        let permits = len.div_ceil(1 << 10) as u32;
        let permit = Arc::clone(&self.ingest.budget).acquire_many_owned(permits).await;
        let permit = permit.expect("the ingest budget is never closed");
        self.unflushed.insert(chunk.id);
        self.in_flight += 1;
        self.in_flight_bytes += len;
        let put = tokio::spawn(put_chunk(chunk, Arc::clone(&self.destination), permit));
        self.slots.push_back(Slot::Putting { put: AbortOnDropHandle::new(put), len });
        Ok(())
    }

    /// Waits for the oldest chunk under way, and flushes when enough are done.
    async fn settle_oldest(&mut self) -> Result<(), IngestError> {
        let Some(slot) = self.slots.pop_front() else { return Ok(()) };
        let entry = match slot {
            Slot::Known(entry) => entry,
            Slot::Putting { put, len } => {
                let entry = put.await??;
                self.in_flight -= 1;
                self.in_flight_bytes -= len;
                entry
            }
        };
        self.entries.push(entry);
        if self.entries.len() >= self.ingest.config.flush_entries {
            self.flush().await?;
        }
        Ok(())
    }

    /// Moves the entries into the pending manifest.
    async fn flush(&mut self) -> Result<(), IngestError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.entries);
        let len: u64 = entries.iter().map(|entry| u64::from(entry.len())).sum();
        for entry in &entries {
            if let ManifestEntry::New { chunk, .. } = entry {
                self.unflushed.remove(chunk);
            }
        }
        let append = ManifestAppend {
            manifest: self.pending.id(),
            domain: self.destination.domain,
            backend: self.destination.backend_name.clone(),
            start_offset: self.flushed_len,
            entries,
            expires_at_ms: crate::s3::now_ms() + self.ingest.config.pending_ttl_ms,
        };
        self.pending.hold(self.ingest.catalog.append_manifest(append).await?);
        self.flushed_len += len;
        Ok(())
    }

    /// Waits for all chunks; what was not flushed goes into the commit.
    pub(super) async fn finish(mut self) -> Result<(ManifestContent, PendingManifest), IngestError> {
        while !self.slots.is_empty() {
            self.settle_oldest().await?;
        }
        let content = ManifestContent {
            pending: self.pending.id(),
            domain: self.destination.domain,
            backend: self.destination.backend_name.clone(),
            tail: self.entries,
        };
        Ok((content, self.pending))
    }
}

async fn put_chunk(
    chunk: CutChunk,
    destination: Arc<Destination>,
    permit: OwnedSemaphorePermit,
) -> Result<ManifestEntry, IngestError> {
    let CutChunk { id, plaintext } = chunk;
    let len = plaintext.len() as u32;
    let shared = Arc::clone(&destination);
    let sealed = spawn_blocking(move || seal(&shared.key, &id, &plaintext, &hint(&shared))).await??;
    metrics::counter!("datamesh_ingest_sealed_bytes_total").increment(sealed.len() as u64);
    let placed = destination.backend.put(SealedId::random(), Bytes::from(sealed)).await?;
    drop(permit);
    Ok(ManifestEntry::New { chunk: id, len, location: placed.location, missing: placed.missing })
}
