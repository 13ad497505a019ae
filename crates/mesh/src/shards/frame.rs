//! The bytes of the shard protocol, version 1. Little-endian, fixed layouts.
//!
//! A stream carries frames in both directions: requests from the host that opened it, responses from the other,
//! in any order. A frame is a head of [`HEAD_LEN`] bytes and a body:
//!
//! | bytes | request | response |
//! |---|---|---|
//! | 0 | version, 1 | version, 1 |
//! | 1 | operation | status |
//! | 2..4 | zero | zero |
//! | 4..8 | length of the body | length of the body |
//! | 8..16 | request id, chosen by the client | the same id |
//!
//! Shard ids take 25 bytes ([`ShardId::to_bytes`]: group big-endian, so that bytes sort as ids do).

use bytes::{BufMut as _, Bytes, BytesMut};
use datamesh_types::{GroupId, SHARD_ID_LEN, ShardHealth, ShardId, ShardStat};

use crate::{NodeUsage, ShardError};

/// Name under which the protocol is negotiated.
pub(super) const PROTOCOL: &str = "/datamesh/shards/1";

/// Length of a frame's head.
pub(super) const HEAD_LEN: usize = 16;

/// Shards that one delete names, and stats that one list returns, at most.
pub(super) const BATCH_MAX: usize = 8192;

const VERSION: u8 = 1;
const STAT_LEN: usize = SHARD_ID_LEN + 4 + 8;
const USAGE_LEN: usize = 4 * 8 + 1;

/// A frame breaks the protocol; the connection's stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub &'static str);

/// The first bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Operation or status.
    pub kind: u8,
    /// Length of the body, at most the cap that it was read with.
    pub body_len: usize,
    /// Request id.
    pub id: u64,
}

impl Head {
    pub(super) fn encode(self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[0] = VERSION;
        bytes[1] = self.kind;
        bytes[4..8].copy_from_slice(&(self.body_len as u32).to_le_bytes());
        bytes[8..].copy_from_slice(&self.id.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: [u8; HEAD_LEN], body_max: usize) -> Result<Self, Malformed> {
        let [version, kind, zero_1, zero_2, l0, l1, l2, l3, id @ ..] = bytes;
        if version != VERSION {
            return Err(Malformed("unknown version of a frame"));
        }
        if zero_1 != 0 || zero_2 != 0 {
            return Err(Malformed("reserved bytes of a frame are not zero"));
        }
        let body_len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if body_len > body_max {
            return Err(Malformed("a frame is larger than the cap"));
        }
        Ok(Self { kind, body_len, id: u64::from_le_bytes(id) })
    }
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Put { id: ShardId, data: Bytes },
    Get { id: ShardId },
    GetRange { id: ShardId, offset: u32, len: u32 },
    Delete { ids: Vec<ShardId> },
    List { group: Option<GroupId>, after: Option<ShardId>, limit: u32 },
    Stat { id: ShardId },
    Verify { id: ShardId },
    Usage,
}

mod operation {
    pub(super) const PUT: u8 = 1;
    pub(super) const GET: u8 = 2;
    pub(super) const GET_RANGE: u8 = 3;
    pub(super) const DELETE: u8 = 4;
    pub(super) const LIST: u8 = 5;
    pub(super) const STAT: u8 = 6;
    pub(super) const VERIFY: u8 = 7;
    pub(super) const USAGE: u8 = 8;
}

/// Whether a request of this kind needs the gateway role.
pub(super) fn changes_storage(kind: u8) -> bool {
    // Unknown operations are refused like the most privileged ones.
    !matches!(
        kind,
        operation::GET
            | operation::GET_RANGE
            | operation::LIST
            | operation::STAT
            | operation::VERIFY
            | operation::USAGE
    )
}

/// Whether the answer to a request of this kind is a shard.
pub(super) fn is_get(kind: u8) -> bool {
    matches!(kind, operation::GET | operation::GET_RANGE)
}

impl Request {
    fn operation(&self) -> u8 {
        match self {
            Self::Put { .. } => operation::PUT,
            Self::Get { .. } => operation::GET,
            Self::GetRange { .. } => operation::GET_RANGE,
            Self::Delete { .. } => operation::DELETE,
            Self::List { .. } => operation::LIST,
            Self::Stat { .. } => operation::STAT,
            Self::Verify { .. } => operation::VERIFY,
            Self::Usage => operation::USAGE,
        }
    }

    /// Whether it moves enough bytes to keep small calls waiting.
    pub(super) fn is_bulk(&self) -> bool {
        matches!(self, Self::Put { .. } | Self::Get { .. } | Self::GetRange { .. })
    }

    /// The head, what follows it in the same write, and the data, which is not copied.
    pub(super) fn encode(&self, request_id: u64) -> (Bytes, Bytes) {
        let mut head = BytesMut::with_capacity(HEAD_LEN + 64);
        head.put_bytes(0, HEAD_LEN);
        let mut data = Bytes::new();
        match self {
            Self::Put { id, data: bytes } => {
                head.put_slice(&id.to_bytes());
                data = bytes.clone();
            }
            Self::Get { id } | Self::Stat { id } | Self::Verify { id } => head.put_slice(&id.to_bytes()),
            Self::GetRange { id, offset, len } => {
                head.put_slice(&id.to_bytes());
                head.put_u32_le(*offset);
                head.put_u32_le(*len);
            }
            Self::Delete { ids } => ids.iter().for_each(|id| head.put_slice(&id.to_bytes())),
            Self::List { group, after, limit } => {
                head.put_u32_le(*limit);
                head.put_u8(u8::from(group.is_some()));
                head.put_u64_le(group.map_or(0, |group| group.0));
                if let Some(after) = after {
                    head.put_slice(&after.to_bytes());
                }
            }
            Self::Usage => {}
        }
        let body_len = head.len() - HEAD_LEN + data.len();
        let first = Head { kind: self.operation(), body_len, id: request_id }.encode();
        head[..HEAD_LEN].copy_from_slice(&first);
        (head.freeze(), data)
    }

    /// Reads a body. `Put` keeps a slice of it, no copy.
    pub(super) fn decode(kind: u8, body: &Bytes) -> Result<Self, Malformed> {
        let shard =
            |bytes: &[u8]| ShardId::from_slice(bytes).ok_or(Malformed("a shard id has the wrong length"));
        Ok(match kind {
            operation::PUT if body.len() >= SHARD_ID_LEN => {
                Self::Put { id: shard(&body[..SHARD_ID_LEN])?, data: body.slice(SHARD_ID_LEN..) }
            }
            operation::PUT => return Err(Malformed("a put without a shard id")),
            operation::GET => Self::Get { id: shard(body)? },
            operation::GET_RANGE => {
                let (id, rest) =
                    body.split_at_checked(SHARD_ID_LEN).ok_or(Malformed("a short range request"))?;
                let range: &[u8; 8] =
                    rest.try_into().map_err(|_| Malformed("a range request of another length"))?;
                let [offset, len] = [&range[..4], &range[4..]].map(le_u32);
                Self::GetRange { id: shard(id)?, offset, len }
            }
            operation::DELETE => {
                if body.len() > BATCH_MAX * SHARD_ID_LEN {
                    return Err(Malformed("a delete names too many shards"));
                }
                Self::Delete { ids: body.chunks(SHARD_ID_LEN).map(shard).collect::<Result<_, _>>()? }
            }
            operation::LIST => decode_list(body)?,
            operation::STAT => Self::Stat { id: shard(body)? },
            operation::VERIFY => Self::Verify { id: shard(body)? },
            operation::USAGE if body.is_empty() => Self::Usage,
            operation::USAGE => return Err(Malformed("a usage request has no body")),
            _ => return Err(Malformed("unknown operation")),
        })
    }
}

fn decode_list(body: &[u8]) -> Result<Request, Malformed> {
    let (fixed, after) = body.split_first_chunk::<13>().ok_or(Malformed("a short list request"))?;
    let group = match fixed[4] {
        0 => None,
        1 => Some(GroupId(le_u64(&fixed[5..]))),
        _ => return Err(Malformed("a list request with an unknown flag")),
    };
    let after = match after.len() {
        0 => None,
        _ => Some(ShardId::from_slice(after).ok_or(Malformed("a shard id has the wrong length"))?),
    };
    Ok(Request::List { group, after, limit: le_u32(&fixed[..4]) })
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Response {
    Done,
    Data(Bytes),
    Stats(Vec<ShardStat>),
    Stat(Option<ShardStat>),
    Health(ShardHealth),
    Usage(NodeUsage),
}

/// Which response a request expects: responses don't say what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Done,
    Data,
    Stats,
    Stat,
    Health,
    Usage,
}

impl Request {
    pub(super) fn expected(&self) -> Expected {
        match self {
            Self::Put { .. } | Self::Delete { .. } => Expected::Done,
            Self::Get { .. } | Self::GetRange { .. } => Expected::Data,
            Self::List { .. } => Expected::Stats,
            Self::Stat { .. } => Expected::Stat,
            Self::Verify { .. } => Expected::Health,
            Self::Usage => Expected::Usage,
        }
    }
}

const STATUS_OK: u8 = 0;

fn status(error: ShardError) -> u8 {
    match error {
        ShardError::NotFound => 1,
        ShardError::Corrupt => 2,
        ShardError::Full => 3,
        ShardError::ReadOnly => 4,
        ShardError::Conflict => 5,
        ShardError::Refused => 6,
        ShardError::Busy => 7,
        ShardError::Failed => 8,
    }
}

fn error(status: u8) -> Option<ShardError> {
    Some(match status {
        1 => ShardError::NotFound,
        2 => ShardError::Corrupt,
        3 => ShardError::Full,
        4 => ShardError::ReadOnly,
        5 => ShardError::Conflict,
        6 => ShardError::Refused,
        7 => ShardError::Busy,
        8 => ShardError::Failed,
        _ => return None,
    })
}

/// The head with a short body, and the data, which is not copied.
pub(super) fn encode_response(id: u64, response: &Result<Response, ShardError>) -> (Bytes, Bytes) {
    let mut head = BytesMut::with_capacity(HEAD_LEN + 64);
    head.put_bytes(0, HEAD_LEN);
    let mut data = Bytes::new();
    match response {
        Err(_) | Ok(Response::Done | Response::Stat(None)) => {}
        Ok(Response::Data(bytes)) => data = bytes.clone(),
        Ok(Response::Stats(stats)) => stats.iter().for_each(|stat| put_stat(&mut head, stat)),
        Ok(Response::Stat(Some(stat))) => put_stat(&mut head, stat),
        Ok(Response::Health(health)) => head.put_u8(match health {
            ShardHealth::Good => 0,
            ShardHealth::Corrupt => 1,
            ShardHealth::Missing => 2,
        }),
        Ok(Response::Usage(usage)) => {
            for value in [usage.capacity_bytes, usage.used_bytes, usage.live_bytes, usage.shards] {
                head.put_u64_le(value);
            }
            head.put_u8(u8::from(usage.read_only));
        }
    }
    let kind = response.as_ref().map_or_else(|error| status(*error), |_| STATUS_OK);
    let first = Head { kind, body_len: head.len() - HEAD_LEN + data.len(), id }.encode();
    head[..HEAD_LEN].copy_from_slice(&first);
    (head.freeze(), data)
}

/// Reads the body of a response to a request that expects `expected`.
pub(super) fn decode_response(
    kind: u8,
    body: Bytes,
    expected: Expected,
) -> Result<Result<Response, ShardError>, Malformed> {
    if kind != STATUS_OK {
        return error(kind).map(Err).ok_or(Malformed("unknown status"));
    }
    let response = match expected {
        Expected::Done if body.is_empty() => Response::Done,
        Expected::Data => Response::Data(body),
        Expected::Stats if body.len().is_multiple_of(STAT_LEN) => {
            Response::Stats(body.chunks(STAT_LEN).map(read_stat).collect::<Option<_>>().ok_or(BAD_STAT)?)
        }
        Expected::Stat if body.is_empty() => Response::Stat(None),
        Expected::Stat => Response::Stat(Some(read_stat(&body).ok_or(BAD_STAT)?)),
        Expected::Health => Response::Health(match *body {
            [0] => ShardHealth::Good,
            [1] => ShardHealth::Corrupt,
            [2] => ShardHealth::Missing,
            _ => return Err(Malformed("unknown health of a shard")),
        }),
        Expected::Usage if body.len() == USAGE_LEN => Response::Usage(NodeUsage {
            capacity_bytes: le_u64(&body[..8]),
            used_bytes: le_u64(&body[8..16]),
            live_bytes: le_u64(&body[16..24]),
            shards: le_u64(&body[24..32]),
            read_only: body[32] != 0,
        }),
        _ => return Err(Malformed("a response of the wrong length")),
    };
    Ok(Ok(response))
}

const BAD_STAT: Malformed = Malformed("a stat of the wrong length");

fn put_stat(bytes: &mut BytesMut, stat: &ShardStat) {
    bytes.put_slice(&stat.id.to_bytes());
    bytes.put_u32_le(stat.len);
    bytes.put_i64_le(stat.stored_at_ms);
}

fn read_stat(bytes: &[u8]) -> Option<ShardStat> {
    let bytes: &[u8; STAT_LEN] = bytes.try_into().ok()?;
    Some(ShardStat {
        id: ShardId::from_slice(&bytes[..SHARD_ID_LEN])?,
        len: le_u32(&bytes[SHARD_ID_LEN..SHARD_ID_LEN + 4]),
        stored_at_ms: le_u64(&bytes[SHARD_ID_LEN + 4..]) as i64,
    })
}

fn le_u32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("callers slice exactly four bytes"))
}

fn le_u64(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("callers slice exactly eight bytes"))
}

#[cfg(test)]
mod tests;
