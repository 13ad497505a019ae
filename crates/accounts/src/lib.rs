//! Users, access keys, key ring and limits.
