//! Roundtrips, tampering and bombs.

use proptest::prelude::*;

use super::*;
use crate::chunk_id;

const HINT: CompressionHint<'static> = CompressionHint { content_type: None, cold: false };
const METHODS: [Compression; 4] =
    [Compression::None, Compression::Lz4, Compression::Zstd, Compression::Brotli];

fn key() -> DomainKey {
    DomainKey::from_bytes([1; 32])
}

fn text(len: usize) -> Vec<u8> {
    b"All the world's a stage, and all the men and women merely players. ".repeat(len / 67 + 1)[..len]
        .to_vec()
}

#[test]
fn every_interesting_size_survives_with_every_method() {
    let sizes = [
        (0, "no content at all"),
        (1, "one byte"),
        (15, "a byte less than a cipher block"),
        (16, "a cipher block"),
        (17, "a byte more"),
        (127, "the last size that is never probed"),
        (128, "the first that is"),
        (8 << 10, "the largest inline object"),
        ((16 << 10) + 1, "the first size that is sampled in places"),
        (256 << 10, "the smallest default chunk"),
        (4 << 20, "the largest default chunk"),
        (CHUNK_LEN_MAX, "the largest chunk of all"),
    ];
    for (len, why) in sizes {
        let plaintext = text(len);
        let id = chunk_id(&key(), &plaintext);
        for method in METHODS {
            let sealed = seal_with(&key(), &id, &plaintext, method, [3; 12]).unwrap();
            assert!(sealed.len() <= len + SEALED_OVERHEAD, "{why}: {method}");
            assert!(open(&key(), &id, sealed).unwrap() == plaintext, "{why}: {method}");
        }
        let sealed = seal(&key(), &id, &plaintext, &HINT).unwrap();
        assert!(open(&key(), &id, sealed).unwrap() == plaintext, "{why}: probed");
    }
}

#[test]
fn a_chunk_past_the_limit_is_refused() {
    let plaintext = vec![0; CHUNK_LEN_MAX + 1];
    let result = seal(&key(), &ChunkId([0; 32]), &plaintext, &HINT);
    assert!(matches!(result, Err(PipelineError::ChunkTooLong { .. })));
}

/// The writing half of the golden test in `tests/golden.rs`, which only sees what is public. Compressors may change their
/// output from version to version; without one every byte is ours.
#[test]
fn a_given_nonce_gives_the_golden_bytes() {
    let key = DomainKey::from_bytes(*b"golden domain key, 32 bytes long");
    let plaintext = b"Cry Havoc, and let slip the dogs of war. ".repeat(10);
    let id = chunk_id(&key, &plaintext);
    let sealed = seal_with(&key, &id, &plaintext, Compression::None, *b"golden nonce").unwrap();
    let golden = include_str!("../../tests/golden.rs");
    assert!(golden.contains(&hex::encode(sealed)));
}

#[test]
fn useless_compression_is_undone() {
    let mut noise = vec![0; 4096];
    aws_lc_rs::rand::fill(&mut noise).unwrap();
    for method in METHODS {
        let sealed = seal_with(&key(), &ChunkId([0; 32]), &noise, method, [0; 12]).unwrap();
        assert_eq!((sealed[1], sealed.len()), (0, 4096 + SEALED_OVERHEAD), "{method}");
    }
}

#[test]
fn sealing_twice_gives_different_bytes() {
    let id = ChunkId([4; 32]);
    let seal_once = || seal(&key(), &id, b"same", &HINT).unwrap();
    assert_ne!(seal_once(), seal_once());
}

#[test]
fn any_changed_bit_is_refused() {
    for method in METHODS {
        let plaintext = text(400);
        let id = chunk_id(&key(), &plaintext);
        let sealed = seal_with(&key(), &id, &plaintext, method, [9; 12]).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut tampered = sealed.clone();
            tampered[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key(), &id, tampered).is_err(), "{method}: bit {bit}");
        }
    }
}

#[test]
fn another_key_or_chunk_id_does_not_open_it() {
    let id = ChunkId([1; 32]);
    let sealed = seal(&key(), &id, b"secret", &HINT).unwrap();
    let other_key = DomainKey::from_bytes([2; 32]);
    assert!(matches!(open(&other_key, &id, sealed.clone()), Err(PipelineError::NotAuthentic)));
    assert!(matches!(open(&key(), &ChunkId([2; 32]), sealed), Err(PipelineError::NotAuthentic)));
}

/// A sealed chunk whose header lies, under a genuine tag: what a holder of the key could forge.
fn forge(compression: Compression, plain_len: u32, content: &[u8]) -> Vec<u8> {
    let mut sealed = vec![VERSION, compression.code()];
    sealed.extend_from_slice(&plain_len.to_le_bytes());
    sealed.extend_from_slice(&[0; 12]);
    sealed.extend_from_slice(content);
    let (header, body) = sealed.split_at_mut(HEADER_LEN);
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let cipher = cipher(&key(), &ChunkId([0; 32])).unwrap();
    let tag = cipher.seal_in_place_separate_tag(nonce, Aad::from(&*header), body).unwrap();
    sealed.extend_from_slice(tag.as_ref());
    sealed
}

#[test]
fn even_an_authentic_chunk_never_grows_past_its_declared_length() {
    let zeros = vec![0; CHUNK_LEN_MAX];
    for method in METHODS {
        let mut content = Vec::new();
        compress::append(method, &zeros, &mut content).unwrap();
        let result = open(&key(), &ChunkId([0; 32]), forge(method, 1000, &content));
        assert!(matches!(result, Err(PipelineError::Decompress { plain_len: 1000, .. })), "{method}");
        let result = open(&key(), &ChunkId([0; 32]), forge(method, u32::MAX, &content));
        assert!(matches!(result, Err(PipelineError::ChunkTooLong { .. })), "{method}");
    }
}

#[test]
fn the_key_prints_nothing() {
    assert_eq!(format!("{:?}", key()), "DomainKey(..)");
    assert_eq!(format!("{:?}", crate::ShardAuthKey::from_bytes([1; 32])), "ShardAuthKey(..)");
}

proptest! {
    #[test]
    fn what_was_sealed_opens(
        plaintext in proptest::collection::vec(0u8..8, 0..5000), cold in any::<bool>(), bytes in any::<[u8; 32]>(),
    ) {
        let key = DomainKey::from_bytes(bytes);
        let id = chunk_id(&key, &plaintext);
        let sealed = seal(&key, &id, &plaintext, &CompressionHint { content_type: None, cold }).unwrap();
        prop_assert_eq!(open(&key, &id, sealed).unwrap(), plaintext);
    }

    #[test]
    fn garbage_is_refused_without_a_panic(
        mut garbage in proptest::collection::vec(any::<u8>(), 0..200), plausible in any::<bool>(),
    ) {
        if plausible && garbage.len() > 6 {
            let code = garbage[1] % 4;
            garbage[..6].copy_from_slice(&[VERSION, code, 50, 0, 0, 0]);
        }
        prop_assert!(open(&key(), &ChunkId([0; 32]), garbage).is_err());
    }

    #[test]
    fn truncated_chunks_are_refused(len in 0usize..1000, cut in 1usize..2000) {
        let id = ChunkId([0; 32]);
        let mut sealed = seal(&key(), &id, &text(len), &HINT).unwrap();
        sealed.truncate(sealed.len().saturating_sub(cut));
        prop_assert!(open(&key(), &id, sealed).is_err());
    }
}
