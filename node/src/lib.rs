//! A storage node.
