//! The TLS 1.3 upgrade: libp2p's certificates, AES-GCM first.
//!
//! Wire-compatible with libp2p-tls (<https://github.com/libp2p/specs/blob/master/tls/tls.md>), which prefers
//! `ChaCha20` and doesn't let its users choose. Both sides present one self-signed certificate with an extension
//! in which the host's Ed25519 key signs the certificate's key; there is no authority, the peer id is the identity.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite, FutureExt as _};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use libp2p::PeerId;
use libp2p::core::UpgradeInfo;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::identity::Keypair;
use libp2p::tls::certificate;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, OtherError,
    ServerConfig, SignatureScheme,
};

const ALPN: &[u8] = b"libp2p";

/// The upgrade of a TCP connection. Its outcome is the stream and the peer id that the peer has proved.
#[derive(Clone)]
pub(super) struct Upgrade {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Upgrade {
    /// Makes a certificate for this run of the host.
    pub(super) fn new(keypair: &Keypair) -> Result<Self, String> {
        let (certificate, key) = certificate::generate(keypair).map_err(|error| error.to_string())?;
        let key = aws_lc_rs::sign::any_ecdsa_type(&key).map_err(|error| error.to_string())?;
        let identity = Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key)));
        let provider = Arc::new(provider());
        let tls13 = &[&rustls::version::TLS13];

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(tls13)
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Libp2pCertificate))
            .with_client_cert_resolver(Arc::clone(&identity) as _);
        client.alpn_protocols = vec![ALPN.to_vec()];
        // Every peer has the same server name here, so a ticket would be offered to the wrong one.
        client.resumption = Resumption::disabled();

        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(tls13)
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(Arc::new(Libp2pCertificate))
            .with_cert_resolver(identity);
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.send_tls13_tickets = 0;
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }
}

fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    }
}

impl UpgradeInfo for Upgrade {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/tls/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Upgrade {
    type Output = (PeerId, TlsStream<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        async move {
            let stream = TlsAcceptor::from(self.server).accept(socket).await?;
            Ok((proven_peer(stream.get_ref().1)?, stream.into()))
        }
        .boxed()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Upgrade {
    type Output = (PeerId, TlsStream<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        async move {
            // An address as the name makes rustls send no SNI, which the specification forbids.
            let name = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
            let stream = TlsConnector::from(self.client).connect(name, socket).await?;
            Ok((proven_peer(stream.get_ref().1)?, stream.into()))
        }
        .boxed()
    }
}

fn proven_peer(state: &CommonState) -> io::Result<PeerId> {
    let Some([certificate]) = state.peer_certificates() else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer sent no single certificate"));
    };
    let certificate = certificate::parse(certificate)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    Ok(certificate.peer_id())
}

/// Verifies that a certificate is libp2p's: exactly one, self-signed, its key signed by the host's key.
///
/// That the host is the one that was dialled is checked by libp2p when the upgrade is done.
#[derive(Debug)]
struct Libp2pCertificate;

impl Libp2pCertificate {
    fn verify(end_entity: &CertificateDer, intermediates: &[CertificateDer]) -> Result<(), rustls::Error> {
        if !intermediates.is_empty() {
            return Err(rustls::Error::General("a peer sends exactly one certificate".into()));
        }
        certificate::parse(end_entity).map_err(refused)?;
        Ok(())
    }

    fn verify_handshake(
        message: &[u8],
        certificate: &CertificateDer,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        certificate::parse(certificate)
            .map_err(refused)?
            .verify_signature(signed.scheme, message, signed.signature())
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadSignature))?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn schemes() -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ED25519,
        ]
    }
}

fn refused(error: certificate::ParseError) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

fn no_tls12() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is not spoken here".into())
}

impl ServerCertVerifier for Libp2pCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Self::verify(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::verify_handshake(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

impl ClientCertVerifier for Libp2pCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Self::verify(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::verify_handshake(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

#[cfg(test)]
mod tests {
    use futures::future::try_join;
    use tokio::io::duplex;
    use tokio_util::compat::TokioAsyncReadCompatExt as _;

    use super::*;

    #[tokio::test]
    async fn both_sides_prove_their_keys_and_agree_on_aes() {
        let (one, two) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let (left, right) = duplex(64 << 10);
        let client = Upgrade::new(&one).unwrap().upgrade_outbound(left.compat(), "/tls/1.0.0");
        let server = Upgrade::new(&two).unwrap().upgrade_inbound(right.compat(), "/tls/1.0.0");
        let ((server_peer, stream), (client_peer, _)) = try_join(client, server).await.unwrap();
        assert_eq!(server_peer, two.public().to_peer_id());
        assert_eq!(client_peer, one.public().to_peer_id());
        let suite = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    }

    #[tokio::test]
    async fn the_handshake_is_compatible_with_stock_libp2p() {
        let (one, two) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let (left, right) = duplex(64 << 10);
        let client = Upgrade::new(&one).unwrap().upgrade_outbound(left.compat(), "/tls/1.0.0");
        let stock = libp2p::tls::Config::new(&two).unwrap();
        let server =
            async { stock.upgrade_inbound(right.compat(), "/tls/1.0.0").await.map_err(io::Error::other) };
        let ((server_peer, _), (client_peer, _)) = try_join(client, server).await.unwrap();
        assert_eq!(server_peer, two.public().to_peer_id());
        assert_eq!(client_peer, one.public().to_peer_id());
    }

    #[test]
    fn a_certificate_that_the_host_key_did_not_sign_is_refused() {
        let (certificate, _) = certificate::generate(&Keypair::generate_ed25519()).unwrap();
        assert!(Libp2pCertificate::verify(&certificate, &[]).is_ok());
        assert!(Libp2pCertificate::verify(&certificate, std::slice::from_ref(&certificate)).is_err());
        // What the certificate's own signature covers begins after two DER heads of four bytes each.
        let covered = usize::from(u16::from_be_bytes([certificate[6], certificate[7]]));
        for at in 8..8 + covered {
            let mut forged = certificate.to_vec();
            forged[at] ^= 1;
            assert!(Libp2pCertificate::verify(&forged.into(), &[]).is_err(), "byte {at}");
        }
    }
}
