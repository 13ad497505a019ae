//! Running something while a lease is held.

use std::future::Future;
use std::time::Duration;

use super::{JobError, Jobs, now_ms};

/// How long a lease lasts. A gateway that dies holds a job up for this long.
const TTL: Duration = Duration::from_secs(15);
/// How often a held lease is renewed, and a wanted one asked for.
const RENEWAL: Duration = Duration::from_secs(5);

impl Jobs {
    /// Runs `work` under the lease `name`; does nothing while another gateway holds it. Work whose lease is lost is
    /// dropped.
    pub(super) async fn under_lease<T>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, JobError>>,
    ) -> Result<Option<T>, JobError> {
        if !self.take_lease(name).await? {
            return Ok(None);
        }
        let kept = async {
            loop {
                tokio::time::sleep(RENEWAL).await;
                match self.take_lease(name).await {
                    Ok(true) => {}
                    Ok(false) => return JobError::Elsewhere,
                    Err(error) => return error,
                }
            }
        };
        let result = tokio::select! {
            result = work => result,
            lost = kept => return Err(lost),
        };
        self.inner.catalog.release_lease(name, &self.inner.holder).await?;
        result.map(Some)
    }

    /// Like [`Self::under_lease`], but waits for the lease: for as long as a gateway that died may hold it.
    ///
    /// # Errors
    /// [`JobError::Elsewhere`] when a living gateway keeps it.
    pub(super) async fn when_leased<T>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, JobError>>,
    ) -> Result<T, JobError> {
        let give_up = tokio::time::Instant::now() + TTL + RENEWAL;
        while !self.take_lease(name).await? {
            if tokio::time::Instant::now() > give_up {
                return Err(JobError::Elsewhere);
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        self.under_lease(name, work).await?.ok_or(JobError::Elsewhere)
    }

    async fn take_lease(&self, name: &str) -> Result<bool, JobError> {
        let ttl_ms = TTL.as_millis() as u64;
        Ok(self.inner.catalog.lease(name, &self.inner.holder, ttl_ms, now_ms()).await?.is_some())
    }
}
