//! `ListObjects`, both versions of it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use datamesh_catalog::{Bucket, ListPage, ListQuery};
use datamesh_policy::Action;
use datamesh_types::AccountId;
use s3s::dto::{
    CommonPrefix, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output,
    Object, ObjectStorageClass,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::caller::Caller;
use super::owners::Owners;
use super::{S3Gateway, errors, strong, timestamp};

const PAGE_MAX: i32 = 1000;
/// Leads every continuation token, so that a later form can be told from this one.
const TOKEN_FORMAT: u8 = 1;

/// How keys are written in an answer.
#[derive(Clone, Copy)]
pub(super) enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    pub(super) fn new(asked: Option<&EncodingType>) -> S3Result<Self> {
        match asked.map(EncodingType::as_str) {
            None => Ok(Self::Plain),
            Some(EncodingType::URL) => Ok(Self::Url),
            Some(_) => Err(s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request")),
        }
    }

    pub(super) fn dto(self) -> Option<EncodingType> {
        match self {
            Self::Plain => None,
            Self::Url => Some(EncodingType::from_static(EncodingType::URL)),
        }
    }

    pub(super) fn write(self, key: &[u8]) -> String {
        match self {
            Self::Plain => String::from_utf8_lossy(key).into_owned(),
            Self::Url => percent_encode(key),
        }
    }
}

fn percent_encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => {
                text.push(char::from(*byte));
            }
            byte => {
                text.push('%');
                text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                text.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
    text
}

/// The size of a page, 0 to 1,000.
pub(super) fn page_limit(asked: Option<i32>, name: &str) -> S3Result<i32> {
    match asked.unwrap_or(PAGE_MAX) {
        asked if asked < 0 => {
            Err(s3_error!(InvalidArgument, "Argument {name} must be an integer between 0 and {}", i32::MAX))
        }
        asked => Ok(asked.min(PAGE_MAX)),
    }
}

impl S3Gateway {
    pub(super) async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::ListBucket, expected_owner).await?;
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        let limit = page_limit(input.max_keys, "maxKeys")?;
        let (prefix, delimiter) = (input.prefix.unwrap_or_default(), input.delimiter.unwrap_or_default());
        let marker = input.marker.unwrap_or_default();
        let page = self.page(&bucket, &prefix, &delimiter, marker.clone().into_bytes(), limit).await?;
        let next = page.next.as_ref().filter(|_| !delimiter.is_empty());
        let owners = self.listed_owners(&bucket, &page).await?;
        Ok(S3Response::new(ListObjectsOutput {
            next_marker: next.map(|next| encoding.write(next)),
            is_truncated: Some(page.next.is_some()),
            contents: Some(contents(&page, encoding, bucket.account, Some(&owners))),
            common_prefixes: Some(common_prefixes(&page.common_prefixes, encoding)),
            name: Some(bucket.name),
            prefix: Some(encoding.write(prefix.as_bytes())),
            marker: Some(encoding.write(marker.as_bytes())),
            delimiter: (!delimiter.is_empty()).then(|| encoding.write(delimiter.as_bytes())),
            max_keys: Some(limit),
            encoding_type: encoding.dto(),
            ..ListObjectsOutput::default()
        }))
    }

    pub(super) async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::ListBucket, expected_owner).await?;
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        let limit = page_limit(input.max_keys, "maxKeys")?;
        let (prefix, delimiter) = (input.prefix.unwrap_or_default(), input.delimiter.unwrap_or_default());
        let after = match &input.continuation_token {
            Some(token) if !token.is_empty() => decode_token(token)?,
            _ => input.start_after.clone().unwrap_or_default().into_bytes(),
        };
        let page = self.page(&bucket, &prefix, &delimiter, after, limit).await?;
        let owners = match input.fetch_owner {
            Some(true) => Some(self.listed_owners(&bucket, &page).await?),
            _ => None,
        };
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: Some((page.objects.len() + page.common_prefixes.len()) as i32),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.as_deref().map(encode_token),
            contents: Some(contents(&page, encoding, bucket.account, owners.as_ref())),
            common_prefixes: Some(common_prefixes(&page.common_prefixes, encoding)),
            name: Some(bucket.name),
            prefix: Some(encoding.write(prefix.as_bytes())),
            delimiter: (!delimiter.is_empty()).then(|| encoding.write(delimiter.as_bytes())),
            start_after: input.start_after.map(|key| encoding.write(key.as_bytes())),
            continuation_token: input.continuation_token,
            max_keys: Some(limit),
            encoding_type: encoding.dto(),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn listed_owners(&self, bucket: &Bucket, page: &ListPage) -> S3Result<Owners> {
        let accounts = page.objects.iter().map(|object| object.owner.unwrap_or(bucket.account));
        self.shown_owners(accounts).await
    }

    async fn page(
        &self,
        bucket: &Bucket,
        prefix: &str,
        delimiter: &str,
        after: Vec<u8>,
        limit: i32,
    ) -> S3Result<ListPage> {
        if limit == 0 {
            return Ok(ListPage::default());
        }
        let query = ListQuery {
            bucket: bucket.id,
            prefix: prefix.as_bytes().to_vec(),
            delimiter: delimiter.as_bytes().to_vec(),
            after,
            limit: limit as usize,
        };
        let mut page = self.catalog.list_objects(query).await.map_err(errors::catalog)?;
        let rows = self.row_key(bucket).await?;
        for object in &mut page.objects {
            object.etag = rows.open_tag(&object.etag).map_err(errors::row)?;
        }
        Ok(page)
    }
}

fn contents(
    page: &ListPage,
    encoding: Encoding,
    bucket_owner: AccountId,
    owners: Option<&Owners>,
) -> Vec<Object> {
    let show = |object: &datamesh_catalog::ListedObject| Object {
        key: Some(encoding.write(&object.key)),
        size: Some(object.size as i64),
        e_tag: strong(&object.etag),
        last_modified: Some(timestamp(object.modified_ms)),
        storage_class: Some(ObjectStorageClass::from(object.storage_class.clone())),
        owner: owners.and_then(|owners| owners.show(object.owner.unwrap_or(bucket_owner))),
        ..Object::default()
    };
    page.objects.iter().map(show).collect()
}

pub(super) fn common_prefixes(prefixes: &[Vec<u8>], encoding: Encoding) -> Vec<CommonPrefix> {
    prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(encoding.write(prefix)) }).collect()
}

fn encode_token(next: &[u8]) -> String {
    let mut token = Vec::with_capacity(next.len() + 1);
    token.push(TOKEN_FORMAT);
    token.extend_from_slice(next);
    URL_SAFE_NO_PAD.encode(token)
}

fn decode_token(token: &str) -> S3Result<Vec<u8>> {
    let invalid = || s3_error!(InvalidArgument, "The continuation token provided is incorrect");
    let mut token = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    if token.first() != Some(&TOKEN_FORMAT) {
        return Err(invalid());
    }
    token.remove(0);
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_the_key_it_stands_for() {
        for key in [&b""[..], b"a/b", "\u{1F600}".as_bytes()] {
            assert_eq!(decode_token(&encode_token(key)).unwrap(), key);
        }
        for token in ["", "?", "AAAA", "a/b"] {
            assert!(decode_token(token).is_err(), "{token:?}");
        }
    }

    #[test]
    fn url_encoding_leaves_only_what_needs_none() {
        assert_eq!(Encoding::Url.write("a/b c+d%\u{e9}\n".as_bytes()), "a/b%20c%2Bd%25%C3%A9%0A");
    }
}
