//! The sandbox's other side: it sends the signed messages that a real provider would.

use std::sync::Arc;
use std::time::Duration;

use datamesh_accounts::{PaymentEvent, PaymentProvider, SandboxPayments};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use url::Url;

use super::{NOTICES, SIGNATURE};

const REQUEST_TIME_MAX: Duration = Duration::from_secs(15);

/// Tells a gateway what became of payments. Cheap to clone.
#[derive(Clone)]
pub struct SandboxSender {
    client: reqwest::Client,
    url: Url,
    sandbox: Arc<SandboxPayments>,
}

impl SandboxSender {
    /// A sender to the listener at `endpoint`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(sandbox: Arc<SandboxPayments>, endpoint: &Url) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().no_proxy().timeout(REQUEST_TIME_MAX).build()?;
        let mut url = endpoint.clone();
        url.set_path(&format!("{NOTICES}{}", sandbox.name()));
        Ok(Self { client, url, sandbox })
    }

    /// Sends a message, signed at this moment (milliseconds since 1970): how it was answered.
    ///
    /// # Errors
    /// When there was no answer.
    pub async fn tell(
        &self,
        event: &PaymentEvent,
        now_ms: u64,
    ) -> Result<(StatusCode, String), reqwest::Error> {
        let body = serde_json::to_vec(event).expect("an event is representable as JSON");
        let signature = self.sandbox.sign(&body, now_ms);
        let sent = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE, signature)
            .body(body)
            .send()
            .await?;
        Ok((sent.status(), sent.text().await?))
    }
}
