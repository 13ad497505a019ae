//! How bytes get from host to host: TCP with our own TLS upgrade and muxer, and QUIC.
//!
//! docs/decisions/0004-mesh-transport.md says why the upgrade and the muxer are our own.

mod muxer;
mod tls;

use std::io;
use std::path::Path;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::Transport as _;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, OrTransport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;

use crate::MeshError;

const RESOLVER_CONFIG: &str = "/etc/resolv.conf";

/// The transports of a host: what is dialled or listened on decides between TCP and QUIC.
pub(crate) fn transport(
    keypair: &Keypair,
    handshake_timeout: Duration,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, MeshError> {
    let fail = |transport, reason: String| MeshError::Transport { transport, reason };
    let security = tls::Upgrade::new(keypair).map_err(|reason| fail("tls", reason))?;
    let tcp = libp2p::tcp::tokio::Transport::new(libp2p::tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(security)
        .multiplex(muxer::Upgrade)
        .timeout(handshake_timeout)
        .boxed();
    let mut quic = libp2p::quic::Config::new(keypair);
    quic.handshake_timeout = handshake_timeout;
    quic.max_concurrent_stream_limit = muxer::STREAMS_MAX as u32;
    let quic = libp2p::quic::tokio::Transport::new(quic)
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
        .boxed();
    let either = OrTransport::new(quic, tcp).map(|either, _| either.into_inner());
    // A host without a resolver can still be reached, and reach others, by IP addresses.
    if !Path::new(RESOLVER_CONFIG).exists() {
        tracing::warn!("there is no {RESOLVER_CONFIG}: addresses with DNS names cannot be dialled");
        return Ok(either.boxed());
    }
    let resolved = libp2p::dns::tokio::Transport::system(either)
        .map_err(|error: io::Error| fail("dns", error.to_string()))?;
    Ok(resolved.boxed())
}
