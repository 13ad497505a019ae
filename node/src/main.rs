//! A storage node.

fn main() {}
