//! What rows of the database say of contents, under the key of the bucket's domain.
//!
//! | what | stored |
//! |---|---|
//! | an `ETag`: an MD5 or a keyed hash, perhaps with `-N` | `~`, 32 hexadecimal digits of the sealed hash, the `-N` |
//! | attributes, checksums of parts | `~`, base64 of the sealed text |
//! | a message in the outbox | `~`, the domain's id, `~`, base64 of the sealed text |
//!
//! Equal `ETag`s of one domain are stored alike, which is what conditions and completions of uploads compare inside their
//! commits. Texts without the `~` are from before anything was sealed, and count as they are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use datamesh_accounts::{AccountsError, Keyring};
use datamesh_catalog::{AgingVersion, Bucket, Part, Upload, Version};
use datamesh_pipeline::{DomainKey, PipelineError, TextKind};
use datamesh_types::DomainId;

const MARK: char = '~';
/// Hexadecimal digits of a hash.
const HASH_DIGITS: usize = 32;

/// A row's text could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// It is damaged, or of another domain.
    #[error("what a row says of a content cannot be opened")]
    Sealed(#[from] PipelineError),
    /// Not the form that it has to have.
    #[error("a row's {what} is malformed")]
    Malformed {
        /// Which text.
        what: &'static str,
    },
}

/// Seals and opens what rows of one domain say.
#[derive(Debug, Clone)]
pub struct RowKey {
    domain: DomainId,
    key: DomainKey,
}

impl RowKey {
    /// The key for the rows of a bucket.
    pub async fn of(keyring: &Keyring, bucket: &Bucket) -> Result<Self, AccountsError> {
        Self::of_domain(keyring, bucket.domain).await
    }

    async fn of_domain(keyring: &Keyring, domain: DomainId) -> Result<Self, AccountsError> {
        Ok(Self { domain, key: keyring.domain_key(domain).await? })
    }

    /// An `ETag` as it is stored.
    ///
    /// # Errors
    /// [`RowError::Malformed`] for what is no `ETag` of this service's.
    pub fn seal_tag(&self, etag: &str) -> Result<String, RowError> {
        let (hash, count) = split_tag(etag).ok_or(RowError::Malformed { what: "ETag" })?;
        Ok(format!("{MARK}{}{count}", hex::encode(self.key.seal_md5(hash)?)))
    }

    /// The `ETag` that is stored as this.
    pub fn open_tag(&self, stored: &str) -> Result<String, RowError> {
        let Some(sealed) = stored.strip_prefix(MARK) else { return Ok(stored.to_owned()) };
        let (hash, count) = split_tag(sealed).ok_or(RowError::Malformed { what: "ETag" })?;
        Ok(hex::encode(self.key.open_md5(hash)?) + count)
    }

    /// Opens the `ETag`s of a page of versions, in place.
    pub fn open_tags(&self, versions: &mut [AgingVersion]) -> Result<(), RowError> {
        for version in versions {
            version.etag = self.open_tag(&version.etag)?;
        }
        Ok(())
    }

    /// All that an `ETag` that a client names may be stored as; nothing when it can't be one.
    pub fn stored_forms(&self, etag: &str) -> Result<Vec<String>, RowError> {
        if split_tag(etag).is_none() {
            return Ok(Vec::new());
        }
        Ok(vec![self.seal_tag(etag)?, etag.to_owned()])
    }

    /// A text as it is stored.
    pub fn seal_text(&self, kind: TextKind, text: &str) -> Result<String, RowError> {
        let mut stored = String::from(MARK);
        STANDARD_NO_PAD.encode_string(self.key.seal_text(kind, text)?, &mut stored);
        Ok(stored)
    }

    /// The text that is stored as this.
    pub fn open_text(&self, kind: TextKind, stored: String) -> Result<String, RowError> {
        let Some(sealed) = stored.strip_prefix(MARK) else { return Ok(stored) };
        let sealed = STANDARD_NO_PAD.decode(sealed).map_err(|_| RowError::Malformed { what: "text" })?;
        Ok(self.key.open_text(kind, sealed)?)
    }

    /// A message as it is stored. It names the domain: its bucket may be gone when it is delivered.
    pub fn seal_message(&self, document: &str) -> Result<String, RowError> {
        Ok(format!("{MARK}{}{}", self.domain, self.seal_text(TextKind::Message, document)?))
    }

    /// Opens what a version's row says, in place.
    pub fn open_version(&self, version: &mut Version) -> Result<(), RowError> {
        version.etag = self.open_tag(&version.etag)?;
        version.attributes = self.open_text(TextKind::Attributes, std::mem::take(&mut version.attributes))?;
        Ok(())
    }

    /// Opens what an upload's row says, in place.
    pub fn open_upload(&self, upload: &mut Upload) -> Result<(), RowError> {
        upload.attributes = self.open_text(TextKind::Attributes, std::mem::take(&mut upload.attributes))?;
        if let Some(completed) = &mut upload.completed {
            completed.etag = self.open_tag(&completed.etag)?;
        }
        Ok(())
    }

    /// Opens what a part's row says, in place.
    pub fn open_part(&self, part: &mut Part) -> Result<(), RowError> {
        part.etag = self.open_tag(&part.etag)?;
        part.checksums = self.open_text(TextKind::Checksums, std::mem::take(&mut part.checksums))?;
        Ok(())
    }
}

/// The message that is stored as this.
///
/// # Errors
/// [`OpenMessageError::Row`] for what no trying again opens.
pub async fn open_message(keyring: &Keyring, stored: &str) -> Result<String, OpenMessageError> {
    let Some(sealed) = stored.strip_prefix(MARK) else { return Ok(stored.to_owned()) };
    let malformed = || RowError::Malformed { what: "message" };
    let place = sealed.find(MARK).ok_or_else(malformed)?;
    let (domain, text) = sealed.split_at(place);
    let key = RowKey::of_domain(keyring, domain.parse().map_err(|_| malformed())?).await?;
    Ok(key.open_text(TextKind::Message, text.to_owned())?)
}

/// A stored message could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenMessageError {
    /// The key ring.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// The message.
    #[error(transparent)]
    Row(#[from] RowError),
}

/// The hash of an `ETag`, and the `-N` behind it or nothing.
fn split_tag(etag: &str) -> Option<([u8; HASH_DIGITS / 2], &str)> {
    let (digits, count) = etag.split_at_checked(HASH_DIGITS)?;
    if !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    if let Some(number) = count.strip_prefix('-') {
        let plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty();
        if !plain {
            return None;
        }
    } else if !count.is_empty() {
        return None;
    }
    let mut hash = [0; HASH_DIGITS / 2];
    hex::decode_to_slice(digits, &mut hash).ok()?;
    Some((hash, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

    fn rows(byte: u8) -> RowKey {
        RowKey { domain: DomainId([byte; 16]), key: DomainKey::from_bytes([byte; 32]) }
    }

    #[test]
    fn tags_keep_their_shape_but_not_their_hash() {
        for count in ["", "-1", "-10000"] {
            let etag = format!("{MD5}{count}");
            let stored = rows(1).seal_tag(&etag).unwrap();
            assert_eq!(stored.len(), etag.len() + 1);
            assert!(stored.starts_with(MARK) && stored.ends_with(count) && !stored.contains(MD5));
            assert_eq!(rows(1).open_tag(&stored).unwrap(), etag);
            assert_ne!(rows(2).open_tag(&stored).unwrap(), etag);
        }
    }

    #[test]
    fn what_is_no_tag_matches_nothing() {
        let upper = MD5.to_uppercase();
        let stored = rows(1).seal_tag(MD5).unwrap();
        for etag in
            ["", "abc", "*", &upper, &stored, &MD5[..31], &format!("{MD5}-"), &format!("{MD5}-x"), "ü"]
        {
            assert!(rows(1).stored_forms(etag).unwrap().is_empty(), "{etag}");
            assert!(matches!(rows(1).seal_tag(etag), Err(RowError::Malformed { .. })), "{etag}");
        }
        assert_eq!(rows(1).stored_forms(MD5).unwrap(), [stored, MD5.to_owned()]);
        assert!(matches!(rows(1).open_tag("~zz"), Err(RowError::Malformed { .. })));
    }

    #[test]
    fn rows_from_before_anything_was_sealed_are_read_as_they_are() {
        assert_eq!(rows(1).open_tag(MD5).unwrap(), MD5);
        assert_eq!(rows(1).open_tag("").unwrap(), "", "a delete marker has none");
        assert_eq!(rows(1).open_text(TextKind::Attributes, "{}".into()).unwrap(), "{}");
    }

    #[test]
    fn texts_open_with_their_own_domain_only() {
        let stored = rows(1).seal_text(TextKind::Attributes, "{}").unwrap();
        assert_eq!(rows(1).open_text(TextKind::Attributes, stored.clone()).unwrap(), "{}");
        assert!(matches!(rows(2).open_text(TextKind::Attributes, stored), Err(RowError::Sealed(_))));
        let damaged = rows(1).open_text(TextKind::Attributes, "~!".into());
        assert!(matches!(damaged, Err(RowError::Malformed { .. })));
    }
}
