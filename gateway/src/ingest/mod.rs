//! Writing: a body becomes sealed chunks in a backend, and manifest entries for the catalog to commit.
//!
//! ```text
//! body --batches--> digests (MD5, checksum)             one blocking thread at a time, beside
//!              \--> cutter (FastCDC, chunk ids)         one blocking thread at a time
//!                     \--> dedup lookup --miss--> seal --> backend.put      several chunks in flight
//!                                                             \--> entries, in order --> pending manifest
//! ```
//!
//! Memory per upload is bounded whatever its size: a batch being read and one being hashed and cut, the cutter's
//! buffer, and [`IngestConfig::in_flight_bytes`] of plaintext being sealed and put. Every
//! [`IngestConfig::flush_entries`] chunks the entries go into a pending manifest, which also protects what
//! they refer to from collection.
//!
//! Nothing is visible before the caller commits [`Ingested::content`]; when it does not, everything is given up.

mod batch;
mod digest;
mod error;
mod lane;
mod pending;
mod writer;

use std::sync::Arc;

use bytes::Bytes;
use datamesh_backend::Backend;
use datamesh_catalog::{Catalog, Content, ManifestContent};
use datamesh_pipeline::{Chunker, ChunkerConfig, CompressionHint, DomainKey, chunk_id, seal};
use datamesh_types::{ChunkId, DomainId};
use futures::Stream;
use s3s::checksum::ChecksumHasher;
use s3s::dto::Checksum;
use tokio::sync::Semaphore;

pub use batch::BodyLen;
pub use error::IngestError;
pub use pending::PendingManifest;

use batch::{Batch, Batches};
use digest::Digests;
use lane::Lane;
use writer::ChunkWriter;

/// The limits of writing.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// Chunk sizes.
    pub chunker: ChunkerConfig,
    /// Objects up to this many bytes are kept in the catalog.
    pub inline_max: usize,
    /// Chunks of one upload that are sealed and put at the same time.
    pub chunks_in_flight: usize,
    /// Their plaintext, in bytes; one chunk may always be in flight.
    pub in_flight_bytes: usize,
    /// The same for all uploads together.
    pub in_flight_bytes_total: usize,
    /// How many entries are gathered before they are flushed to a pending manifest. At most 1,024.
    pub flush_entries: usize,
    /// How long a pending manifest lives without a flush or commit, in milliseconds.
    pub pending_ttl_ms: u64,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            chunker: ChunkerConfig::default(),
            inline_max: 8 << 10,
            chunks_in_flight: 4,
            in_flight_bytes: 4 << 20,
            in_flight_bytes_total: 128 << 20,
            flush_entries: 64,
            pending_ttl_ms: 60 * 60 * 1000,
        }
    }
}

/// Where and how one body is stored.
#[derive(Clone)]
pub struct Destination {
    /// Whose chunks it may share.
    pub domain: DomainId,
    /// That domain's key.
    pub key: DomainKey,
    /// The backend's name in the catalog.
    pub backend_name: String,
    /// The backend.
    pub backend: Arc<dyn Backend>,
    /// Helps to choose the compression.
    pub content_type: Option<String>,
    /// Whether the storage class is a cold one.
    pub cold: bool,
    /// Whether a small body may be kept in the catalog. Parts of uploads may not.
    pub inline: bool,
}

/// What became of a body.
pub struct Ingested {
    /// For the catalog's commit.
    pub content: Content,
    /// Length of the body in bytes.
    pub size: u64,
    /// MD5 of the body.
    pub md5: [u8; 16],
    /// The checksums that were asked for.
    pub sums: Checksum,
    /// Keep it until the commit; then [`PendingManifest::committed`].
    pub pending: PendingManifest,
}

impl Ingested {
    /// The content as parts of uploads need it.
    pub fn manifest(&self, destination: &Destination) -> ManifestContent {
        match &self.content {
            Content::Manifest(manifest) => manifest.clone(),
            Content::Empty | Content::Inline { .. } => ManifestContent {
                pending: None,
                domain: destination.domain,
                backend: destination.backend_name.clone(),
                tail: Vec::new(),
            },
        }
    }
}

/// Writes bodies.
#[derive(Clone)]
pub struct Ingest {
    catalog: Catalog,
    config: Arc<IngestConfig>,
    /// In KiB of plaintext: how much all uploads together may have in flight.
    budget: Arc<Semaphore>,
}

impl Ingest {
    /// A writer over `catalog`.
    pub fn new(catalog: Catalog, config: IngestConfig) -> Self {
        let budget = Arc::new(Semaphore::new((config.in_flight_bytes_total >> 10).max(16 << 10)));
        Self { catalog, config: Arc::new(config), budget }
    }

    /// Stores a body of that length.
    ///
    /// # Errors
    /// [`IngestError::Body`] when the body fails, [`IngestError::Length`] when it has another length. Nothing is
    /// left behind but garbage that collection finds. Dropping the future has the same effect.
    pub async fn store<S>(
        &self,
        body: S,
        len: BodyLen,
        checksum: ChecksumHasher,
        destination: Destination,
    ) -> Result<Ingested, IngestError>
    where
        S: Stream<Item = Result<Bytes, s3s::StdError>> + Send + Unpin,
    {
        let digests = Digests::new(checksum);
        if len.max() == 0 || (destination.inline && len.max() <= self.config.inline_max as u64) {
            return self.store_inline(body, len, digests, &destination).await;
        }
        self.store_chunks(body, len, digests, destination).await
    }

    /// All in this task: for a few KiB every handover costs more than the work.
    async fn store_inline<S>(
        &self,
        body: S,
        len: BodyLen,
        mut digests: Digests,
        destination: &Destination,
    ) -> Result<Ingested, IngestError>
    where
        S: Stream<Item = Result<Bytes, s3s::StdError>> + Send + Unpin,
    {
        let bytes = batch::read_whole(body, len).await?;
        digests.update(&bytes);
        let (md5, sums) = digests.finish();
        let content = if bytes.is_empty() {
            Content::Empty
        } else {
            let chunk = chunk_id(&destination.key, &bytes);
            let sealed = seal(&destination.key, &chunk, &bytes, &hint(destination))?;
            Content::Inline { chunk, sealed }
        };
        let pending = PendingManifest::none(self.catalog.clone());
        Ok(Ingested { content, size: bytes.len() as u64, md5, sums, pending })
    }

    async fn store_chunks<S>(
        &self,
        body: S,
        len: BodyLen,
        digests: Digests,
        destination: Destination,
    ) -> Result<Ingested, IngestError>
    where
        S: Stream<Item = Result<Bytes, s3s::StdError>> + Send + Unpin,
    {
        let cutter = Cutter {
            chunker: Chunker::new(&self.config.chunker, &destination.key)?,
            key: destination.key.clone(),
            cut: Vec::new(),
        };
        let mut digests = Lane::new(digests);
        let mut cutter = Lane::new(cutter);
        let mut writer = ChunkWriter::new(self, destination);
        let mut batches = Batches::new(body, len);
        while let Some(batch) = batches.next().await? {
            let same = batch.clone();
            digests.run(move |digests| same.iter().for_each(|piece| digests.update(piece))).await?;
            cutter.wait().await?;
            let cut = std::mem::take(&mut cutter.state().cut);
            cutter.run(move |cutter| cutter.push(&batch)).await?;
            writer.accept(cut).await?;
        }
        let cut = cutter.finish().await?.finish();
        writer.accept(cut).await?;
        let (md5, sums) = digests.finish().await?.finish();
        let (content, pending) = writer.finish().await?;
        let size = batches.received();
        let content = if size == 0 { Content::Empty } else { Content::Manifest(content) };
        Ok(Ingested { content, size, md5, sums, pending })
    }
}

fn hint(destination: &Destination) -> CompressionHint<'_> {
    CompressionHint { content_type: destination.content_type.as_deref(), cold: destination.cold }
}

/// A chunk, fresh from the cutter.
struct CutChunk {
    id: ChunkId,
    plaintext: Vec<u8>,
}

struct Cutter {
    chunker: Chunker,
    key: DomainKey,
    cut: Vec<CutChunk>,
}

impl Cutter {
    fn push(&mut self, batch: &Batch) {
        let Self { chunker, key, cut } = self;
        for piece in batch.iter() {
            chunker.push(piece, &mut |plaintext| {
                cut.push(CutChunk { id: chunk_id(key, &plaintext), plaintext });
            });
        }
    }

    fn finish(self) -> Vec<CutChunk> {
        let Self { chunker, key, mut cut } = self;
        if let Some(plaintext) = chunker.finish() {
            cut.push(CutChunk { id: chunk_id(&key, &plaintext), plaintext });
        }
        cut
    }
}
