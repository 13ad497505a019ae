//! The stored formats, byte by byte.
//!
//! A failure here means that chunks in existing meshes would no longer be found, opened or checked. Never adjust a value
//! to make it pass: a new format gets a new version byte and a new set of values beside these.

use bytes::Bytes;
use datamesh_pipeline::{
    Chunker, ChunkerConfig, Coder, DomainKey, PipelineError, ShardAuthKey, TextKind, check_shard, chunk_id,
    open,
};
use datamesh_types::{ChunkId, GroupId, SealedId, ShardId};

const SHARD: ShardId = ShardId { group: GroupId(7), sealed: SealedId([0x5a; 16]), index: 0 };

fn key() -> DomainKey {
    DomainKey::from_bytes(*b"golden domain key, 32 bytes long")
}

fn shard_key() -> ShardAuthKey {
    ShardAuthKey::from_bytes(*b"golden shard auth key, 32 bytes.")
}

/// Bytes that no library update can change: BLAKE3's output stream for a name.
fn stream(name: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn text() -> Vec<u8> {
    b"Cry Havoc, and let slip the dogs of war. ".repeat(10)
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..32].to_owned()
}

#[test]
fn chunk_boundaries_of_version_1() {
    let data = stream("boundaries", 12 << 20);
    let mut lengths = Vec::new();
    let mut chunker = Chunker::new(&ChunkerConfig::default(), &key()).unwrap();
    chunker.push(&data, &mut |chunk| lengths.push(chunk.len()));
    lengths.extend(chunker.finish().map(|chunk| chunk.len()));
    assert_eq!(lengths, BOUNDARIES);
}

#[test]
fn chunk_ids_of_version_1() {
    let ids = [&b""[..], b"a", &stream("id", 1 << 20)].map(|bytes| chunk_id(&key(), bytes).to_string());
    assert_eq!(ids, IDS);
}

#[test]
fn sealed_chunks_of_version_1_still_open() {
    let id = chunk_id(&key(), &text());
    for (name, sealed) in SEALED {
        let sealed = hex::decode(sealed).unwrap();
        assert_eq!(open(&key(), &id, sealed).unwrap(), text(), "{name}");
    }
}

#[test]
fn parity_of_version_1() {
    let sealed = stream("sealed", 1003);
    for (profile, expected) in PARITY {
        let coder = Coder::new(profile.parse().unwrap());
        assert_eq!(digest(&coder.encode(&sealed).concat()), expected, "{profile}");
    }
}

#[test]
fn framed_shards_of_version_1() {
    let coder = Coder::new("2+1".parse().unwrap());
    let framed = coder.encode_framed(&shard_key(), SHARD.group, SHARD.sealed, b"seven b");
    let hex: Vec<String> = framed.iter().map(hex::encode).collect();
    assert_eq!(hex, FRAMED);
    for (index, framed) in framed.into_iter().enumerate() {
        let id = ShardId { index: index as u8, ..SHARD };
        assert_eq!(check_shard(&shard_key(), &id, framed).unwrap().len(), 4);
    }
}

/// Computed with another implementation of the ciphers.
#[test]
fn what_lies_beside_content_of_version_1() {
    let md5 = hex::decode("d41d8cd98f00b204e9800998ecf8427e").unwrap().try_into().unwrap();
    assert_eq!(hex::encode(key().seal_md5(md5).unwrap()), "be05486f445096216e63f98a3472c518");
    for (kind, sealed) in TEXTS {
        assert_eq!(hex::encode(key().seal_text(kind, r#"{"v":1}"#).unwrap()), sealed);
        assert_eq!(key().open_text(kind, hex::decode(sealed).unwrap()).unwrap(), r#"{"v":1}"#);
    }
}

#[test]
fn versions_to_come_are_refused_by_name() {
    let id = ChunkId([0; 32]);
    let mut sealed = hex::decode(SEALED[0].1).unwrap();
    sealed[0] = 2;
    assert!(matches!(open(&key(), &id, sealed), Err(PipelineError::SealedVersion { version: 2 })));
    let mut framed = hex::decode(FRAMED[0]).unwrap();
    *framed.last_mut().unwrap() = 2;
    let result = check_shard(&shard_key(), &SHARD, Bytes::from(framed));
    assert!(matches!(result, Err(PipelineError::ShardVersion { version: 2, .. })));
}

const BOUNDARIES: [usize; 10] = [
    1_049_846, 1_135_854, 1_148_628, 1_146_334, 1_695_529, 1_117_430, 992_463, 1_762_179, 1_894_829, 639_820,
];
/// Of nothing, of `a`, of 1 MiB.
const IDS: [&str; 3] = [
    "53e95adb6439b492813568b90117536344d3489e325c9e6799640e92e7717d4c",
    "b8373524f9fa2ba586e4c83cbafbbd77aea584a3570a196130a294b55629d396",
    "3ea66cf13b425e3094cba1bb847ccee1bd49c941873e83fad26d8738c5040fa4",
];
const SEALED: [(&str, &str); 4] = [
    (
        "None",
        "01009a010000676f6c64656e206e6f6e63658f5f94831066b45ba06deabb521a17ff860d157117fd4b3967255ff8e88299227a6662bc0715aeafc6ca6fa0773ca01343c62f8d9bcf14f55d316e9a85ee845f1658bc0827c544fb0ff895d07314f5329ea4baa36a6d1e088ec8e70e1aa53e1805a86bd79d4e401efb0aa73d4d7f04a03947a03205b521ee5b1fdb10840095224e14b4d654257427a992ee065ff3b354014375ad79b59facffae9690ec4c42b463a77227039c0f84ddf45036f2926cb2c4726f81ed8d65962f71af4be7465a2be5989fb3174b3ee1cbe1e63ff4d24a68c3a157ffe7065a8e968f7992dfe0b9d4224f4304c23a7951b9907937c689f8d1031c620393d10dd6077c0a1e018695cbe9983304aaf52d2eae21cd699bf0c013127bc77554f8b686fc398addc502160387e6ea5683efc3377edb0993bafb4e5e68b242de96c41c7c7980155ad88654ccdc824b74f9c375eb95de94f6902db8d95434eb2a6244e95f92b4499d456743f0633f5dfeb731b69e56da5763a579bf3b7a2a3a1c94418e24cce218560a6cee9108b6fedd05b51fe15e93beae90e132bb2430dcdc4148147ad86acd735747732fdd387fe10f64ad05f9c1",
    ),
    (
        "Lz4",
        "01019a010000676f6c64656e206e6f6e63653337aed121278a55b52ea9f61c1f59f7c31550765be75770636d4eb0e9cd9a3e3d7a24f31654abe094a73df0578b98050cd262dfd481df9c6c32c1ab8f38fde5d6f5f17849a6",
    ),
    (
        "Zstd",
        "01029a010000676f6c64656e206e6f6e6365e498c25e389dc2a1c2415ed87f0c4eb3ab18436d18b81b787d291ab4e999de22366074bc041cb9a182e67aaa771ba7455bc47183daa070a452fe30b91968ba39033a08db594cefa4dc95e243",
    ),
    (
        "Brotli",
        "01039a010000676f6c64656e206e6f6e6365d7b4eca39cdb849d9d09e1bff92cb08c21995111be56bcd9a7996fc29328d03a7a23b983d4dbe13e1e1cdb40b7b472754c8b413a89b85893225e317d998fd6b9f6",
    ),
];
const TEXTS: [(TextKind, &str); 3] = [
    (TextKind::Attributes, "012ae450c2b689b736de50bd62d99217e9f3d9f06aa4a07a"),
    (TextKind::Checksums, "017793d4ba62137ad4043bc520e39d0eb43681902c3bd0a2"),
    (TextKind::Message, "01a3f0b7e95fe78e930b6ad09323f83eaa7fd984e6d9efcb"),
];
const PARITY: [(&str, &str); 5] = [
    ("1+0", "3d9e51727525f096c2c0f4927ef6bbbe"),
    ("1+2", "1aae46aa394e9578515a1ba1f5da49f6"),
    ("4+4", "21b6d7daa08b3885cd36e940bc6b7847"),
    ("16+16", "17ff063167ea091139ac5de4cb0f82ea"),
    ("31+97", "55dfb53c93e1552b6a74cc17cba2ed96"),
];
const FRAMED: [&str; 3] = [
    "7365766516b898f2502118a601947a0de850b70501",
    "6e206200596c0f4e2b686555b1d0920ffd7774d301",
    "49ef5eafe0e022d95a766c717aa5986be2afe7bc01",
];
