//! Every operation with a document that is not what it must be.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datamesh_gateway::s3::OPERATIONS;
use md5::{Digest, Md5};

use crate::integrity::{TRAILER, crc32};
use crate::routes::{Route, place, state};
use crate::service::{Service, noise};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_cannot_be_read_change_nothing() {
    let service = Service::start().await;
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let place = place(&service, &format!("op-{number}"), operation).await;
        let route = place.route(operation).unwrap();
        if !route.body.starts_with('<') {
            continue;
        }
        let before = state(&service, &place).await;
        let root = route.body.trim_start_matches('<').split(['>', ' ', '/']).next().unwrap().to_owned();
        let mut documents = vec![
            ("cut off", route.body[..route.body.len() - 2].to_owned()),
            ("another", "<Unheard><Of/></Unheard>".to_owned()),
            ("deep", format!("<{root}>{}", "<a>".repeat(100_000))),
            ("long", format!("<{root}>{}</{root}>", " ".repeat(2 << 20))),
        ];
        documents.extend(with_entity(&root, &route.body).map(|body| ("entity", body)));
        for (how, body) in documents {
            let broken =
                Route { method: route.method, target: route.target.clone(), headers: Vec::new(), body };
            let reply = broken.send(&service.client).await;
            let code = if how == "long" { "MaxMessageLengthExceeded" } else { "MalformedXML" };
            let answered = (reply.status, reply.element("Code"));
            assert_eq!(answered, (400, Some(code.to_owned())), "{operation}, {how}: {}", reply.text());
        }
        assert_eq!(state(&service, &place).await, before, "{operation} changed something");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_are_not_the_declared_ones_change_nothing() {
    let service = Service::start().await;
    let client = &service.client;
    let other = noise(7, 40);
    let (md5, crc) = (STANDARD.encode(Md5::digest(&other)), crc32(&other));
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let place = place(&service, &format!("op-{number}"), operation).await;
        let route = place.route(operation).unwrap();
        // What is no document has digests, too, and tests of its own.
        if route.body.is_empty() || ["put_object", "upload_part"].contains(operation) {
            continue;
        }
        let (method, target, body) = (route.method, route.target.as_str(), route.body.as_bytes());
        let before = state(&service, &place).await;
        let mut wrong =
            vec![("content-md5", md5.as_str(), "BadDigest"), ("content-md5", "abc", "InvalidDigest")];
        if *operation != "complete_multipart_upload" {
            wrong.push(("x-amz-checksum-crc32", crc.as_str(), "BadDigest"));
        }
        for (header, value, code) in wrong {
            client.send(method, target, &[(header, value)], body).await.expect_error(400, code);
        }
        let framed = format!("{:x}\r\n{}\r\n0\r\nx-amz-checksum-crc32:{crc}\r\n\r\n", body.len(), route.body);
        let len = body.len().to_string();
        let headers =
            [("x-amz-decoded-content-length", len.as_str()), ("x-amz-trailer", "x-amz-checksum-crc32")];
        let reply = client.send_hashed(method, target, &headers, framed.as_bytes(), TRAILER).await;
        reply.expect_error(400, "InvalidRequest");
        assert_eq!(state(&service, &place).await, before, "{operation} changed something");
        let right = STANDARD.encode(Md5::digest(body));
        let mut headers = route.headers();
        headers.push(("content-md5", &right));
        let done = client.send(method, target, &headers, body).await;
        assert!(
            done.status < 300 || done.element("Code").as_deref() == Some("InvalidObjectState"),
            "{operation}"
        );
    }
}

/// The document with an entity of its own instead of its first text, if it has any text.
fn with_entity(root: &str, body: &str) -> Option<String> {
    let start = body.match_indices('>').map(|(at, _)| at + 1).find(|at| {
        let rest = &body[*at..];
        !rest.is_empty() && !rest.trim_start().starts_with('<')
    })?;
    let end = start + body[start..].find('<')?;
    Some(format!("<!DOCTYPE {root} [<!ENTITY a \"b\">]>{}&a;{}", &body[..start], &body[end..]))
}
