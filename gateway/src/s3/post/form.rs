//! Reading a `multipart/form-data` body without holding the file: the fields before it, then the file as a stream.
//!
//! Memory is bounded by [`FIELDS_LEN_MAX`] for all fields, and for the file by one piece of the body and one
//! delimiter. What follows the file is ignored, as S3 does. RFC 7578, RFC 2046 section 5.1.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http_body::Body as _;
use http_body_util::BodyExt;
use memchr::memmem::Finder;
use s3s::{Body, StdError};

/// S3's limit on all fields together but the file, with the headers of their parts, in bytes.
const FIELDS_LEN_MAX: usize = 20 << 10;
const FIELDS_MAX: usize = 200;
/// RFC 2046 allows 70.
const BOUNDARY_LEN_MAX: usize = 200;

/// Why a form could not be read, or holds a file of a forbidden length.
#[derive(Debug, thiserror::Error)]
pub(in crate::s3) enum FormError {
    /// The body is no form, or breaks off.
    #[error("the form is malformed: {what}")]
    Malformed { what: &'static str },
    /// Fields beyond the limit.
    #[error("the fields of the form exceed {FIELDS_LEN_MAX} bytes")]
    FieldsTooLong,
    /// Two fields of one name: a policy would judge one, and the other be used.
    #[error("the form has more than one field named {name}")]
    Repeated { name: String },
    /// The file is longer than the policy allows.
    #[error("the file is longer than {max} bytes")]
    TooLarge { max: u64 },
    /// The file is shorter than the policy allows.
    #[error("the file has {len} bytes, fewer than {min}")]
    TooSmall { len: u64, min: u64 },
    /// The body could not be read.
    #[error("the body could not be read")]
    Body { source: StdError },
}

const fn malformed(what: &'static str) -> FormError {
    FormError::Malformed { what }
}

/// A form up to its file.
pub(super) struct Form {
    /// Names in lower case, each once, in the order of the form.
    pub fields: Vec<(String, String)>,
    /// The name of the file, without folders; empty when the client sent none.
    pub filename: String,
    pub file: FormFile,
}

impl Form {
    /// The field of that name, which is in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The `boundary` of a `multipart/form-data` content type; `None` for any other content type.
pub(super) fn boundary_of(content_type: &str) -> Option<&str> {
    let (kind, mut rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    loop {
        let (name, value, tail) = next_parameter(rest)?;
        if name.eq_ignore_ascii_case("boundary") {
            return Some(value).filter(|value| (1..=BOUNDARY_LEN_MAX).contains(&value.len()));
        }
        rest = tail;
    }
}

/// `name=value` or `name="value"`, and what follows it. Quoted values are taken as they are: browsers escape quotes
/// in names as `%22`, not with backslashes.
fn next_parameter(text: &str) -> Option<(&str, &str, &str)> {
    let text = text.trim_start_matches([';', ' ', '\t']);
    let (name, value) = text.split_once('=')?;
    let (value, tail) = match value.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => value.split_at(value.find(';').unwrap_or(value.len())),
    };
    Some((name.trim(), value.trim_end(), tail))
}

/// Reads the fields of a form, up to its file.
///
/// # Errors
/// As [`FormError`] says; what is in the file shows only when that is read.
pub(super) async fn read(body: Body, boundary: &str) -> Result<Form, FormError> {
    let mut reader = Reader::new(body, boundary);
    reader.skip_preamble().await?;
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut used = 0;
    loop {
        let head = reader.part_head(FIELDS_LEN_MAX.saturating_sub(used)).await?;
        used += head.len;
        if head.name == "file" {
            let filename = head.filename.unwrap_or_default();
            // Some browsers send the whole path.
            let bare = filename.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
            let file = FormFile { reader, received: 0, bounds: None, ended: false };
            return Ok(Form { fields, filename: bare, file });
        }
        let value = reader.value(FIELDS_LEN_MAX.saturating_sub(used)).await?;
        used += value.len();
        if fields.len() == FIELDS_MAX {
            return Err(FormError::FieldsTooLong);
        }
        if fields.iter().any(|(known, _)| *known == head.name) {
            return Err(FormError::Repeated { name: head.name });
        }
        let value = String::from_utf8(value).map_err(|_| malformed("a field is not UTF-8"))?;
        fields.push((head.name, value));
    }
}

struct PartHead {
    name: String,
    filename: Option<String>,
    len: usize,
}

struct Reader {
    body: Body,
    buffer: BytesMut,
    /// CR LF, two dashes, the boundary.
    delimiter: Finder<'static>,
}

impl Reader {
    fn new(body: Body, boundary: &str) -> Self {
        let delimiter = Finder::new(format!("\r\n--{boundary}").as_bytes()).into_owned();
        // The first delimiter has no line before it.
        Self { body, buffer: BytesMut::from(&b"\r\n"[..]), delimiter }
    }

    /// Reads one more piece of the body.
    async fn fill(&mut self) -> Result<(), FormError> {
        loop {
            let frame = self.body.frame().await.ok_or(malformed("it ends early"))?;
            let frame = frame.map_err(|source| FormError::Body { source })?;
            if let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) {
                self.buffer.extend_from_slice(data);
                return Ok(());
            }
        }
    }

    async fn skip_preamble(&mut self) -> Result<(), FormError> {
        self.value(FIELDS_LEN_MAX).await.map(drop)
    }

    /// What comes before the next delimiter, and consumes both.
    async fn value(&mut self, len_max: usize) -> Result<Vec<u8>, FormError> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.delimiter.find(&self.buffer[searched..]) {
                let value = self.buffer.split_to(searched + at);
                if value.len() > len_max {
                    return Err(FormError::FieldsTooLong);
                }
                drop(self.buffer.split_to(self.delimiter.needle().len()));
                return Ok(value.to_vec());
            }
            searched = (self.buffer.len() + 1).saturating_sub(self.delimiter.needle().len());
            if searched > len_max {
                return Err(FormError::FieldsTooLong);
            }
            self.fill().await?;
        }
    }

    /// The headers of the part that follows a delimiter.
    async fn part_head(&mut self, len_max: usize) -> Result<PartHead, FormError> {
        let end = loop {
            if self.buffer.starts_with(b"--") {
                return Err(malformed("it has no file"));
            }
            // The line of the delimiter counts: a part without headers has only that.
            if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            if self.buffer.len() > len_max {
                return Err(FormError::FieldsTooLong);
            }
            self.fill().await?;
        };
        let head = self.buffer.split_to(end + 4);
        let head =
            std::str::from_utf8(&head[..end]).map_err(|_| malformed("a part's header is not UTF-8"))?;
        let mut lines = head.split("\r\n");
        // White space may follow a delimiter.
        if lines.next().is_none_or(|padding| !padding.trim().is_empty()) {
            return Err(malformed("a boundary does not end its line"));
        }
        parse_head(lines, end)
    }
}

fn parse_head<'a>(lines: impl Iterator<Item = &'a str>, len: usize) -> Result<PartHead, FormError> {
    let (mut name, mut filename) = (None, None);
    for line in lines {
        let (header, value) = line.split_once(':').ok_or(malformed("a part's header has no colon"))?;
        if !header.trim().eq_ignore_ascii_case("content-disposition") {
            continue;
        }
        let mut rest = value.split_once(';').map_or("", |(_, parameters)| parameters);
        while let Some((parameter, value, tail)) = next_parameter(rest) {
            if parameter.eq_ignore_ascii_case("name") {
                name = Some(value.to_ascii_lowercase());
            } else if parameter.eq_ignore_ascii_case("filename") {
                filename = Some(value.to_owned());
            }
            rest = tail;
        }
    }
    let name = name.ok_or(malformed("a part has no name"))?;
    Ok(PartHead { name, filename, len })
}

/// The file of a form. It ends with success only before a delimiter and within the bounds.
pub(super) struct FormFile {
    reader: Reader,
    received: u64,
    bounds: Option<(u64, u64)>,
    ended: bool,
}

impl FormFile {
    /// The most bytes that the file can have, for what is left of the body; `None` for a body of unknown length.
    pub fn len_max(&self) -> Option<u64> {
        let rest = http_body::Body::size_hint(&self.reader.body).exact()?;
        Some(rest + self.reader.buffer.len() as u64)
    }

    /// The least and the most bytes that it may have.
    pub fn set_bounds(&mut self, min: u64, max: u64) {
        self.bounds = Some((min, max));
    }

    /// Bytes that belong to the file for certain.
    fn split(&mut self) -> Option<Bytes> {
        let buffer = &mut self.reader.buffer;
        if let Some(at) = self.reader.delimiter.find(buffer) {
            self.ended = true;
            return Some(buffer.split_to(at).freeze());
        }
        let certain = (buffer.len() + 1).saturating_sub(self.reader.delimiter.needle().len());
        (certain > 0).then(|| buffer.split_to(certain).freeze())
    }

    fn count(&mut self, piece: &Bytes) -> Result<(), FormError> {
        self.received += piece.len() as u64;
        match self.bounds {
            Some((_, max)) if self.received > max => Err(FormError::TooLarge { max }),
            Some((min, _)) if self.ended && self.received < min => {
                Err(FormError::TooSmall { len: self.received, min })
            }
            _ => Ok(()),
        }
    }
}

impl Stream for FormFile {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            if let Some(piece) = this.split() {
                if let Err(error) = this.count(&piece) {
                    this.ended = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
                if piece.is_empty() {
                    continue;
                }
                return Poll::Ready(Some(Ok(piece)));
            }
            match ready!(Pin::new(&mut this.reader.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        this.reader.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(malformed("it ends early").into())));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
