//! How a newer network map spreads: peers compare epochs, and who is behind asks. JSON, for it is rare and small.

use libp2p::StreamProtocol;
use libp2p::request_response::{self, ProtocolSupport, json};
use serde::{Deserialize, Serialize};

use crate::{SIGNED_MAP_BYTES_MAX, SignedMap};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/datamesh/map/1");

/// What is sent to a peer on connecting, and to all of them when the map changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MapRequest {
    /// The epoch of the sender's map. A receiver that is behind asks in its turn.
    pub(crate) epoch: u64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MapResponse {
    /// The receiver's map, when it is newer. It is verified like any other.
    pub(crate) newer: Option<SignedMap>,
}

pub(crate) type Behaviour = json::Behaviour<MapRequest, MapResponse>;

pub(crate) fn behaviour() -> Behaviour {
    let codec = json::codec::Codec::default()
        .set_request_size_maximum(4 << 10)
        // Quotes of the payload are escaped, which can double it.
        .set_response_size_maximum(2 * SIGNED_MAP_BYTES_MAX as u64 + (64 << 10));
    let config = request_response::Config::default().with_max_concurrent_streams(16);
    Behaviour::with_codec(codec, [(PROTOCOL, ProtocolSupport::Full)], config)
}
