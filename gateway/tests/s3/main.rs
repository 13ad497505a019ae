//! The S3 service in process, over a real socket: a signed client that is plain enough to send wrong requests too.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]
#![allow(
    clippy::similar_names,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "short texts and lines"
)]

mod access;
mod buckets;
mod client;
mod conditions;
mod cors;
mod documents;
mod encryption;
mod erasures;
mod events;
mod exports;
mod forms;
mod grants;
mod integrity;
mod inventory;
mod isolation;
mod keys;
mod lifecycle;
mod limits;
mod lock;
mod logging;
mod multipart;
mod objects;
mod permissions;
mod policies;
mod quota_model;
mod quotas;
mod refusals;
mod request_metrics;
mod restore;
mod routes;
mod sealed_rows;
mod service;
mod signatures;
mod tagging;
mod usage;
mod versioning;
mod website;
