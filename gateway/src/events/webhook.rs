//! Posting messages to webhooks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;
use url::{Host, Url};

use super::address::AddressPolicy;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
const REQUEST_TIME_MAX: Duration = Duration::from_secs(15);

/// A message was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The address is not one that may be connected to.
    #[error("{host:?} is no address that may be connected to")]
    Forbidden {
        /// The host in the URL.
        host: String,
    },
    /// There was no answer.
    #[error("no answer: {source}")]
    NoAnswer {
        /// Why.
        source: reqwest::Error,
    },
    /// The answer was no 2xx.
    #[error("answered {status}")]
    Refused {
        /// Its status.
        status: StatusCode,
    },
}

/// A host resolved to no address that may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("no address of {host:?} may be connected to")]
struct NoneAllowed {
    host: String,
}

/// Posts messages. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    client: reqwest::Client,
    policy: Arc<AddressPolicy>,
}

impl Webhooks {
    /// A sender that connects only where `policy` allows: no proxy, no redirect.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(policy: AddressPolicy) -> Result<Self, reqwest::Error> {
        let policy = Arc::new(policy);
        let client = reqwest::Client::builder()
            .dns_resolver(Arc::new(ClassifyingResolver { policy: Arc::clone(&policy) }))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(REQUEST_TIME_MAX)
            .build()?;
        Ok(Self { client, policy })
    }

    /// Posts a JSON document and waits until it is accepted.
    pub async fn post(&self, url: &Url, document: String) -> Result<(), DeliveryError> {
        self.check_literal(url)?;
        let sent =
            self.client.post(url.clone()).header(CONTENT_TYPE, "application/json").body(document).send();
        let answer = sent.await.map_err(|source| DeliveryError::NoAnswer { source: source.without_url() })?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(DeliveryError::Refused { status }) }
    }

    /// Whether the URL leads to an address that may be connected to, now.
    pub async fn is_allowed(&self, url: &Url) -> bool {
        match url.host() {
            Some(Host::Domain(name)) => allowed(name, &self.policy).await.is_ok(),
            _ => self.check_literal(url).is_ok(),
        }
    }

    /// The client library resolves no address that is written as one.
    fn check_literal(&self, url: &Url) -> Result<(), DeliveryError> {
        let allowed = match url.host() {
            Some(Host::Ipv4(address)) => self.policy.allows(address.into()),
            Some(Host::Ipv6(address)) => self.policy.allows(address.into()),
            Some(Host::Domain(_)) => true,
            None => false,
        };
        let forbidden = || DeliveryError::Forbidden { host: url.host_str().unwrap_or_default().to_owned() };
        if allowed { Ok(()) } else { Err(forbidden()) }
    }
}

/// Resolves names to the addresses that may be connected to, and to no others.
struct ClassifyingResolver {
    policy: Arc<AddressPolicy>,
}

impl Resolve for ClassifyingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        Box::pin(async move {
            let addresses = allowed(name.as_str(), &policy).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

async fn allowed(
    host: &str,
    policy: &AddressPolicy,
) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
    let resolved = tokio::net::lookup_host((host, 0)).await?;
    let allowed: Vec<SocketAddr> = resolved.filter(|address| policy.allows(address.ip())).collect();
    if allowed.is_empty() { Err(NoneAllowed { host: host.to_owned() }.into()) } else { Ok(allowed) }
}
