//! The S3 gateway.

pub mod adapters;
pub mod admin_api;
pub mod commands;
pub mod config;
pub mod doctor;
pub mod holdings;
pub mod http;
pub mod ingest;
pub mod instance;
pub mod jobs;
pub mod lifecycle;
pub mod retrieve;
pub mod s3;
