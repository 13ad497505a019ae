//! Databases of older releases.

use datamesh_db::{Db, DbError};
use datamesh_testkit::for_each_engine;

use super::BUCKETS;
use crate::schema::MIGRATIONS;
use crate::{Catalog, StoredContent, VersionId, VersionMeta};

/// What the first release stores: a bucket, an inline version, and the number of one that was deleted since.
async fn fill(db: &Db, name: String) {
    const BUCKET: &str = "INSERT INTO bucket (name, account, domain, region, versioning, created_at_ms)
         VALUES ($1, $2, $2, 'local', 1, 5) RETURNING id";
    const VERSION: &str =
        "INSERT INTO version (bucket, key, null_version, delete_marker, listed, size, modified_ms,
           manifest, part_count, etag, storage_class, attributes, inline_chunk, inline_sealed)
         VALUES ($1, $2, 0, 0, 1, 9, 6, NULL, 0, 'etag', 'STANDARD', '{}', $3, $4) RETURNING sequence";
    const DELETE: &str = "DELETE FROM version WHERE sequence = $1";
    const UPLOAD: &str = "INSERT INTO upload (id, bucket, key, storage_class, attributes, created_at_ms)
         VALUES ($1, $2, $3, 'STANDARD', '{}', 7)";
    db.write(move |tx| {
        let name = name.clone();
        Box::pin(async move {
            let account = vec![3_u8; 16];
            let bucket = tx.query_opt(BUCKET, &[name.into(), account.into()]).await?.unwrap().int(0)?;
            let (chunk, sealed) = (vec![1_u8; 32], vec![2_u8; 20]);
            for key in ["kept", "deleted"] {
                let params =
                    [bucket.into(), key.as_bytes().into(), chunk.clone().into(), sealed.clone().into()];
                let sequence = tx.query_opt(VERSION, &params).await?.unwrap().int(0)?;
                if key == "deleted" {
                    tx.execute(DELETE, &[sequence.into()]).await?;
                }
            }
            let id = bucket.to_le_bytes().repeat(2);
            tx.execute(UPLOAD, &[id.into(), bucket.into(), b"kept".as_slice().into()]).await?;
            Ok::<_, DbError>(())
        })
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_database_of_the_first_release_keeps_its_versions_and_never_uses_a_number_again() {
    for_each_engine(|db| async move {
        db.migrate("catalog", &MIGRATIONS[..1]).await.unwrap();
        let name = format!("old-{}", BUCKETS.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        fill(&db, name.clone()).await;
        let catalog = Catalog::open(db.clone()).await.unwrap();
        let (bucket, version) = catalog.lookup(&name, b"kept", None).await.unwrap().unwrap();
        assert!(bucket.configured.is_empty() && bucket.config_epoch == 0);
        let version = version.unwrap();
        assert_eq!((version.size, version.etag.as_str(), version.modified_ms), (9, "etag", 6));
        assert_eq!(version.meta, VersionMeta::NONE);
        assert!(matches!(version.content, StoredContent::Inline { ref sealed, .. } if sealed == &[2; 20]));
        let put = crate::PutVersion {
            bucket: bucket.id,
            key: b"new".to_vec(),
            precondition: crate::Precondition::NONE,
            content: crate::Content::Empty,
            size: 0,
            etag: String::new(),
            storage_class: "STANDARD".to_owned(),
            attributes: "{}".to_owned(),
            meta: VersionMeta::NONE,
            now_ms: 8,
        };
        let committed = catalog.put_version(put, std::sync::Arc::new(())).await.unwrap();
        let VersionId::Numbered(next) = committed.version else { panic!("versioning is enabled") };
        assert!(next > version.sequence + 1, "the deleted version's number is not given again");
        let page = catalog.list_objects(crate::ListQuery {
            bucket: bucket.id,
            prefix: vec![],
            delimiter: vec![],
            after: vec![],
            limit: 10,
        });
        assert_eq!(page.await.unwrap().objects.len(), 2);
    })
    .await;
}
