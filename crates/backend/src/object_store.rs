//! Sealed chunks in a bucket or a folder, through the `object_store` crate.
//!
//! Each chunk is one object, `PREFIX/chunks/ab/abcd...`, named by its sealed id, under a folder of the id's first
//! byte so that no folder of a file system grows too large. The content is the frame of a shard (version, keyed tag,
//! sealed chunk), so that damage and exchanged objects are noticed here.

use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_pipeline::{ShardAuthKey, check_shard, frame_shard};
use datamesh_types::{GroupId, Location, SealedId, ShardId};
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, ObjectStoreScheme, PutPayload};
use url::Url;

use crate::contract::checked_len;
use crate::{Backend, BackendConfigError, BackendError, Placed, Presence, StoredChunk};

/// Deletes on their way at the same time.
const DELETES_AT_ONCE: usize = 16;

/// Keeps each chunk as one object, framed with a keyed tag.
#[derive(Clone)]
pub struct ObjectStoreBackend {
    store: Arc<dyn ObjectStore>,
    chunks: Path,
    auth: ShardAuthKey,
    /// Whether listings come in the order of the names.
    sorted: bool,
}

impl fmt::Debug for ObjectStoreBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The store's own Debug may hold credentials.
        f.debug_struct("ObjectStoreBackend").field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

impl ObjectStoreBackend {
    /// The store that `url` names: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`,
    /// `file:///FOLDER` or `memory:///`, with that store's own options of the `object_store` crate, for example
    /// `aws_access_key_id`, `aws_endpoint` or `google_service_account`. A folder is made when it is missing.
    ///
    /// `auth` keys the tags of the objects.
    pub fn from_url(
        url: &str,
        options: &BTreeMap<String, String>,
        auth: ShardAuthKey,
    ) -> Result<Self, BackendConfigError> {
        let unknown = || BackendConfigError::Url { url: url.to_owned() };
        let parsed = Url::parse(url).map_err(|_| unknown())?;
        let (scheme, prefix) = ObjectStoreScheme::parse(&parsed).map_err(|_| unknown())?;
        let store: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::Local => {
                let folder = parsed.to_file_path().map_err(|()| unknown())?;
                no_options(url, options)?;
                Arc::new(open_folder(&folder).map_err(|source| setup(url, source))?)
            }
            ObjectStoreScheme::Memory => {
                no_options(url, options)?;
                Arc::new(InMemory::new())
            }
            ObjectStoreScheme::AmazonS3 => {
                let builder = AmazonS3Builder::new().with_url(url);
                let builder = configure(url, options, builder, AmazonS3Builder::with_config)?;
                Arc::new(builder.build().map_err(|source| setup(url, source))?)
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let builder = GoogleCloudStorageBuilder::new().with_url(url);
                let builder = configure(url, options, builder, GoogleCloudStorageBuilder::with_config)?;
                Arc::new(builder.build().map_err(|source| setup(url, source))?)
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let builder = MicrosoftAzureBuilder::new().with_url(url);
                let builder = configure(url, options, builder, MicrosoftAzureBuilder::with_config)?;
                Arc::new(builder.build().map_err(|source| setup(url, source))?)
            }
            _ => return Err(unknown()),
        };
        let is_folder = matches!(scheme, ObjectStoreScheme::Local);
        let prefix = if is_folder { Path::default() } else { prefix };
        Ok(Self { store, chunks: prefix.join("chunks"), auth, sorted: !is_folder })
    }

    fn folder(&self, first_byte: u8) -> Path {
        self.chunks.clone().join(format!("{first_byte:02x}"))
    }

    fn path(&self, sealed: SealedId) -> Path {
        self.folder(sealed.0[0]).join(sealed.to_string())
    }

    /// Up to `limit` chunks of one folder, ascending, after `after`. Holds no more than `limit` in memory.
    async fn list_folder(
        &self,
        first_byte: u8,
        after: Option<SealedId>,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, BackendError> {
        let folder = self.folder(first_byte);
        let offset = after.map_or_else(|| folder.clone(), |after| self.path(after));
        let mut objects = self.store.list_with_offset(Some(&folder), &offset);
        let mut smallest: BinaryHeap<(SealedId, i64)> = BinaryHeap::new();
        while let Some(object) = objects.try_next().await.map_err(unavailable)? {
            let Some((sealed, stored_at_ms)) = chunk_of(&object) else { continue };
            if after.is_some_and(|after| sealed <= after) {
                continue;
            }
            smallest.push((sealed, stored_at_ms));
            if smallest.len() > limit {
                smallest.pop();
                if self.sorted {
                    break;
                }
            }
        }
        let stored = smallest.into_sorted_vec().into_iter();
        Ok(stored
            .map(|(sealed, stored_at_ms)| StoredChunk { group: GroupId::NONE, sealed, stored_at_ms })
            .collect())
    }
}

fn open_folder(folder: &std::path::Path) -> Result<LocalFileSystem, object_store::Error> {
    std::fs::create_dir_all(folder)
        .map_err(|source| object_store::Error::Generic { store: "folder", source: Box::new(source) })?;
    Ok(LocalFileSystem::new_with_prefix(folder)?.with_fsync(true))
}

fn setup(url: &str, source: object_store::Error) -> BackendConfigError {
    BackendConfigError::Setup { url: url.to_owned(), source: Box::new(source) }
}

fn no_options(url: &str, options: &BTreeMap<String, String>) -> Result<(), BackendConfigError> {
    let unknown =
        |option: &String| BackendConfigError::UnknownOption { option: option.clone(), url: url.to_owned() };
    options.keys().next().map_or(Ok(()), |option| Err(unknown(option)))
}

fn configure<Builder, Key: FromStr>(
    url: &str,
    options: &BTreeMap<String, String>,
    builder: Builder,
    with: impl Fn(Builder, Key, String) -> Builder,
) -> Result<Builder, BackendConfigError> {
    options.iter().try_fold(builder, |builder, (option, value)| {
        let key = option
            .parse()
            .map_err(|_| BackendConfigError::UnknownOption { option: option.clone(), url: url.to_owned() })?;
        Ok(with(builder, key, value.clone()))
    })
}

fn chunk_of(object: &ObjectMeta) -> Option<(SealedId, i64)> {
    let sealed = object.location.filename()?.parse().ok()?;
    Some((sealed, object.last_modified.timestamp_millis()))
}

fn shard_of(sealed: SealedId) -> ShardId {
    ShardId { group: GroupId::NONE, sealed, index: 0 }
}

fn unavailable(error: object_store::Error) -> BackendError {
    BackendError::Unavailable { source: Box::new(error) }
}

fn refused(sealed: SealedId, error: object_store::Error) -> BackendError {
    if matches!(error, object_store::Error::NotFound { .. }) {
        return BackendError::NotFound { sealed };
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if let Some(
            std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::QuotaExceeded
            | std::io::ErrorKind::ReadOnlyFilesystem,
        ) = kind
        {
            return BackendError::Full;
        }
        cause = error.source();
    }
    unavailable(error)
}

/// Hashing a chunk takes a fraction of a millisecond: too long for an async thread.
async fn computed<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BackendError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| BackendError::Unavailable { source: Box::new(error) })
}

#[async_trait]
impl Backend for ObjectStoreBackend {
    async fn put(&self, id: SealedId, sealed: Bytes) -> Result<Placed, BackendError> {
        let sealed_len = checked_len(&sealed)?;
        let auth = self.auth.clone();
        let framed = computed(move || frame_shard(&auth, &shard_of(id), &sealed)).await?;
        let payload = PutPayload::from_bytes(framed);
        self.store.put(&self.path(id), payload).await.map_err(|error| refused(id, error))?;
        let location = Location { group: GroupId::NONE, sealed: id, sealed_len };
        Ok(Placed { location, missing: Vec::new() })
    }

    async fn get(&self, location: &Location) -> Result<Bytes, BackendError> {
        let sealed = location.sealed;
        let failed = |error| refused(sealed, error);
        let object = self.store.get(&self.path(sealed)).await.map_err(failed)?;
        let framed = object.bytes().await.map_err(failed)?;
        let auth = self.auth.clone();
        let checked = computed(move || check_shard(&auth, &shard_of(sealed), framed)).await?;
        match checked {
            Ok(bytes) if bytes.len() == location.sealed_len as usize => Ok(bytes),
            Ok(_) | Err(_) => Err(BackendError::Corrupt { sealed }),
        }
    }

    async fn delete(&self, locations: &[Location]) -> Vec<Result<(), BackendError>> {
        let delete = |location: &Location| {
            let (sealed, path) = (location.sealed, self.path(location.sealed));
            async move {
                match self.store.delete(&path).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                    Err(error) => Err(refused(sealed, error)),
                }
            }
        };
        let deletes: Vec<_> = locations.iter().map(delete).collect();
        stream::iter(deletes).buffered(DELETES_AT_ONCE).collect().await
    }

    async fn presence(&self, location: &Location) -> Result<Presence, BackendError> {
        let (good, unknown) = match self.get(location).await {
            Ok(_) => (1, 0),
            Err(BackendError::NotFound { .. } | BackendError::Corrupt { .. }) => (0, 0),
            Err(_) => (0, 1),
        };
        Ok(Presence { good, unknown, total: 1, needed: 1 })
    }

    async fn list(
        &self,
        after: Option<(GroupId, SealedId)>,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, BackendError> {
        let after = after.map(|(_, sealed)| sealed);
        let mut page: Vec<StoredChunk> = Vec::new();
        for first_byte in after.map_or(0, |after| after.0[0])..=u8::MAX {
            if page.len() == limit {
                break;
            }
            page.extend(self.list_folder(first_byte, after, limit - page.len()).await?);
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_url(url: &str, options: &[(&str, &str)]) -> Result<ObjectStoreBackend, BackendConfigError> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ObjectStoreBackend::from_url(url, &options, ShardAuthKey::from_bytes([1; 32]))
    }

    #[test]
    fn every_kind_of_store_is_made_from_its_url() {
        for (url, options) in [
            (
                "s3://bucket/some/prefix",
                &[("aws_region", "eu-central-1"), ("aws_skip_signature", "true")][..],
            ),
            ("gs://bucket", &[("google_skip_signature", "true")]),
            ("az://container/prefix", &[("azure_storage_account_name", "account")]),
            ("memory:///", &[]),
        ] {
            let backend = from_url(url, options);
            assert!(backend.is_ok(), "{url}: {:?}", backend.err());
        }
        let backend = from_url("s3://bucket/some/prefix", &[("region", "x")]).unwrap();
        assert_eq!(backend.chunks.as_ref(), "some/prefix/chunks");
        assert!(!format!("{backend:?}").contains("secret"));
    }

    #[test]
    fn what_is_no_store_or_no_option_is_refused_by_name() {
        for url in ["", "bucket", "ftp://host/x", "https://example.com/x", "redis://x"] {
            assert!(matches!(from_url(url, &[]), Err(BackendConfigError::Url { .. })), "{url}");
        }
        for url in ["s3://bucket", "gs://bucket", "az://container", "memory:///"] {
            let error = from_url(url, &[("colour", "red")]).err().unwrap();
            assert!(matches!(error, BackendConfigError::UnknownOption { .. }), "{error}");
        }
    }
}
