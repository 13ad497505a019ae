//! What each stage between bytes and shards costs, and the write and read paths as a whole.
//!
//! One thread, 4+4, chunks of about 1 MiB, the allocator that the binaries use. Times are the thread's CPU time, so that
//! a busy machine disturbs them less; throughput is logical bytes per CPU-second, and its reciprocal the CPU-seconds
//! per GB that the budget in the design counts.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use datamesh_pipeline::{
    Chunker, ChunkerConfig, Coder, CompressionHint, DomainKey, ShardAuthKey, check_shard, chunk_id, open,
    seal,
};
use datamesh_types::{ChunkId, GroupId, Profile, SealedId, ShardId};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const CHUNK_LEN: usize = 1 << 20;
const STREAM_LEN: usize = 64 << 20;
/// What hyper hands over at a time.
const PUSH_LEN: usize = 64 << 10;
const HINT: CompressionHint<'static> = CompressionHint { content_type: None, cold: false };
const GROUP: GroupId = GroupId(1);
const SEALED: SealedId = SealedId([7; 16]);

/// The CPU time of the calling thread.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32)
    }

    fn end(&self, started: Duration) -> Duration {
        self.start().saturating_sub(started)
    }

    fn add(&self, left: &Duration, right: &Duration) -> Duration {
        *left + *right
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

struct Keys {
    domain: DomainKey,
    shard: ShardAuthKey,
    coder: Coder,
}

fn keys() -> Keys {
    Keys {
        domain: DomainKey::from_bytes([1; 32]),
        shard: ShardAuthKey::from_bytes([2; 32]),
        coder: Coder::new(Profile::new(4, 4).unwrap_or(Profile::SINGLE)),
    }
}

fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(1).fill_bytes(&mut bytes);
    bytes
}

fn log_lines(len: usize) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(2);
    let mut text = String::with_capacity(len + 100);
    while text.len() < len {
        let (ms, photo) = (rng.random_range(1..900), rng.random::<u16>());
        writeln!(text, "2026-11-22T10:{ms:03} INFO GET /photos/{photo} 200 in {ms} ms")
            .expect("a string takes all");
    }
    text.truncate(len);
    text.into_bytes()
}

fn write(keys: &Keys, chunk: &[u8]) -> (ChunkId, usize, Vec<Bytes>) {
    let id = chunk_id(&keys.domain, chunk);
    let sealed = seal(&keys.domain, &id, chunk, &HINT).expect("a chunk seals");
    (id, sealed.len(), keys.coder.encode_framed(&keys.shard, GROUP, SEALED, &sealed))
}

fn read(keys: &Keys, id: &ChunkId, sealed_len: usize, framed: &[Option<Bytes>]) -> Bytes {
    let payload = |(index, framed): (usize, &Option<Bytes>)| {
        let shard = ShardId { group: GROUP, sealed: SEALED, index: index as u8 };
        framed.clone().map(|framed| check_shard(&keys.shard, &shard, framed).expect("the shard is good"))
    };
    let shards: Vec<Option<Bytes>> = framed.iter().enumerate().map(payload).collect();
    let sealed = keys.coder.decode(&shards, sealed_len).expect("enough shards");
    open(&keys.domain, id, sealed).expect("the chunk opens")
}

fn cut(keys: &Keys, stream: &[u8], out: &mut impl FnMut(Vec<u8>)) {
    let mut chunker = Chunker::new(&ChunkerConfig::default(), &keys.domain).expect("the defaults are valid");
    for push in stream.chunks(PUSH_LEN) {
        chunker.push(push, out);
    }
    chunker.finish().into_iter().for_each(out);
}

fn stages(group: &mut BenchmarkGroup<'_, CpuTime>, keys: &Keys, kind: &str, chunk: &[u8]) {
    group.throughput(Throughput::Bytes(chunk.len() as u64));
    let id = chunk_id(&keys.domain, chunk);
    let sealed = seal(&keys.domain, &id, chunk, &HINT).expect("a chunk seals");
    group.bench_function(format!("seal {kind}"), |b| {
        b.iter(|| seal(&keys.domain, &id, black_box(chunk), &HINT));
    });
    group.bench_function(format!("open {kind}"), |b| {
        b.iter_batched(|| sealed.clone(), |sealed| open(&keys.domain, &id, sealed), BatchSize::LargeInput);
    });
    let (id, sealed_len, framed) = write(keys, chunk);
    let lose = |lost: usize| -> Vec<Option<Bytes>> {
        framed
            .iter()
            .enumerate()
            .map(|(index, shard)| (index >= lost && index < lost + 4).then(|| shard.clone()))
            .collect()
    };
    for (lost, name) in [(0, "read healthy"), (1, "read one lost"), (4, "read parity only")] {
        let shards = lose(lost);
        group.bench_function(format!("{name} {kind}"), |b| {
            b.iter(|| read(keys, &id, sealed_len, black_box(&shards)));
        });
    }
}

fn pipeline(criterion: &mut Criterion<CpuTime>) {
    let keys = keys();
    let mut group = criterion.benchmark_group("pipeline");
    group.sample_size(20);
    let chunk = random(CHUNK_LEN);
    group.throughput(Throughput::Bytes(CHUNK_LEN as u64));
    group.bench_function("id", |b| b.iter(|| chunk_id(&keys.domain, black_box(&chunk))));
    group.bench_function("encode", |b| b.iter(|| keys.coder.encode(black_box(&chunk))));
    group.bench_function("encode framed", |b| {
        b.iter(|| keys.coder.encode_framed(&keys.shard, GROUP, SEALED, black_box(&chunk)));
    });
    stages(&mut group, &keys, "random", &chunk);
    stages(&mut group, &keys, "log lines", &log_lines(CHUNK_LEN));
    let small = random(4 << 10);
    group.throughput(Throughput::Elements(1));
    group.bench_function("write 4 KiB random", |b| b.iter(|| write(&keys, black_box(&small))));
    let small = log_lines(4 << 10);
    group.bench_function("write 4 KiB log lines", |b| b.iter(|| write(&keys, black_box(&small))));

    group.throughput(Throughput::Bytes(STREAM_LEN as u64));
    for (kind, stream) in [("random", random(STREAM_LEN)), ("log lines", log_lines(STREAM_LEN))] {
        group.bench_function(format!("cut {kind}"), |b| {
            b.iter(|| cut(&keys, black_box(&stream), &mut |chunk| drop(black_box(chunk))));
        });
        group.bench_function(format!("whole write {kind}"), |b| {
            b.iter(|| cut(&keys, black_box(&stream), &mut |chunk| drop(black_box(write(&keys, &chunk)))));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = pipeline
}
criterion_main!(benches);
