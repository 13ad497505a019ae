//! Throughput of each stage.
fn main() {}
