//! Writing inventories: those whose period has no manifest yet.

use bytes::Bytes;
use datamesh_catalog::{Bucket, BucketId, ConfigKind};
use datamesh_node::one_line;
use md5::{Digest, Md5};
use serde_json::json;

use super::{JobError, Jobs, configuration, now_ms};
use crate::inventory::{CsvFile, Included, Inventories, Inventory, Row};
use crate::row_key::RowKey;
use crate::s3::S3Gateway;

/// Buckets and versions per query.
const PAGE: usize = 1000;
/// The file that says which files an inventory has.
const MANIFEST: &str = "manifest.json";
/// Lines of one file.
const ROWS_MAX: usize = 100_000;

/// A file, as a manifest names it.
struct Written {
    key: String,
    len: usize,
    md5: String,
}

impl Jobs {
    pub(super) async fn leased_inventory(&self) -> Result<(), JobError> {
        self.under_lease("inventory", self.write_inventories(now_ms())).await.map(drop)
    }

    /// Writes every inventory that is due now: waits for those that another gateway writes.
    pub async fn write_due_inventories(&self) -> Result<u64, JobError> {
        self.when_leased("inventory", Box::pin(self.write_inventories(now_ms()))).await
    }

    /// Writes every inventory that is due at `now_ms`; how many were. One that fails is logged and tried again.
    pub async fn write_inventories(&self, now_ms: u64) -> Result<u64, JobError> {
        let (mut written, mut after) = (0, BucketId(0));
        loop {
            let catalog = &self.inner.catalog;
            let buckets = catalog.buckets_configured(ConfigKind::Inventory, after, PAGE).await?;
            let Some(last) = buckets.last() else { return Ok(written) };
            after = last.id;
            for bucket in &buckets {
                for inventory in self.inventories(bucket).await?.inventories {
                    match self.write_if_due(bucket, &inventory, now_ms).await {
                        Ok(done) => written += u64::from(done),
                        Err(error) => {
                            let error = one_line(&error);
                            tracing::warn!(bucket = bucket.name, id = inventory.id, %error, "could not write an inventory");
                        }
                    }
                }
            }
        }
    }

    /// Writes the inventories of a bucket, or the one of that id, as of now: also those whose period has been
    /// written, and disabled ones. How many were written.
    ///
    /// # Errors
    /// [`JobError::NoInventory`] when there is none; the first that fails ends it.
    pub async fn write_inventories_of(
        &self,
        bucket: &str,
        id: Option<&str>,
        now_ms: u64,
    ) -> Result<u64, JobError> {
        let none = || JobError::NoInventory { bucket: bucket.to_owned() };
        let source = self.inner.catalog.bucket(bucket).await?.ok_or_else(none)?;
        let mut inventories = self.inventories(&source).await?.inventories;
        inventories.retain(|inventory| id.is_none_or(|id| inventory.id == id));
        if inventories.is_empty() {
            return Err(none());
        }
        for inventory in &inventories {
            let target = self.inventory_target(&source, inventory).await?;
            let folder = inventory.folder(&source.name, now_ms);
            self.write_inventory(&source, &target, inventory, &folder, now_ms).await?;
        }
        Ok(inventories.len() as u64)
    }

    async fn inventories(&self, bucket: &Bucket) -> Result<Inventories, JobError> {
        let stored = configuration(&self.inner.catalog, bucket, ConfigKind::Inventory).await?;
        Ok(stored.unwrap_or_default())
    }

    async fn write_if_due(
        &self,
        source: &Bucket,
        inventory: &Inventory,
        now_ms: u64,
    ) -> Result<bool, JobError> {
        if !inventory.enabled {
            return Ok(false);
        }
        let target = self.inventory_target(source, inventory).await?;
        let folder = inventory.folder(&source.name, inventory.frequency.period_ms(now_ms));
        let manifest = format!("{folder}{MANIFEST}");
        if self.inner.catalog.version(target.id, manifest.as_bytes(), None).await?.is_some() {
            return Ok(false);
        }
        self.write_inventory(source, &target, inventory, &folder, now_ms).await?;
        Ok(true)
    }

    async fn inventory_target(&self, source: &Bucket, inventory: &Inventory) -> Result<Bucket, JobError> {
        let target = self.inner.catalog.bucket(&inventory.target).await?;
        // It may have been deleted, and made again by somebody else.
        target
            .filter(|target| target.account == source.account)
            .ok_or_else(|| JobError::NoTarget { bucket: inventory.target.clone() })
    }

    async fn write_inventory(
        &self,
        source: &Bucket,
        target: &Bucket,
        inventory: &Inventory,
        folder: &str,
        now_ms: u64,
    ) -> Result<(), JobError> {
        let files = self.write_files(source, target, inventory).await?;
        let document = describe(source, target, inventory, &files, now_ms).to_string();
        let checksum = hex::encode(Md5::digest(document.as_bytes()));
        self.put(target, format!("{folder}manifest.checksum"), checksum.into(), "text/plain").await?;
        // Last: it says that all of it is there.
        self.put(target, format!("{folder}{MANIFEST}"), document.into(), "application/json").await
    }

    async fn write_files(
        &self,
        source: &Bucket,
        target: &Bucket,
        inventory: &Inventory,
    ) -> Result<Vec<Written>, JobError> {
        let mut written = Vec::new();
        let (mut file, mut after) = (CsvFile::default(), None);
        let mut newest = Vec::new();
        let rows = RowKey::of(self.inner.accounts.keyring(), source).await?;
        loop {
            let mut page = self.inner.catalog.aging_versions(source.id, after, PAGE).await?;
            rows.open_tags(&mut page)?;
            for version in &page {
                let latest = newest != version.key;
                newest.clone_from(&version.key);
                let is_current = latest && !version.delete_marker;
                let wanted = inventory.included == Included::All || is_current;
                let prefix = inventory.prefix.as_deref().unwrap_or_default().as_bytes();
                if wanted && version.key.starts_with(prefix) {
                    file.push(inventory, Row { bucket: &source.name, version, latest })?;
                }
                if file.rows() == ROWS_MAX {
                    written
                        .push(self.write_file(source, target, inventory, std::mem::take(&mut file)).await?);
                }
            }
            let Some(last) = page.into_iter().last() else { break };
            after = Some((last.key, last.sequence));
        }
        if file.rows() > 0 {
            written.push(self.write_file(source, target, inventory, file).await?);
        }
        Ok(written)
    }

    async fn write_file(
        &self,
        source: &Bucket,
        target: &Bucket,
        inventory: &Inventory,
        file: CsvFile,
    ) -> Result<Written, JobError> {
        let bytes = file.finish()?;
        let unique = datamesh_types::SealedId::random();
        let key = format!("{}data/{unique}.csv.gz", inventory.place(&source.name));
        let written = Written { key: key.clone(), len: bytes.len(), md5: hex::encode(Md5::digest(&bytes)) };
        self.put(target, key, bytes.into(), "application/gzip").await?;
        Ok(written)
    }

    async fn put(&self, target: &Bucket, key: String, body: Bytes, kind: &str) -> Result<(), JobError> {
        let gateway: &S3Gateway = &self.inner.gateway;
        // Boxed: a whole write is in it.
        let written = Box::pin(gateway.deposit(target, key, body, kind)).await;
        written.map_err(|source| JobError::Deposit { source })
    }
}

fn describe(
    source: &Bucket,
    target: &Bucket,
    inventory: &Inventory,
    files: &[Written],
    now_ms: u64,
) -> serde_json::Value {
    let file = |file: &Written| json!({ "key": file.key, "size": file.len, "MD5checksum": file.md5 });
    json!({
        "sourceBucket": source.name,
        "destinationBucket": format!("arn:aws:s3:::{}", target.name),
        "version": "2016-11-30",
        "creationTimestamp": now_ms.to_string(),
        "fileFormat": "CSV",
        "fileSchema": inventory.schema(),
        "files": files.iter().map(file).collect::<Vec<_>>(),
    })
}
