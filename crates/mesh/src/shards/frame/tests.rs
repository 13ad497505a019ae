use datamesh_types::SealedId;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn id(index: u8) -> ShardId {
    ShardId { group: GroupId(7), sealed: SealedId([9; 16]), index }
}

fn stat(index: u8) -> ShardStat {
    ShardStat { id: id(index), len: 5, stored_at_ms: -6 }
}

fn requests() -> Vec<Request> {
    vec![
        Request::Put { id: id(0), data: Bytes::from_static(b"shard") },
        Request::Put { id: id(0), data: Bytes::new() },
        Request::Get { id: id(1) },
        Request::GetRange { id: id(2), offset: 3, len: u32::MAX },
        Request::Delete { ids: vec![id(3), id(4)] },
        Request::Delete { ids: vec![] },
        Request::List { group: Some(GroupId(1)), after: Some(id(5)), limit: 10 },
        Request::List { group: None, after: None, limit: 0 },
        Request::Stat { id: id(6) },
        Request::Verify { id: id(7) },
        Request::Usage,
    ]
}

fn split((head, data): &(Bytes, Bytes)) -> (Head, Bytes) {
    let mut whole = BytesMut::from(&head[..]);
    whole.put_slice(data);
    let whole = whole.freeze();
    let first = Head::decode(whole[..HEAD_LEN].try_into().unwrap(), 1 << 20).unwrap();
    assert_eq!(first.body_len, whole.len() - HEAD_LEN);
    (first, whole.slice(HEAD_LEN..))
}

#[test]
fn every_request_survives_its_frame() {
    for request in requests() {
        let (head, body) = split(&request.encode(77));
        assert_eq!(head.id, 77);
        assert_eq!(Request::decode(head.kind, &body), Ok(request));
    }
}

#[test]
fn every_response_survives_its_frame() {
    let usage = NodeUsage { capacity_bytes: 1, used_bytes: 2, live_bytes: 3, shards: 4, read_only: true };
    let cases = [
        (Expected::Done, Ok(Response::Done)),
        (Expected::Data, Ok(Response::Data(Bytes::from_static(b"data")))),
        (Expected::Stats, Ok(Response::Stats(vec![stat(1), stat(2)]))),
        (Expected::Stat, Ok(Response::Stat(None))),
        (Expected::Stat, Ok(Response::Stat(Some(stat(3))))),
        (Expected::Health, Ok(Response::Health(ShardHealth::Corrupt))),
        (Expected::Usage, Ok(Response::Usage(usage))),
    ];
    let errors = (1..=8).map(|code| (Expected::Data, Err(error(code).unwrap())));
    for (expected, response) in cases.into_iter().chain(errors) {
        let (head, body) = split(&encode_response(3, &response));
        assert_eq!(decode_response(head.kind, body, expected), Ok(response));
    }
}

/// The layout is what other versions of the software speak: it changes only with the version.
#[test]
fn the_layout_of_a_put_is_fixed() {
    let (head, data) = Request::Put { id: id(3), data: Bytes::from_static(b"xy") }.encode(0x0102);
    let expected = "01010000\
                    1b000000\
                    0201000000000000\
                    0000000000000007\
                    09090909090909090909090909090909\
                    03";
    assert_eq!(hex::encode(&head), expected);
    assert_eq!(data, "xy");
}

#[test]
fn a_head_over_the_cap_or_of_another_version_is_malformed() {
    let head = Head { kind: 1, body_len: 100, id: 1 };
    assert!(Head::decode(head.encode(), 100).is_ok());
    assert!(Head::decode(head.encode(), 99).is_err());
    for at in [0, 2, 3] {
        let mut bytes = head.encode();
        bytes[at] ^= 0x80;
        assert!(Head::decode(bytes, 100).is_err(), "byte {at}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(kind in any::<u8>(), body in vec(any::<u8>(), 0..200)) {
        let body = Bytes::from(body);
        if let Ok(request) = Request::decode(kind, &body) {
            let (head, again) = split(&request.encode(1));
            prop_assert_eq!((head.kind, again), (kind, body.clone()));
        }
        for expected in [
            Expected::Done, Expected::Data, Expected::Stats, Expected::Stat, Expected::Health, Expected::Usage,
        ] {
            let _ = decode_response(kind % 10, body.clone(), expected);
        }
    }
}
