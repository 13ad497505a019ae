//! Durable writes by eight writers, and verified reads, in MB/s; for writes also the CPU time.
//!
//! The store is put into `DATAMESH_BENCH_DIR`, or below the target directory. It must be on the disk that is to
//! be measured: on a tmpfs an fsync costs nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datamesh_shard_store::{ShardStore, ShardStoreConfig};
use datamesh_types::{GIB, GroupId, KIB, MIB, SealedId, ShardId};
use rand::RngExt;
use tokio::runtime::Runtime;

const WRITERS: u64 = 8;
const SIZES: [u64; 4] = [4 * KIB, 64 * KIB, 256 * KIB, MIB];

fn id(number: u64) -> ShardId {
    // Spread as random sealed ids are.
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut sealed = [0; 16];
    sealed[..8].copy_from_slice(&spread.to_be_bytes());
    ShardId { group: GroupId(1), sealed: SealedId(sealed), index: 0 }
}

fn payload(len: u64) -> Bytes {
    let mut bytes = vec![0; len as usize];
    rand::rng().fill(&mut bytes[..]);
    bytes.into()
}

fn base_dir() -> PathBuf {
    std::env::var_os("DATAMESH_BENCH_DIR").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from)
}

fn open(dir: &Path) -> ShardStore {
    ShardStore::open(ShardStoreConfig { segment_bytes: 256 * MIB, ..ShardStoreConfig::new(dir, 64 * GIB) })
        .expect("the benchmark's store opens")
}

/// User and system time of this process.
fn cpu_time() -> Duration {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
    Duration::from_secs_f64(ticks / TICKS_PER_SECOND)
}

/// Stores `count` shards with eight writers, each of which waits for its acknowledgement.
async fn write(store: &ShardStore, payload: &Bytes, count: u64) {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (store, payload) = (store.clone(), payload.clone());
        writers.spawn(async move {
            for number in (writer..count).step_by(WRITERS as usize) {
                store.put(id(number), payload.clone()).await.expect("the disk takes it");
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.expect("no writer panics");
    }
}

fn writes(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut group = criterion.benchmark_group("put_durable_8_writers");
    group.sample_size(10);
    for size in SIZES {
        let (payload, mut cpu, mut bytes) = (payload(size), Duration::ZERO, 0);
        group.throughput(Throughput::BytesDecimal(size * WRITERS));
        group.bench_function(format!("{}_KiB", size / KIB), |bencher| {
            bencher.iter_custom(|rounds| {
                let dir = tempfile::tempdir_in(base_dir()).expect("the benchmark's directory is writable");
                let store = open(dir.path());
                let (start, cpu_before) = (Instant::now(), cpu_time());
                runtime.block_on(write(&store, &payload, rounds * WRITERS));
                let elapsed = start.elapsed();
                cpu += cpu_time().saturating_sub(cpu_before);
                bytes += rounds * WRITERS * size;
                runtime.block_on(store.close()).expect("the store closes");
                elapsed
            });
        });
        println!("    CPU-seconds per GB: {:.2}", cpu.as_secs_f64() / (bytes as f64 / 1e9));
    }
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut group = criterion.benchmark_group("get_verified_cached");
    group.sample_size(20);
    for size in SIZES {
        let dir = tempfile::tempdir_in(base_dir()).expect("the benchmark's directory is writable");
        let store = open(dir.path());
        let count = (256 * MIB / size).min(4096);
        runtime.block_on(write(&store, &payload(size), count));
        group.throughput(Throughput::BytesDecimal(size));
        let mut number = 0;
        group.bench_function(format!("{}_KiB", size / KIB), |bencher| {
            bencher.iter(|| {
                number = (number + 1) % count;
                // In a task, as a server does it, not on the thread that started the runtime.
                let store = store.clone();
                let read = runtime.spawn(async move { store.get(id(number)).await });
                runtime.block_on(read).expect("no panic").expect("the shard is there")
            });
        });
        runtime.block_on(store.close()).expect("the store closes");
    }
    group.finish();
}

criterion_group!(benches, writes, reads);
criterion_main!(benches);
