//! Bodies that carry signatures of their own: every chunk is signed, and so is the trailer.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::client::{Client, Reply, exchange, sha256};
use crate::service::{Service, noise};

const SIGNED_CHUNKS: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_CHUNKS_AND_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const CHECKSUM: &str = "x-amz-checksum-sha256";

/// A body in chunks.
struct Streamed<'a> {
    pieces: Vec<&'a [u8]>,
    /// The value of the checksum in the trailer, if there is a trailer.
    checksum: Option<String>,
}

impl Streamed<'_> {
    /// Signatures of the pieces, of the empty chunk at the end and of the trailer.
    fn signature_count(&self) -> usize {
        self.pieces.len() + 1 + usize::from(self.checksum.is_some())
    }

    /// The body behind a head with that date, scope and signature; the signature numbered `forged` is wrong.
    fn body(
        &self,
        client: &Client,
        (date, scope, seed): (&str, &str, &str),
        forged: Option<usize>,
    ) -> Vec<u8> {
        let (mut body, mut previous, mut number) = (Vec::new(), seed.to_owned(), 0);
        let mut next = |kind: &str, hashes: &str| {
            previous = client.sign(scope, &format!("{kind}\n{date}\n{scope}\n{previous}\n{hashes}"));
            let mut shown = previous.clone();
            if forged == Some(number) {
                shown.replace_range(..1, if shown.starts_with('0') { "1" } else { "0" });
            }
            number += 1;
            shown
        };
        for piece in self.pieces.iter().chain([&&b""[..]]) {
            let hashes = format!("{}\n{}", sha256(b""), sha256(piece));
            let signature = next("AWS4-HMAC-SHA256-PAYLOAD", &hashes);
            body.extend_from_slice(format!("{:x};chunk-signature={signature}\r\n", piece.len()).as_bytes());
            body.extend_from_slice(piece);
            if !piece.is_empty() {
                body.extend_from_slice(b"\r\n");
            }
        }
        if let Some(checksum) = &self.checksum {
            let signed = format!("{CHECKSUM}:{checksum}\n");
            let signature = next("AWS4-HMAC-SHA256-TRAILER", &sha256(signed.as_bytes()));
            let trailer = format!("{CHECKSUM}:{checksum}\r\nx-amz-trailer-signature:{signature}\r\n");
            body.extend_from_slice(trailer.as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        body
    }

    async fn put(&self, client: &Client, target: &str, forged: Option<usize>) -> Reply {
        let decoded_len = self.pieces.iter().map(|piece| piece.len()).sum::<usize>().to_string();
        let mut headers =
            vec![("content-encoding", "aws-chunked"), ("x-amz-decoded-content-length", decoded_len.as_str())];
        let kind = if self.checksum.is_some() {
            headers.push(("x-amz-trailer", CHECKSUM));
            SIGNED_CHUNKS_AND_TRAILER
        } else {
            SIGNED_CHUNKS
        };
        let len = self.body(client, ("", "a/b/c/d", ""), None).len();
        let head = client.signed("PUT", target, &headers, kind, len);
        let after = |start: &str, end: &str| {
            let (_, rest) = head.split_once(start).unwrap();
            rest.split_once(end).unwrap().0.to_owned()
        };
        let date = after("x-amz-date: ", "\r\n");
        let (scope, seed) =
            (after("Credential=", ",").split_once('/').unwrap().1.to_owned(), after("Signature=", "\r\n"));
        let body = self.body(client, (&date, &scope, &seed), forged);
        assert_eq!(body.len(), len);
        exchange(client.address, &[head.as_bytes(), &body].concat()).await
    }
}

fn checksum(bytes: &[u8]) -> String {
    STANDARD.encode(digest::digest(&digest::SHA256, bytes))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_body_is_stored_only_if_every_signature_in_it_is_right() {
    let service = Service::start().await;
    let client = &service.client;
    let data = noise(1, 150_000);
    let begun = client.send("POST", "/bucket/upload?uploads", &[], b"").await.expect(200);
    let upload = begun.element("UploadId").unwrap();
    let parts = format!("/bucket/upload?uploadId={upload}");
    for (number, trailer) in [(1, false), (2, true)] {
        let checksum = trailer.then(|| checksum(&data));
        let streamed = Streamed { pieces: data.chunks(65_536).collect(), checksum };
        let key = format!("/bucket/key-{number}");
        let part = format!("/bucket/upload?partNumber={number}&uploadId={upload}");
        for forged in 0..streamed.signature_count() {
            for target in [&key, &part] {
                let reply = streamed.put(client, target, Some(forged)).await;
                reply.expect_error(403, "SignatureDoesNotMatch");
            }
            client.get(&key).await.expect_error(404, "NoSuchKey");
            let stored = client.get(&parts).await.expect(200).elements("PartNumber");
            assert_eq!(stored.len(), number - 1);
        }
        for target in [&key, &part] {
            streamed.put(client, target, None).await.expect(200);
        }
        assert!(client.get(&key).await.expect(200).body == data);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_trailer_with_a_wrong_checksum_stores_nothing() {
    let service = Service::start().await;
    let data = noise(2, 70_000);
    for (value, status) in [(checksum(b"other"), 400), (checksum(&data), 200)] {
        let streamed = Streamed { pieces: data.chunks(65_536).collect(), checksum: Some(value) };
        let reply = streamed.put(&service.client, "/bucket/key", None).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        assert_eq!(service.client.get("/bucket/key").await.status == 200, status == 200);
    }
}
