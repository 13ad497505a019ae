//! Real clients against a real gateway.
