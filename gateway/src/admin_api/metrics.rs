//! `/metrics`: everything that the process counts, and gauges of the cluster, for Prometheus.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::State;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::AdminState;
use crate::instance::StartError;

/// The gauges are at most this old: a scrape costs a look at the catalog.
const GAUGE_AGE_MAX: Duration = Duration::from_secs(1);
/// Buckets of every histogram of seconds.
const SECONDS: [f64; 14] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// The process's recorder.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    gauges_read: Arc<Mutex<Option<Instant>>>,
}

impl Metrics {
    /// Makes everything that is counted from now on appear in `/metrics`. There is one recorder in a process.
    pub fn install() -> Result<Self, StartError> {
        static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
        let handle = if let Some(handle) = RECORDER.get() {
            handle.clone()
        } else {
            let failed = |source| StartError::Process { what: "metrics", source: Box::new(source) };
            let handle = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
                .and_then(PrometheusBuilder::install_recorder)
                .map_err(failed)?;
            RECORDER.get_or_init(|| handle).clone()
        };
        Ok(Self { handle, gauges_read: Arc::new(Mutex::new(None)) })
    }
}

pub(super) async fn render(State(state): State<AdminState>) -> String {
    let mut read = state.metrics.gauges_read.lock().await;
    if read.is_none_or(|read| read.elapsed() > GAUGE_AGE_MAX) {
        set_gauges(&state).await;
        *read = Some(Instant::now());
    }
    state.metrics.handle.run_upkeep();
    state.metrics.handle.render()
}

async fn set_gauges(state: &AdminState) {
    match state.catalog.backlog().await {
        Ok(backlog) => {
            metrics::gauge!("datamesh_garbage_chunks").set(backlog.garbage as f64);
            metrics::gauge!("datamesh_incomplete_chunks").set(backlog.incomplete_chunks as f64);
            metrics::gauge!("datamesh_lost_chunks").set(backlog.lost_chunks as f64);
        }
        Err(error) => tracing::warn!(%error, "no gauges of the catalog"),
    }
    let Some(cluster) = state.holdings.cluster() else { return };
    let status = match cluster.status().await {
        Ok(status) => status,
        Err(error) => return tracing::warn!(%error, "no gauges of the cluster"),
    };
    metrics::gauge!("datamesh_groups").set(status.groups.len() as f64);
    metrics::gauge!("datamesh_groups_below_target").set(status.groups_below_target as f64);
    metrics::gauge!("datamesh_shards_missing").set(status.shards_missing as f64);
    metrics::gauge!("datamesh_nodes").set(status.nodes.len() as f64);
    let connected = status.nodes.iter().filter(|node| node.connected).count();
    metrics::gauge!("datamesh_nodes_connected").set(connected as f64);
    for node in &status.nodes {
        let Some(usage) = &node.usage else { continue };
        let label = node.node.to_string();
        metrics::gauge!("datamesh_node_capacity_bytes", "node" => label.clone())
            .set(usage.capacity_bytes as f64);
        metrics::gauge!("datamesh_node_used_bytes", "node" => label.clone()).set(usage.used_bytes as f64);
        metrics::gauge!("datamesh_node_shards", "node" => label).set(usage.shards as f64);
    }
}
