//! A bucket's public access block.

use serde::{Deserialize, Serialize};

/// What of a bucket must not be public, whatever its policy and its lists say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "S3's four independent switches")]
pub struct PublicAccessBlock {
    /// Refuses requests that would set a public access control list.
    pub block_public_acls: bool,
    /// Makes grants to groups void.
    pub ignore_public_acls: bool,
    /// Refuses public policies.
    pub block_public_policy: bool,
    /// Keeps everybody but the bucket's account from what a public policy allows.
    pub restrict_public_buckets: bool,
}
