//! The load generator: plain S3 against any server.

fn main() {}
