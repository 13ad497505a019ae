//! The S3 gateway.

pub mod http;
pub mod ingest;
pub mod retrieve;
pub mod s3;
