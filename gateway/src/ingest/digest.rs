//! What is computed over the whole body: MD5 for the `ETag`, and the client's checksum.

use md5::{Digest, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::dto::Checksum;

pub(super) struct Digests {
    md5: Md5,
    checksum: ChecksumHasher,
}

impl Digests {
    pub(super) fn new(checksum: ChecksumHasher) -> Self {
        Self { md5: Md5::new(), checksum }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.checksum.update(bytes);
    }

    pub(super) fn finish(self) -> ([u8; 16], Checksum) {
        (self.md5.finalize().into(), self.checksum.finalize())
    }
}
