//! The order of versions and delete markers in a listing. The protocol library writes all of one kind, then all of the
//! other; S3 mixes them, key by key and newest first.

use http::Response;
use s3s::Body;

/// What comes after what: true for a delete marker. The operation leaves it with its answer.
#[derive(Debug, Clone)]
pub(super) struct VersionOrder(pub Vec<bool>);

const END: &str = "</ListVersionsResult>";

/// Puts a listing's entries in the order that its operation left, if it did.
pub(super) fn restore(response: Response<Body>) -> Response<Body> {
    let Some(VersionOrder(order)) = response.extensions().get::<VersionOrder>().cloned() else {
        return response;
    };
    let (parts, body) = response.into_parts();
    let ordered = body.bytes().and_then(|document| reorder(std::str::from_utf8(&document).ok()?, &order));
    Response::from_parts(parts, ordered.map_or(body, Body::from))
}

/// `None` when the document has not the entries that the order is of.
fn reorder(document: &str, order: &[bool]) -> Option<String> {
    let (rest, markers) = take_all(document, "DeleteMarker")?;
    let (rest, versions) = take_all(&rest, "Version")?;
    if markers.len() + versions.len() != order.len() {
        return None;
    }
    let (mut markers, mut versions) = (markers.into_iter(), versions.into_iter());
    let (head, tail) = rest.split_at(rest.rfind(END)?);
    let mut ordered = String::with_capacity(document.len());
    ordered.push_str(head);
    for is_marker in order {
        ordered.push_str(if *is_marker { markers.next()? } else { versions.next()? });
    }
    ordered.push_str(tail);
    Some(ordered)
}

/// The elements of a name, which does not nest, and the document without them. Text is escaped, so that what looks like
/// a tag is one.
fn take_all<'d>(document: &'d str, name: &str) -> Option<(String, Vec<&'d str>)> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let (mut rest, mut kept, mut taken) = (document, String::with_capacity(document.len()), Vec::new());
    while let Some(start) = rest.find(&open) {
        let end = start + rest[start..].find(&close)? + close.len();
        kept.push_str(&rest[..start]);
        taken.push(&rest[start..end]);
        rest = &rest[end..];
    }
    kept.push_str(rest);
    Some((kept, taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_mixed_as_they_were_found() {
        let document = "<?xml?><ListVersionsResult><DeleteMarker><Key>b</Key></DeleteMarker><IsTruncated>false\
            </IsTruncated><VersionIdMarker></VersionIdMarker><Version><Key>a</Key></Version><Version><Key>b</Key>\
            </Version></ListVersionsResult>";
        let ordered = reorder(document, &[false, true, false]).unwrap();
        assert_eq!(
            ordered,
            "<?xml?><ListVersionsResult><IsTruncated>false</IsTruncated><VersionIdMarker></VersionIdMarker>\
             <Version><Key>a</Key></Version><DeleteMarker><Key>b</Key></DeleteMarker><Version><Key>b</Key>\
             </Version></ListVersionsResult>"
        );
        assert_eq!(ordered.len(), document.len());
        assert!(reorder(document, &[false, true]).is_none());
    }
}
