//! The export of an account: a compressed tar archive of JSON files, made while it is sent, a page at a time.

use std::io;

use bytes::Bytes;
use datamesh_accounts::{Accounts, AccountsError, Dossier, Keyring, User};
use datamesh_catalog::{
    AgingVersion, Bucket, Catalog, CatalogError, ConfigKind, ListedUpload, RetentionMode, UploadListQuery,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{Stream, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::admin_api::time_text;
use crate::row_key::{RowError, RowKey};
use crate::s3::now_ms;

/// Versions, uploads and buckets per file and query.
const PAGE: usize = 1_000;
/// Pieces of the archive that wait for a slow reader.
const PIECES_QUEUED: usize = 4;
const FOLDER: &str = "datamesh-export";
const README: &str = "\
This archive has what DataMesh knows about the account in account.json, as JSON.

- account, holds, access-keys, sessions, subscription, plan-terms, own-limits, quota, quota-warnings: the account and what
  it may do. Secrets of access keys and passwords are not here: nobody can read them.
- usage, usage-events: what was stored and moved. Buckets have the numbers of buckets.json.
- invoices, payments, payment-intents, refunds, credit-notes: money, in millionths of a unit.
- bill-letters: letters about invoices that are still to be sent.
- service-windows: how many requests there were, and how many failed, every five minutes.
- registrations, verification-cases, abuse-cases, erasures: what was asked and decided.
- encryption-keys: the names of keys that objects are encrypted with.
- audit: what administrators did to the account.
- buckets, and in the folder of each bucket its versions and open uploads, with sizes, times and tags.

The contents of objects, and the headers that were stored with them, are not here: they are read through S3 (GetObject,
HeadObject) with one of the access keys, for example by 'aws s3 sync'.

A table with many rows has several files. Times are UTC.
";

/// An archive could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The accounts.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// What a row says of a content.
    #[error(transparent)]
    Row(#[from] RowError),
    /// It could not be packed.
    #[error("the archive could not be packed")]
    Pack(#[from] io::Error),
    /// Whoever asked is gone.
    #[error("nobody reads the archive any more")]
    Unread,
}

/// The archive, compressed with gzip. It ends with an error, and without its last bytes, when it cannot be completed.
/// Dropping the stream ends the work for it.
pub fn export(
    accounts: &Accounts,
    catalog: &Catalog,
    user: &User,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let (sender, receiver) = mpsc::channel(PIECES_QUEUED);
    let (dossier, catalog, user) = (accounts.dossier(user.id), catalog.clone(), user.clone());
    let packer = Packer::new(sender.clone(), accounts.keyring().clone());
    tokio::spawn(async move {
        match packer.pack(&dossier, &catalog, &user).await {
            Ok(()) | Err(ExportError::Unread) => {}
            Err(error) => {
                tracing::error!(account = %user.id, error = %datamesh_node::one_line(&error), "an export failed");
                // Whoever reads must not take what there is for all.
                let _gone = sender.send(Err(io::Error::other("the export failed"))).await;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece: io::Result<Bytes>| (piece, receiver))
    })
}

/// Packs files, and sends what is packed.
struct Packer {
    archive: tar::Builder<GzEncoder<Vec<u8>>>,
    sender: mpsc::Sender<io::Result<Bytes>>,
    keyring: Keyring,
    now_ms: u64,
}

impl Packer {
    fn new(sender: mpsc::Sender<io::Result<Bytes>>, keyring: Keyring) -> Self {
        let archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        Self { archive, sender, keyring, now_ms: now_ms() }
    }

    async fn pack(mut self, dossier: &Dossier, catalog: &Catalog, user: &User) -> Result<(), ExportError> {
        self.add("README.txt", README.as_bytes()).await?;
        for part in Dossier::parts() {
            let mut after = None;
            for page in 0.. {
                let (rows, next) = dossier.page(part, after.as_ref()).await?;
                self.add_rows(part.name, page, &rows).await?;
                if next.is_none() {
                    break;
                }
                after = next;
            }
        }
        self.add_rows("encryption-keys", 0, &dossier.encryption_keys().await?).await?;
        let entries = dossier.audit_entries().await?;
        for (page, entries) in entries.chunks(PAGE).enumerate() {
            let rows: Vec<_> = entries.iter().map(|entry| json!(entry)).collect();
            self.add_rows("audit", page, &rows).await?;
        }
        self.pack_buckets(catalog, user).await?;
        let rest = self.archive.into_inner()?.finish()?;
        self.sender.send(Ok(rest.into())).await.map_err(|_| ExportError::Unread)
    }

    async fn pack_buckets(&mut self, catalog: &Catalog, user: &User) -> Result<(), ExportError> {
        let (mut after, mut page) = (None, 0);
        loop {
            let buckets = catalog.list_buckets(user.id, after.as_deref(), PAGE).await?;
            let mut rows = Vec::with_capacity(buckets.len());
            for bucket in &buckets {
                rows.push(describe_bucket(catalog, bucket).await?);
            }
            self.add_rows("buckets", page, &rows).await?;
            for bucket in &buckets {
                self.pack_versions(catalog, bucket).await?;
                self.pack_uploads(catalog, bucket).await?;
            }
            match buckets.last() {
                Some(last) if buckets.len() == PAGE => after = Some(last.name.clone()),
                _ => return Ok(()),
            }
            page += 1;
        }
    }

    async fn pack_versions(&mut self, catalog: &Catalog, bucket: &Bucket) -> Result<(), ExportError> {
        let name = format!("buckets/{}/versions", bucket.name);
        let (mut after, mut page) = (None, 0);
        let rows = RowKey::of(&self.keyring, bucket).await?;
        loop {
            let mut versions = catalog.aging_versions(bucket.id, after, PAGE).await?;
            rows.open_tags(&mut versions)?;
            let Some(last) = versions.last() else { return Ok(()) };
            after = Some((last.key.clone(), last.sequence));
            let rows: Vec<_> = versions.iter().map(describe_version).collect();
            self.add_rows(&name, page, &rows).await?;
            page += 1;
        }
    }

    async fn pack_uploads(&mut self, catalog: &Catalog, bucket: &Bucket) -> Result<(), ExportError> {
        let name = format!("buckets/{}/uploads", bucket.name);
        let mut query = UploadListQuery::all(bucket.id, PAGE);
        for page in 0.. {
            let listed = catalog.list_uploads(query.clone()).await?;
            if !listed.uploads.is_empty() {
                let rows: Vec<_> = listed.uploads.iter().map(describe_upload).collect();
                self.add_rows(&name, page, &rows).await?;
            }
            let Some((after, after_upload)) = listed.next else { break };
            (query.after, query.after_upload) = (after, after_upload);
        }
        Ok(())
    }

    async fn add_rows(&mut self, name: &str, page: usize, rows: &[Value]) -> Result<(), ExportError> {
        let path = match page {
            0 => format!("{name}.json"),
            page => format!("{name}-{}.json", page + 1),
        };
        let text = serde_json::to_vec_pretty(rows).map_err(io::Error::from)?;
        self.add(&path, &text).await
    }

    async fn add(&mut self, path: &str, text: &[u8]) -> Result<(), ExportError> {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.now_ms / 1_000);
        self.archive.append_data(&mut header, format!("{FOLDER}/{path}"), text)?;
        let packed = std::mem::take(self.archive.get_mut().get_mut());
        if packed.is_empty() {
            return Ok(());
        }
        self.sender.send(Ok(packed.into())).await.map_err(|_| ExportError::Unread)
    }
}

async fn describe_bucket(catalog: &Catalog, bucket: &Bucket) -> Result<Value, CatalogError> {
    let mut configurations = serde_json::Map::new();
    for kind in ConfigKind::ALL.into_iter().filter(|kind| bucket.configured.contains(*kind)) {
        let Some(document) = catalog.bucket_config(bucket.id, kind).await? else { continue };
        let document = serde_json::from_str(&document).unwrap_or(Value::String(document));
        configurations.insert(format!("{kind:?}"), document);
    }
    Ok(json!({
        "bucket": bucket.name, "bucket_number": bucket.id.0, "region": bucket.region,
        "versioning": format!("{:?}", bucket.versioning).to_lowercase(),
        "created": time_text(bucket.created_at_ms), "configurations": configurations,
    }))
}

fn describe_version(version: &AgingVersion) -> Value {
    let retention = version.retention.map(|retention| {
        let mode = match retention.mode {
            RetentionMode::Governance => "governance",
            RetentionMode::Compliance => "compliance",
        };
        json!({ "mode": mode, "until": time_text(retention.until_ms) })
    });
    let tags = version.tags.as_deref().and_then(|tags| serde_json::from_str::<Value>(tags).ok());
    json!({
        "key": String::from_utf8_lossy(&version.key), "version_id": version.id.to_string(),
        "delete_marker": version.delete_marker, "size": version.size, "etag": version.etag,
        "modified": time_text(version.modified_ms), "storage_class": version.storage_class, "tags": tags,
        "retention": retention, "legal_hold": version.legal_hold,
    })
}

fn describe_upload(upload: &ListedUpload) -> Value {
    json!({
        "key": String::from_utf8_lossy(&upload.key), "upload_id": upload.id.to_string(),
        "begun": time_text(upload.created_at_ms), "storage_class": upload.storage_class,
    })
}
