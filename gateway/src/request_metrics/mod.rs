//! Request metrics of single buckets, as S3's `?metrics` configurations ask for them.
//!
//! `/metrics` names a bucket only when its owner configured that, so that the number of series is bounded by what was
//! asked for, not by how many buckets there are.

mod setting;

use std::sync::Arc;

use datamesh_catalog::{Catalog, ConfigKind};
use tokio_util::sync::CancellationToken;

pub use setting::{MetricsFilter, MetricsFilters};

use crate::http::{Ended, status_class};
use crate::watched::{REFRESH_INTERVAL, WatchedBuckets};

/// A bucket whose requests are counted.
#[derive(Debug)]
pub struct Counted {
    bucket: String,
    filters: Vec<MetricsFilter>,
}

/// Which buckets' requests are counted. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    buckets: Arc<WatchedBuckets<Counted>>,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        Self { buckets: Arc::new(WatchedBuckets::new(ConfigKind::Metrics)) }
    }
}

impl RequestMetrics {
    /// The bucket of that name, if its requests are counted.
    pub fn bucket(&self, name: &str) -> Option<Arc<Counted>> {
        self.buckets.get(name)
    }

    /// Reads anew which buckets are counted.
    pub async fn refresh(&self, catalog: &Catalog) {
        self.buckets
            .refresh(catalog, |bucket, stored: MetricsFilters| Counted {
                bucket: bucket.name.clone(),
                filters: stored.filters,
            })
            .await;
    }

    /// Refreshes until `stop`.
    pub async fn run(self, catalog: Catalog, stop: CancellationToken) {
        let mut refresh = tokio::time::interval(REFRESH_INTERVAL);
        while stop.run_until_cancelled(refresh.tick()).await.is_some() {
            self.refresh(&catalog).await;
        }
    }
}

impl Counted {
    /// Counts a request that is over, under each filter that its key passes.
    pub fn count(&self, operation: &str, key: Option<&str>, ended: &Ended) {
        for filter in self.filters.iter().filter(|filter| filter.takes(key)) {
            let (bucket, id) = (self.bucket.as_str(), filter.id.as_str());
            let labels = [("bucket", bucket.to_owned()), ("filter", id.to_owned())];
            metrics::counter!(
                "datamesh_bucket_requests_total", "bucket" => bucket.to_owned(), "filter" => id.to_owned(),
                "operation" => operation.to_owned(), "status" => status_class(ended.status)
            )
            .increment(1);
            metrics::counter!("datamesh_bucket_received_bytes_total", &labels).increment(ended.received_len);
            metrics::counter!("datamesh_bucket_sent_bytes_total", &labels).increment(ended.answer_len);
            metrics::histogram!("datamesh_bucket_first_byte_seconds", &labels).record(ended.turnaround);
            metrics::histogram!("datamesh_bucket_request_seconds", &labels).record(ended.total);
        }
    }
}
