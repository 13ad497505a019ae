//! Strangers that send whatever they like to the port. What members may send is fuzzed beside the protocol.

use bytes::Bytes;
use datamesh_mesh::ShardTransport;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::hosts::{PATIENCE, Pair, shard};

/// The socket address of a `/ip4/../tcp/..` multiaddr.
fn socket(address: &str) -> String {
    let parts: Vec<&str> = address.split('/').collect();
    format!("{}:{}", parts[2], parts[4])
}

#[tokio::test]
async fn garbage_on_the_port_costs_only_its_own_connection() {
    let pair = Pair::new().await;
    let address = socket(&pair.storage.listen_addresses()[0]);
    let tls_hello = b"\x13/multistream/1.0.0\n\x0b/tls/1.0.0\n\x16\x03\x01\xff\xff";
    let multistream = b"\x13/multistream/1.0.0\n\x7f";
    let noise: Vec<u8> = (0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for garbage in [&tls_hello[..], multistream, &noise, &[0xff; 4096], b"GET / HTTP/1.1\r\n\r\n", b""] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        // The host may hang up in the middle of it.
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "the host hangs up");
    }
    pair.gateway.put_shard(pair.node, shard(0), Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(pair.gateway.get_shard(pair.node, shard(0)).await.unwrap(), "x");
}
