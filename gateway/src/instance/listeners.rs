//! The listeners of a gateway, and where they listen.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::{StartError, reachable};
use crate::config::GatewayConfig;
use crate::http;

/// The listeners: bound before anything else, so that a taken port is found at once.
pub(super) struct Listeners {
    pub s3: http::Server,
    pub website: Option<http::Server>,
    pub people: Option<http::Server>,
    pub payments: Option<http::Server>,
    pub admin: TcpListener,
}

/// Where they listen.
pub(super) struct Addresses {
    pub s3: SocketAddr,
    pub website: Option<SocketAddr>,
    pub people: Option<SocketAddr>,
    pub payments: Option<SocketAddr>,
    pub admin: SocketAddr,
}

impl Listeners {
    /// Binds those that the configuration names.
    pub async fn bind(config: &GatewayConfig) -> Result<Self, StartError> {
        let tls = match (&config.s3.tls_certificate, &config.s3.tls_key) {
            (Some(certificate), Some(key)) => Some(http::load_tls(certificate, key)?),
            _ => None,
        };
        let failed = |listener, address| move |source| StartError::Listen { listener, address, source };
        let optional = async |listener, address| match address {
            None => Ok(None),
            Some(address) => {
                let bound = http::Server::bind(address, tls.clone(), config.s3.http()).await;
                bound.map(Some).map_err(failed(listener, address))
            }
        };
        let website = optional("website", config.website.listen).await?;
        let people = optional("accounts", config.registration.listen).await?;
        let payments = optional("payments", config.payments.listen).await?;
        let s3 = http::Server::bind(config.s3.listen, tls.clone(), config.s3.http()).await;
        let admin = TcpListener::bind(config.admin.listen).await;
        Ok(Self {
            website,
            people,
            payments,
            s3: s3.map_err(failed("S3", config.s3.listen))?,
            admin: admin.map_err(failed("admin", config.admin.listen))?,
        })
    }

    /// Where they listen; a port 0 has become one by now.
    pub fn addresses(&self) -> Result<Addresses, StartError> {
        let optional = |listener: &Option<http::Server>, which| {
            let address = listener.as_ref().map(http::Server::local_addr).transpose();
            address.map_err(StartError::io("inspect", which))
        };
        Ok(Addresses {
            s3: self.s3.local_addr().map_err(StartError::io("inspect", "the S3 listener"))?,
            website: optional(&self.website, "the website listener")?,
            people: optional(&self.people, "the listener for people")?,
            payments: optional(&self.payments, "the listener for payment providers")?,
            admin: self.admin.local_addr().map_err(StartError::io("inspect", "the admin listener"))?,
        })
    }
}

/// How a client on this machine reaches a listener.
pub(super) fn endpoint(tls: bool, address: SocketAddr) -> String {
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}", reachable(address))
}
