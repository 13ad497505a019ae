//! Delivery: what is in the outbox is posted to its webhook, again and again until it is accepted or too old.

use std::time::Duration;

use datamesh_catalog::{StoredMessage, VersionId};
use futures::{StreamExt, stream};

use super::{JobError, Jobs, now_ms};
use crate::events::{destination_url, fill_in};
use crate::row_key::{OpenMessageError, open_message};

/// Messages per query.
const BATCH: usize = 256;
const POSTS_AT_ONCE: usize = 16;
/// Between a first failure and the next try; it doubles each time.
const DELAY_MS: u64 = 1_000;
const DELAY_MS_MAX: u64 = 15 * 60 * 1000;
/// A message that nobody accepted for this long is given up.
const AGE_MAX: Duration = Duration::from_hours(24 * 3);

/// What became of a message.
enum Outcome {
    Delivered,
    Failed,
    GivenUp,
}

impl Jobs {
    pub(super) async fn leased_deliver(&self) -> Result<(), JobError> {
        // Asked for without the lease: an empty outbox costs one read.
        if self.inner.catalog.due_messages(now_ms(), 1).await?.is_empty() {
            return Ok(());
        }
        self.under_lease("outbox", self.deliver(now_ms())).await.map(drop)
    }

    /// Tries every message that is due at `now_ms` once; how many were accepted.
    pub async fn deliver(&self, now_ms: u64) -> Result<u64, JobError> {
        let mut delivered = 0;
        loop {
            let due = self.inner.catalog.due_messages(now_ms, BATCH).await?;
            if due.is_empty() {
                return Ok(delivered);
            }
            let posts: Vec<_> = due.iter().map(|message| self.post(message, now_ms)).collect();
            let outcomes: Vec<_> = stream::iter(posts).buffer_unordered(POSTS_AT_ONCE).collect().await;
            let mut done = Vec::new();
            for (message, outcome) in outcomes {
                match outcome {
                    Outcome::Failed => {
                        let delay = DELAY_MS << message.attempts.min(20);
                        let next_ms = now_ms + delay.min(DELAY_MS_MAX);
                        self.inner.catalog.postpone_message(message.id, next_ms).await?;
                    }
                    Outcome::GivenUp => done.push(message.id),
                    Outcome::Delivered => {
                        delivered += 1;
                        done.push(message.id);
                    }
                }
            }
            self.inner.catalog.forget_messages(&done).await?;
        }
    }

    async fn post<'m>(&self, message: &'m StoredMessage, now_ms: u64) -> (&'m StoredMessage, Outcome) {
        let version = match message.version {
            VersionId::Null => None,
            numbered @ VersionId::Numbered(_) => Some(numbered.to_string()),
        };
        let document = match open_message(self.inner.accounts.keyring(), &message.document).await {
            Ok(document) => fill_in(&document, version, message.size, message.sequence),
            Err(OpenMessageError::Row(_)) => None,
            Err(OpenMessageError::Accounts(error)) => {
                tracing::warn!(message = message.id.0, %error, "a message cannot be opened yet");
                return (message, count(Outcome::Failed));
            }
        };
        let Some((url, document)) = destination_url(&message.destination).zip(document) else {
            tracing::error!(message = message.id.0, "gave up a message that cannot be read");
            return (message, count(Outcome::GivenUp));
        };
        let Err(error) = self.inner.webhooks.post(&url, document).await else {
            return (message, count(Outcome::Delivered));
        };
        let host = url.host_str().unwrap_or_default();
        if now_ms.saturating_sub(message.created_at_ms) > AGE_MAX.as_millis() as u64 {
            tracing::warn!(message = message.id.0, host, %error, "gave up a message that nobody accepted");
            return (message, count(Outcome::GivenUp));
        }
        tracing::debug!(message = message.id.0, host, %error, "a message was not accepted");
        (message, count(Outcome::Failed))
    }
}

fn count(outcome: Outcome) -> Outcome {
    let label = match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Failed => "failed",
        Outcome::GivenUp => "given_up",
    };
    metrics::counter!("datamesh_events_total", "result" => label).increment(1);
    outcome
}
