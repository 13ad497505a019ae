//! Where a bucket's lines go.

use bytes::Bytes;
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use super::Source;
use crate::s3::S3Gateway;

const DAY: &[FormatItem<'_>] = format_description!("[year]/[month]/[day]");
const SECOND: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]-[hour]-[minute]-[second]");

/// A bucket's logging configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// The bucket that gets the objects.
    pub bucket: String,
    /// What their keys begin with.
    pub prefix: String,
    /// How their keys go on.
    pub format: KeyFormat,
}

/// How the key of an object of lines is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyFormat {
    /// Prefix, time, something unique.
    Simple,
    /// Account, region, bucket and day come between; days are those of the requests.
    PartitionedByEvent,
    /// The same; days are those of the delivery.
    PartitionedByDelivery,
}

impl Logging {
    /// Writes lines as one object, in the name of the target's owner.
    ///
    /// # Errors
    /// When the target is gone or belongs to another account than the source, and those of writing.
    pub(super) async fn write(
        &self,
        gateway: &S3Gateway,
        source: &Source,
        lines: &str,
        now_ms: u64,
    ) -> S3Result<()> {
        let target = gateway.catalog.bucket(&self.bucket).await;
        let target = target.map_err(|error| s3_error!(error, InternalError))?;
        let target = target.filter(|target| target.account.to_string() == source.owner);
        let target = target.ok_or_else(|| s3_error!(InvalidTargetBucketForLogging))?;
        let unique = datamesh_types::SealedId::random().to_string();
        let key = self.key(source, now_ms, &unique[..16]);
        let lines = Bytes::copy_from_slice(lines.as_bytes());
        // Boxed: a whole write is in it.
        Box::pin(gateway.deposit(&target, key, lines, "text/plain")).await
    }

    pub(super) fn key(&self, source: &Source, now_ms: u64, unique: &str) -> String {
        let time = OffsetDateTime::from_unix_timestamp((now_ms / 1000) as i64);
        let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let format = |format: &[FormatItem<'_>]| time.format(format).unwrap_or_default();
        let unique = unique.to_ascii_uppercase();
        let last = format!("{}-{unique}", format(SECOND));
        match self.format {
            KeyFormat::Simple => format!("{}{last}", self.prefix),
            KeyFormat::PartitionedByEvent | KeyFormat::PartitionedByDelivery => {
                let Source { owner, region, bucket, .. } = source;
                format!("{}{owner}/{region}/{bucket}/{}/{last}", self.prefix, format(DAY))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_as_the_format_says() {
        let logging = |format| Logging { bucket: "t".into(), prefix: "log/".into(), format };
        let source = Source {
            bucket: "b".into(),
            owner: "o".into(),
            region: "r".into(),
            logging: logging(KeyFormat::Simple),
        };
        for (format, expected) in [
            (KeyFormat::Simple, "log/1970-01-02-00-00-01-AB"),
            (KeyFormat::PartitionedByDelivery, "log/o/r/b/1970/01/02/1970-01-02-00-00-01-AB"),
        ] {
            assert_eq!(logging(format).key(&source, 86_401_000, "ab"), expected);
        }
    }
}
