//! What a bucket's inventories list, as stored.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

const DAY_MS: u64 = 24 * 3600 * 1000;
const PERIOD: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]-[minute]Z");

/// A bucket's inventories.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventories {
    /// By id.
    pub inventories: Vec<Inventory>,
}

/// One inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// Its id, unique in the bucket.
    pub id: String,
    /// Whether it is written.
    pub enabled: bool,
    /// The bucket that it is written to.
    pub target: String,
    /// What the keys there begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_prefix: Option<String>,
    /// Only keys that begin with this are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Which versions are listed.
    pub included: Included,
    /// How often it is written.
    pub frequency: Frequency,
    /// What is said of each, beside its name.
    pub fields: Vec<Field>,
}

/// Which versions an inventory lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Included {
    /// All, and delete markers.
    All,
    /// The current ones.
    Current,
}

/// How often an inventory is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frequency {
    /// Every day.
    Daily,
    /// Every Sunday.
    Weekly,
}

/// What an inventory says of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Its size in bytes.
    Size,
    /// When it was written.
    LastModified,
    /// Its `ETag`.
    Etag,
    /// Its storage class.
    StorageClass,
    /// Whether it was uploaded in parts.
    Multipart,
    /// Until when it is retained.
    RetainUntil,
    /// How firmly.
    RetentionMode,
    /// Whether it is under a legal hold.
    LegalHold,
}

impl Field {
    /// All, in the order of columns.
    pub const ALL: [Self; 8] = [
        Self::Size,
        Self::LastModified,
        Self::Etag,
        Self::StorageClass,
        Self::Multipart,
        Self::RetainUntil,
        Self::RetentionMode,
        Self::LegalHold,
    ];

    /// S3's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Size => "Size",
            Self::LastModified => "LastModifiedDate",
            Self::Etag => "ETag",
            Self::StorageClass => "StorageClass",
            Self::Multipart => "IsMultipartUploaded",
            Self::RetainUntil => "ObjectLockRetainUntilDate",
            Self::RetentionMode => "ObjectLockMode",
            Self::LegalHold => "ObjectLockLegalHoldStatus",
        }
    }

    /// The field of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

impl Frequency {
    /// When the period that `now_ms` is in began: a midnight, or that before a Sunday.
    pub const fn period_ms(self, now_ms: u64) -> u64 {
        let day = now_ms / DAY_MS;
        let first = match self {
            Self::Daily => day,
            // Day 3 of the era was a Sunday.
            Self::Weekly => day - (day + 4) % 7,
        };
        first * DAY_MS
    }
}

impl Inventory {
    /// What the keys of one period's files begin with; `at_ms` is when it began.
    pub fn folder(&self, source: &str, at_ms: u64) -> String {
        let time = OffsetDateTime::from_unix_timestamp((at_ms / 1000) as i64);
        let time = time.ok().and_then(|time| time.format(PERIOD).ok()).unwrap_or_default();
        format!("{}{time}/", self.place(source))
    }

    /// What the keys of all its files begin with.
    pub fn place(&self, source: &str) -> String {
        let prefix = self.target_prefix.as_deref().filter(|prefix| !prefix.is_empty());
        let prefix = prefix.map(|prefix| format!("{}/", prefix.trim_end_matches('/'))).unwrap_or_default();
        format!("{prefix}{source}/{}/", self.id)
    }

    /// The columns, as a manifest names them.
    pub fn schema(&self) -> String {
        let versions: &[&str] = match self.included {
            Included::All => &["VersionId", "IsLatest", "IsDeleteMarker"],
            Included::Current => &[],
        };
        let fields = self.fields.iter().map(|field| field.name());
        ["Bucket", "Key"]
            .into_iter()
            .chain(versions.iter().copied())
            .chain(fields)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory() -> Inventory {
        Inventory {
            id: "all".into(),
            enabled: true,
            target: "t".into(),
            target_prefix: Some("lists".into()),
            prefix: None,
            included: Included::All,
            frequency: Frequency::Daily,
            fields: vec![Field::Size, Field::Etag],
        }
    }

    #[test]
    fn a_period_begins_at_midnight_and_a_week_on_sunday() {
        // 1970-01-01 was a Thursday.
        for (now_ms, daily, weekly) in
            [(4 * DAY_MS + 1, 4, 3), (3 * DAY_MS, 3, 3), (10 * DAY_MS - 1, 9, 3), (10 * DAY_MS, 10, 10)]
        {
            assert_eq!(Frequency::Daily.period_ms(now_ms), daily * DAY_MS, "{now_ms}");
            assert_eq!(Frequency::Weekly.period_ms(now_ms), weekly * DAY_MS, "{now_ms}");
        }
    }

    #[test]
    fn files_lie_where_s3_puts_them() {
        let folder = inventory().folder("src", 86_400_000);
        assert_eq!(folder, "lists/src/all/1970-01-02T00-00Z/");
        assert_eq!(Inventory { target_prefix: None, ..inventory() }.place("src"), "src/all/");
        assert_eq!(inventory().schema(), "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag");
    }

    #[test]
    fn a_stored_inventory_keeps_its_form() {
        let stored = concat!(
            r#"{"id":"all","enabled":true,"target":"t","target_prefix":"lists","included":"all","#,
            r#""frequency":"daily","fields":["size","etag"]}"#
        );
        assert_eq!(serde_json::to_string(&inventory()).unwrap(), stored);
        assert_eq!(serde_json::from_str::<Inventory>(stored).unwrap(), inventory());
    }
}
