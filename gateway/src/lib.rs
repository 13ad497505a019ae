//! The S3 gateway.

pub mod access_log;
pub mod account_api;
pub mod adapters;
pub mod admin_api;
pub mod commands;
pub mod config;
pub mod doctor;
pub mod document_time;
pub mod events;
pub mod holdings;
pub mod http;
pub mod ingest;
pub mod instance;
pub mod inventory;
pub mod jobs;
pub mod lifecycle;
pub mod mail;
pub mod payment_api;
pub mod privacy;
pub mod request_metrics;
pub mod retrieve;
pub mod row_key;
pub mod s3;
pub mod watched;
pub mod website;
