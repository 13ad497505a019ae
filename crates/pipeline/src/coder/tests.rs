//! Every way to lose shards, and every odd length.

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::*;
use crate::{check_shard, frame_shard};

fn coder(profile: &str) -> Coder {
    Coder::new(profile.parse().unwrap())
}

fn bytes(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(len as u64).fill_bytes(&mut bytes);
    bytes
}

fn present(shards: &[Vec<u8>], keep: impl Fn(usize) -> bool) -> Vec<Option<Bytes>> {
    shards.iter().enumerate().map(|(index, shard)| keep(index).then(|| Bytes::from(shard.clone()))).collect()
}

#[test]
fn interesting_sizes_survive_in_every_kind_of_profile() {
    let sizes = [
        (0, "nothing"),
        (1, "fewer bytes than data shards: most are padding"),
        (3, "less than one byte for each of four data shards"),
        (34, "the shortest sealed chunk"),
        (35, "a remainder for most k"),
        (4096, "no remainder for a power of two"),
        (262_178, "the smallest default chunk, sealed"),
        (1_048_610, "the average one"),
    ];
    for (len, why) in sizes {
        for profile in ["1+0", "1+1", "1+7", "2+2", "3+2", "4+4", "5+0", "16+16"] {
            let coder = coder(profile);
            let (k, sealed) = (coder.profile().data(), bytes(len));
            let shards = coder.encode(&sealed);
            assert_eq!(shards.len(), coder.profile().total());
            assert!(shards.iter().all(|shard| shard.len() == coder.profile().shard_len(len)), "{why}");
            assert_eq!(&shards[..k].concat()[..len], sealed, "{profile}, {why}: systematic");
            let parity = coder.profile().parity();
            for lost in [0, parity / 2, parity] {
                let first_lost = present(&shards, |index| index >= lost);
                assert_eq!(coder.decode(&first_lost, len).unwrap(), sealed, "{profile}, {why}, {lost} lost");
            }
        }
    }
}

#[test]
fn any_four_of_eight_decode_and_rebuild_every_other() {
    let coder = coder("4+4");
    let sealed = bytes(70_001);
    let shards = coder.encode(&sealed);
    for kept in (0_u32..256).filter(|kept| kept.count_ones() == 4) {
        let some = present(&shards, |index| kept >> index & 1 == 1);
        assert_eq!(coder.decode(&some, sealed.len()).unwrap(), sealed, "{kept:08b}");
        for index in (0..8).filter(|index| kept >> index & 1 == 0) {
            assert_eq!(
                coder.rebuild(&some, index).unwrap(),
                shards[usize::from(index)],
                "{kept:08b}: {index}"
            );
        }
    }
}

#[test]
fn rebuilding_does_not_look_at_the_shard_it_rebuilds() {
    let coder = coder("4+4");
    let shards = coder.encode(&bytes(1000));
    for index in 0..8 {
        let mut all = present(&shards, |_| true);
        all[usize::from(index)] = Some(Bytes::from(vec![0xee; 250]));
        assert_eq!(coder.rebuild(&all, index).unwrap(), shards[usize::from(index)]);
    }
}

#[test]
fn the_widest_profiles_decode_from_parity_alone() {
    for profile in ["127+128", "29+81", "1+254"] {
        let coder = coder(profile);
        let (parity, sealed) = (coder.profile().parity(), bytes(10_000));
        let lost = parity.min(coder.profile().data());
        let shards = present(&coder.encode(&sealed), |index| index >= lost);
        assert_eq!(coder.decode(&shards, sealed.len()).unwrap(), sealed, "{profile}");
    }
}

#[test]
fn framed_shards_are_the_payloads_in_frames() {
    let (key, group, id) = (ShardAuthKey::from_bytes([2; 32]), GroupId(9), SealedId([4; 16]));
    for profile in ["1+0", "4+4", "3+2"] {
        for len in [0, 34, 1001, 300_000] {
            let coder = coder(profile);
            let sealed = bytes(len);
            let framed = coder.encode_framed(&key, group, id, &sealed);
            let shards = coder.encode(&sealed);
            assert_eq!(framed.len(), shards.len());
            for (index, (framed, payload)) in framed.iter().zip(&shards).enumerate() {
                let shard = ShardId { group, sealed: id, index: index as u8 };
                assert_eq!(*framed, frame_shard(&key, &shard, payload));
                assert_eq!(check_shard(&key, &shard, framed.clone()).unwrap(), *payload);
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let coder = coder("2+2");
    let shards = coder.encode(&bytes(100));
    let all = present(&shards, |_| true);
    assert!(matches!(coder.decode(&all[..3], 100), Err(PipelineError::ShardCount { given: 3, .. })));
    assert!(matches!(coder.decode(&all, 104), Err(PipelineError::ShardLength { len: 50, expected: 52, .. })));
    let one = present(&shards, |index| index == 1);
    assert!(matches!(coder.decode(&one, 100), Err(PipelineError::TooFewShards { present: 1, .. })));
    let error = coder.rebuild(&one, 0).unwrap_err();
    assert_eq!(error.to_string(), "1 shards of a chunk are there, profile 2+2 needs 2");
    assert!(matches!(coder.rebuild(&all, 4), Err(PipelineError::ShardIndex { index: 4, .. })));
    let mut uneven = all;
    uneven[2] = Some(Bytes::from_static(b"short"));
    assert!(matches!(coder.rebuild(&uneven, 0), Err(PipelineError::ShardLength { index: 2, .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_k_of_n_decode(data in 1u32..20, parity in 0u32..20, len in 0usize..5000, seed in any::<u64>()) {
        let coder = Coder::new(Profile::new(data, parity).unwrap());
        let sealed = bytes(len);
        let shards = coder.encode(&sealed);
        let mut order: Vec<usize> = (0..shards.len()).collect();
        order.shuffle(&mut StdRng::seed_from_u64(seed));
        let kept = &order[..coder.profile().data()];
        let some = present(&shards, |index| kept.contains(&index));
        prop_assert_eq!(coder.decode(&some, len).unwrap(), sealed);
        let rebuilt = *order.last().unwrap();
        if !kept.contains(&rebuilt) {
            prop_assert_eq!(&coder.rebuild(&some, rebuilt as u8).unwrap(), &shards[rebuilt]);
        }
    }

    #[test]
    fn shards_of_any_shape_never_panic(
        lens in proptest::collection::vec(proptest::option::of(0usize..40), 0..10),
        sealed_len in 0usize..200, index in any::<u8>(),
    ) {
        let shards: Vec<Option<Bytes>> =
            lens.into_iter().map(|len| len.map(|len| Bytes::from(vec![7; len]))).collect();
        let coder = coder("4+4");
        let _ = coder.decode(&shards, sealed_len);
        let _ = coder.rebuild(&shards, index);
    }
}
