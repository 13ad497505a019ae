use futures::{StreamExt, TryStreamExt};

use super::*;

/// A body in pieces of `step` bytes.
fn body(text: &[u8], step: usize) -> Body {
    let pieces: Vec<Result<http_body::Frame<Bytes>, StdError>> =
        text.chunks(step).map(|piece| Ok(http_body::Frame::data(Bytes::copy_from_slice(piece)))).collect();
    Body::http_body_unsync(http_body_util::StreamBody::new(futures::stream::iter(pieces)))
}

fn form(file: &[u8], after: &str) -> Vec<u8> {
    let head = "--B\r\nContent-Disposition: form-data; name=\"Key\"\r\n\r\na/${filename}\r\n\
                --B \r\ncontent-disposition: form-data; name=empty\r\n\r\n\r\n\
                --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\dir\\x;y.txt\"\r\n\
                Content-Type: text/plain\r\n\r\n";
    [head.as_bytes(), file, after.as_bytes()].concat()
}

async fn file_of(text: &[u8], step: usize) -> Result<Vec<u8>, StdError> {
    let form = read(body(text, step), "B").await?;
    let pieces: Vec<Bytes> = form.file.try_collect().await?;
    Ok(pieces.concat())
}

#[tokio::test]
async fn a_form_gives_its_fields_and_its_file_whatever_the_pieces() {
    for file in [&b""[..], b"x", b"\r\n--", b"a\r\n--\r\n--Abc\r\n\r\n-", &[b'\r'; 100]] {
        for after in [
            "\r\n--B--\r\n",
            "\r\n--B--",
            "\r\n--B\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUpload\r\n--B--\r\n",
        ] {
            let text = form(file, after);
            for step in [1, 2, 3, 7, 50, text.len()] {
                let form = read(body(&text, step), "B").await.unwrap();
                assert_eq!(form.field("key"), Some("a/${filename}"));
                assert_eq!(form.field("empty"), Some(""));
                assert_eq!(form.filename, "x;y.txt");
                let pieces: Vec<Bytes> = form.file.try_collect().await.unwrap();
                assert_eq!(pieces.concat(), file, "{step} {after:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_form_that_breaks_off_is_no_form() {
    let text = form(b"content", "\r\n--B--\r\n");
    let whole = text.len() - "--\r\n".len();
    for len in 0..whole {
        assert!(file_of(&text[..len], 5).await.is_err(), "{len} of {} bytes", text.len());
    }
    assert_eq!(file_of(&text[..whole], 5).await.unwrap(), b"content");
}

#[tokio::test]
async fn fields_are_limited_and_a_file_is_needed() {
    let field = |name: &str, value: &str| {
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let long = field("a", &"x".repeat(FIELDS_LEN_MAX)) + "--B--";
    let many: Vec<String> = (0..=FIELDS_MAX).map(|number| field(&number.to_string(), "x")).collect();
    let many = many.concat() + "--B--";
    let endless = "--B\r\nContent-Disposition: ".to_owned() + &"x".repeat(2 * FIELDS_LEN_MAX);
    for text in [long, many, endless, "x".repeat(2 * FIELDS_LEN_MAX)] {
        assert!(matches!(read(body(text.as_bytes(), 100), "B").await, Err(FormError::FieldsTooLong)));
    }
    for text in [
        field("a", "x") + "--B--\r\n",
        "--B--".into(),
        "--B\r\n\r\nx\r\n--B--".into(),
        "--Bx\r\na: b\r\n\r\n".into(),
    ] {
        let read = read(body(text.as_bytes(), 100), "B").await;
        assert!(matches!(read, Err(FormError::Malformed { .. })), "{text:?}");
    }
}

#[tokio::test]
async fn a_field_that_comes_twice_in_whatever_case_is_refused() {
    let field = |name: &str| format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nx\r\n");
    let file = "--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--B--";
    for (first, second, refused) in [("acl", "acl", true), ("acl", "ACL", true), ("acl", "x-amz-acl", false)]
    {
        let text = field(first) + &field(second) + file;
        let read = read(body(text.as_bytes(), 100), "B").await;
        assert_eq!(matches!(read, Err(FormError::Repeated { .. })), refused, "{first} and {second}");
    }
}

#[tokio::test]
async fn a_file_must_keep_its_bounds() {
    for (min, max, fits) in [(0, 7, true), (7, 7, true), (7, 100, true), (0, 6, false), (8, 100, false)] {
        let mut form = read(body(&form(b"content", "\r\n--B--"), 3), "B").await.unwrap();
        form.file.set_bounds(min, max);
        let read: Result<Vec<Bytes>, StdError> = form.file.by_ref().try_collect().await;
        assert_eq!(read.is_ok(), fits, "{min} to {max}");
        assert!(form.file.next().await.is_none());
    }
}

#[test]
fn the_boundary_is_a_parameter_of_forms_only() {
    for (text, boundary) in [
        ("multipart/form-data; boundary=abc", Some("abc")),
        ("Multipart/Form-Data;charset=utf-8; Boundary=\"a b;c\"", Some("a b;c")),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/mixed; boundary=abc", None),
        ("text/plain", None),
    ] {
        assert_eq!(boundary_of(text), boundary, "{text}");
    }
}
