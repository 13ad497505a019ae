//! The conformance suite of [`Backend`]: every implementation runs it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use datamesh_backend::{Backend, BackendError, Placed};
use datamesh_types::{GroupId, Location, SealedId};

/// Sizes at which something changes: one byte; around the number of data shards; around a page; a typical and
/// a large sealed chunk.
const SIZES: [usize; 12] = [1, 3, 4, 5, 4095, 4096, 4097, 65_536, 262_143, 1 << 20, (1 << 20) + 1, 4 << 20];

/// Runs the suite against an empty backend.
///
/// # Panics
/// When the backend breaks its contract.
pub async fn backend_conformance(backend: Arc<dyn Backend>) {
    every_size_comes_back_as_it_was_put(&backend).await;
    ids_that_differ_in_one_bit_are_different_chunks(&backend).await;
    putting_the_same_again_is_no_error(&backend).await;
    an_empty_chunk_is_refused(&backend).await;
    deleting_is_idempotent_and_hits_only_its_own_chunk(&backend).await;
    what_was_never_put_is_not_found(&backend).await;
    many_at_once_do_not_disturb_each_other(&backend).await;
    listing_pages_through_everything_in_order(&backend).await;
}

/// Bytes that no two seeds share.
pub fn bytes_of(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

async fn put(backend: &Arc<dyn Backend>, bytes: &Bytes) -> Location {
    let id = SealedId::random();
    let Placed { location, missing } = backend.put(id, bytes.clone()).await.expect("the backend is healthy");
    assert_eq!(missing, Vec::<u8>::new(), "a healthy backend stores every piece");
    assert_eq!((location.sealed, location.sealed_len as usize), (id, bytes.len()));
    location
}

async fn every_size_comes_back_as_it_was_put(backend: &Arc<dyn Backend>) {
    for (seed, size) in (0..).zip(SIZES) {
        let bytes = bytes_of(seed, size);
        let location = put(backend, &bytes).await;
        assert!(backend.get(&location).await.expect("it was put") == bytes, "{size} bytes came back changed");
        let presence = backend.presence(&location).await.expect("it was put");
        assert!(presence.complete() && presence.readable() && !presence.lost(), "{presence:?}");
    }
}

async fn ids_that_differ_in_one_bit_are_different_chunks(backend: &Arc<dyn Backend>) {
    let base = SealedId::random();
    let mut other = base;
    other.0[15] ^= 1;
    let (one, two) = (bytes_of(100, 1000), bytes_of(101, 1000));
    let first = backend.put(base, one.clone()).await.expect("the backend is healthy").location;
    let second = backend.put(other, two.clone()).await.expect("the backend is healthy").location;
    assert_eq!(backend.get(&first).await.expect("it was put"), one);
    assert_eq!(backend.get(&second).await.expect("it was put"), two);
}

async fn putting_the_same_again_is_no_error(backend: &Arc<dyn Backend>) {
    let bytes = bytes_of(200, 5000);
    let location = put(backend, &bytes).await;
    let again = backend.put(location.sealed, bytes.clone()).await.expect("the same bytes under the same id");
    assert_eq!(backend.get(&location).await.expect("it was put"), bytes);
    assert_eq!(backend.get(&again.location).await.expect("it was put"), bytes);
}

async fn an_empty_chunk_is_refused(backend: &Arc<dyn Backend>) {
    let result = backend.put(SealedId::random(), Bytes::new()).await;
    assert!(matches!(result, Err(BackendError::InvalidLength { bytes: 0 })), "{result:?}");
}

async fn deleting_is_idempotent_and_hits_only_its_own_chunk(backend: &Arc<dyn Backend>) {
    let bytes = bytes_of(300, 9000);
    let (kept, dropped) = (put(backend, &bytes).await, put(backend, &bytes).await);
    let never = Location { sealed: SealedId::random(), ..dropped };
    for _ in 0..2 {
        let results = backend.delete(&[dropped, never]).await;
        assert!(results.len() == 2 && results.iter().all(Result::is_ok), "{results:?}");
    }
    assert!(backend.delete(&[]).await.is_empty());
    let result = backend.get(&dropped).await;
    assert!(
        matches!(result, Err(BackendError::NotFound { sealed }) if sealed == dropped.sealed),
        "{result:?}"
    );
    let presence = backend.presence(&dropped).await.expect("asking is no error");
    assert!(presence.good == 0 && presence.lost(), "{presence:?}");
    assert_eq!(backend.get(&kept).await.expect("it was not deleted"), bytes);
}

async fn what_was_never_put_is_not_found(backend: &Arc<dyn Backend>) {
    let known = put(backend, &bytes_of(400, 100)).await;
    let location = Location { sealed: SealedId::random(), ..known };
    let result = backend.get(&location).await;
    assert!(matches!(result, Err(BackendError::NotFound { .. })), "{result:?}");
}

async fn many_at_once_do_not_disturb_each_other(backend: &Arc<dyn Backend>) {
    let tasks: Vec<_> = (0..32)
        .map(|seed| {
            let backend = backend.clone();
            tokio::spawn(async move {
                let bytes = bytes_of(500 + seed, 20_000 + seed as usize);
                let location = put(&backend, &bytes).await;
                assert!(backend.get(&location).await.expect("it was put") == bytes);
                if seed % 2 == 0 {
                    assert!(backend.delete(&[location]).await[0].is_ok());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("the task did not panic");
    }
}

async fn listing_pages_through_everything_in_order(backend: &Arc<dyn Backend>) {
    let mut expected = BTreeSet::new();
    for seed in 0..20 {
        let location = put(backend, &bytes_of(600 + seed, 300)).await;
        expected.insert((location.group, location.sealed));
    }
    let everything = list_all(backend, 1000).await;
    let ascending = everything.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(ascending, "listed in order, each once");
    let listed: BTreeSet<_> = everything.iter().copied().collect();
    assert!(expected.is_subset(&listed), "everything that was put is listed");
    assert_eq!(list_all(backend, 3).await, everything, "the page size changes nothing");
}

async fn list_all(backend: &Arc<dyn Backend>, limit: usize) -> Vec<(GroupId, SealedId)> {
    let mut all = Vec::new();
    loop {
        let page = backend.list(all.last().copied(), limit).await.expect("the backend is healthy");
        assert!(page.len() <= limit);
        if page.is_empty() {
            return all;
        }
        all.extend(page.iter().map(|stored| (stored.group, stored.sealed)));
    }
}
