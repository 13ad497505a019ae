//! Sealed chunks in a bucket or a folder, through the `object_store` crate.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_types::{GroupId, Location, SealedId};

use crate::{Backend, BackendError, Placed, Presence, StoredChunk};

/// Keeps each chunk as one object, framed with a keyed tag.
pub struct ObjectStoreBackend {}

impl fmt::Debug for ObjectStoreBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObjectStoreBackend")
    }
}

impl ObjectStoreBackend {
    /// The store that `url` names, for example `s3://bucket/prefix`, `gs://bucket`, `az://container`,
    /// `file:///folder` or `memory:///`, with that store's own options, for example `aws_access_key_id`.
    ///
    /// `auth` keys the tags of the objects.
    pub fn from_url(
        _url: &str,
        _options: &std::collections::BTreeMap<String, String>,
        _auth: datamesh_pipeline::ShardAuthKey,
    ) -> Result<Self, crate::BackendConfigError> {
        todo!()
    }
}

#[async_trait]
impl Backend for ObjectStoreBackend {
    async fn put(&self, _id: SealedId, _sealed: Bytes) -> Result<Placed, BackendError> {
        todo!()
    }

    async fn get(&self, _location: &Location) -> Result<Bytes, BackendError> {
        todo!()
    }

    async fn delete(&self, _locations: &[Location]) -> Vec<Result<(), BackendError>> {
        todo!()
    }

    async fn presence(&self, _location: &Location) -> Result<Presence, BackendError> {
        todo!()
    }

    async fn list(
        &self,
        _after: Option<(GroupId, SealedId)>,
        _limit: usize,
    ) -> Result<Vec<StoredChunk>, BackendError> {
        todo!()
    }
}
