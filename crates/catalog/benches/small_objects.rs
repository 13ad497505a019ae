//! Small-object commits and point reads per second: `cargo bench -p datamesh-catalog`.
//!
//! It runs on the database at `DATAMESH_BENCH_DATABASE`, by default a temporary SQLite file.

use std::sync::Arc;
use std::time::Instant;

use datamesh_catalog::{Bucket, Catalog, Content, CreateBucket, ListQuery, Precondition, PutVersion};
use datamesh_db::{Db, DbConfig};
use datamesh_types::{AccountId, ChunkId, DomainId};

const OBJECTS: usize = 20_000;
const SEALED_LEN: usize = 4096 + 64;

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let url = std::env::var("DATAMESH_BENCH_DATABASE")
        .unwrap_or_else(|_| format!("sqlite:{}", folder.path().join("bench.sqlite").display()));
    let db = Db::open(&DbConfig::new(url).create()).await.expect("the database opens");
    let catalog = Catalog::open(db).await.expect("the schema is current");
    let bucket = CreateBucket {
        name: format!("bench-{}", std::process::id()),
        account: AccountId::random(),
        domain: DomainId::random(),
        region: "local".to_owned(),
        versioning: datamesh_catalog::Versioning::Unversioned,
        configs: vec![],
        now_ms: 1,
    };
    let bucket = catalog.create_bucket(bucket).await.expect("the bucket is new");
    for tasks in [1, 16, 64] {
        let objects = if tasks == 1 { OBJECTS / 10 } else { OBJECTS };
        let prefix = format!("{tasks:02}");
        measure(&format!("put 4 KiB inline, {tasks} tasks"), &catalog, &bucket, tasks, objects, &prefix, put)
            .await;
        measure(&format!("overwrite, {tasks} tasks"), &catalog, &bucket, tasks, objects, &prefix, put).await;
        measure(&format!("lookup, {tasks} tasks"), &catalog, &bucket, tasks, objects, &prefix, get).await;
    }
    measure("list 1,000 keys, 1 task", &catalog, &bucket, 1, 200, "64", list).await;
}

/// Runs `operation` `count` times over `tasks` tasks and prints how often per second.
async fn measure<F, Fut>(
    name: &str,
    catalog: &Catalog,
    bucket: &Bucket,
    tasks: usize,
    count: usize,
    prefix: &str,
    operation: F,
) where
    F: Fn(Catalog, Bucket, Vec<u8>) -> Fut + Copy + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let start = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (catalog, bucket, prefix) = (catalog.clone(), bucket.clone(), prefix.to_owned());
        running.spawn(async move {
            for number in (task..count).step_by(tasks) {
                // Scattered over the key space, as names are.
                let key = format!("{prefix}/{:08x}", (number as u32).wrapping_mul(0x9e37_79b1));
                operation(catalog.clone(), bucket.clone(), key.into_bytes()).await;
            }
        });
    }
    running.join_all().await;
    println!("{name:32} {:>10.0}/s", count as f64 / start.elapsed().as_secs_f64());
}

async fn put(catalog: Catalog, bucket: Bucket, key: Vec<u8>) {
    let put = PutVersion {
        bucket: bucket.id,
        key,
        precondition: Precondition::NONE,
        content: Content::Inline { chunk: ChunkId([7; 32]), sealed: vec![7; SEALED_LEN] },
        size: 4096,
        etag: "d41d8cd98f00b204e9800998ecf8427e".to_owned(),
        storage_class: "STANDARD".to_owned(),
        attributes: r#"{"content-type":"application/octet-stream"}"#.to_owned(),
        meta: datamesh_catalog::VersionMeta::NONE,
        now_ms: 1,
    };
    catalog.put_version(put, Arc::new(())).await.expect("nothing is in the way");
}

async fn get(catalog: Catalog, bucket: Bucket, key: Vec<u8>) {
    let found = catalog.lookup(&bucket.name, &key, None).await.expect("the database answers");
    assert!(found.is_some_and(|(_, version)| version.is_some()));
}

async fn list(catalog: Catalog, bucket: Bucket, key: Vec<u8>) {
    let query = ListQuery { bucket: bucket.id, prefix: vec![], delimiter: vec![], after: key, limit: 1000 };
    catalog.list_objects(query).await.expect("the database answers");
}
