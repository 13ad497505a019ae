//! Payment providers, as the configuration names them.

use std::sync::Arc;

use datamesh_accounts::{PaymentProvider, SandboxPayments, Secret};
use url::Url;

use super::StartError;
use super::access::read_token;
use crate::config::PaymentsSection;
use crate::payment_api::SandboxSender;

/// The providers of one gateway.
pub(super) struct Payments {
    sandbox: Option<Sandbox>,
}

struct Sandbox {
    provider: Arc<SandboxPayments>,
    endpoint: Option<String>,
}

impl Payments {
    /// Reads their secrets.
    pub fn open(section: &PaymentsSection) -> Result<Self, StartError> {
        let sandbox = section.sandbox.as_ref().map(|sandbox| {
            let secret = Secret::new(read_token(&sandbox.secret_file)?);
            let provider = Arc::new(SandboxPayments::new(&secret));
            Ok::<_, StartError>(Sandbox { provider, endpoint: sandbox.endpoint.clone() })
        });
        Ok(Self { sandbox: sandbox.transpose()? })
    }

    /// All of them.
    pub fn providers(&self) -> Vec<Arc<dyn PaymentProvider>> {
        let sandbox = self.sandbox.iter().map(|sandbox| Arc::clone(&sandbox.provider) as Arc<_>);
        sandbox.collect()
    }

    /// The sandbox's other side. `listener` is where this machine reaches the listener for providers.
    pub fn sender(&self, listener: Option<&str>) -> Result<Option<SandboxSender>, StartError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StartError::Process {
            what: "the sandbox of payments",
            source,
        };
        let (Some(sandbox), Some(listener)) = (&self.sandbox, listener) else { return Ok(None) };
        let endpoint = Url::parse(sandbox.endpoint.as_deref().unwrap_or(listener));
        let endpoint = endpoint.map_err(|error| failed(error.into()))?;
        let sender = SandboxSender::new(Arc::clone(&sandbox.provider), &endpoint);
        sender.map(Some).map_err(|error| failed(error.into()))
    }
}
