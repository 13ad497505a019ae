//! Keys: bytes that name an object, whatever they would mean as a path.

use crate::client::{decoded, encoded};
use crate::service::Service;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_its_bytes_and_never_a_path() {
    let service = Service::start().await;
    let client = &service.client;
    service.other.put("/others", b"").await.expect(200);
    service.other.put("/others/key", b"theirs").await.expect(200);
    let mut keys = [
        "../others/key",
        "/../others/key",
        "a/../b",
        "a/./b",
        "./c",
        ".",
        "..",
        "../..",
        "a//b",
        "/",
        "//",
        "a/",
        "/a",
        "a\\..\\b",
        "a%2Fb",
        "%2e%2e",
        "%",
        "a b",
        "a+b",
        "a?b",
        "a#b",
        "a&b=c",
        "a;b",
        "\u{e9}",
        "e\u{301}",
        "\u{7f}",
        "a\0b",
        "a\nb",
        "a\tb",
        "~",
        "*",
        "\"'<>",
    ];
    keys.sort_unstable_by_key(|key| key.as_bytes());
    for key in keys {
        // Every byte escaped, dots and slashes, too.
        let target = format!("/bucket/{}", encoded(key.as_bytes(), b""));
        client.put(&target, key.as_bytes()).await.expect(200);
    }
    for key in keys {
        for kept in [&b""[..], b"-._~/"] {
            let target = format!("/bucket/{}", encoded(key.as_bytes(), kept));
            let got = client.get(&target).await.expect(200);
            assert_eq!(got.text(), key, "{target}");
        }
    }
    let listed = client.get("/bucket?list-type=2&encoding-type=url").await.expect(200).elements("Key");
    let listed: Vec<Vec<u8>> = listed.iter().map(|key| decoded(&key.replace('+', " "))).collect();
    assert_eq!(listed, keys.map(|key| key.as_bytes().to_vec()));
    let theirs = service.other.get("/others?list-type=2").await.expect(200).elements("Key");
    assert_eq!(theirs, ["key"]);
    for key in keys {
        client.delete(&format!("/bucket/{}", encoded(key.as_bytes(), b""))).await.expect(204);
    }
    assert_eq!(client.get("/bucket?list-type=2").await.expect(200).element("KeyCount").as_deref(), Some("0"));
    assert_eq!(service.other.get("/others/key").await.expect(200).body, b"theirs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_cannot_be_are_refused() {
    let service = Service::start().await;
    let client = &service.client;
    let longest = "k".repeat(1024);
    client.put(&format!("/bucket/{longest}"), b"x").await.expect(200);
    client.put(&format!("/bucket/{longest}k"), b"x").await.expect_error(400, "KeyTooLongError");
    for escaped in ["%FF", "a%C3", "%ED%A0%80"] {
        let reply = client.put(&format!("/bucket/{escaped}"), b"x").await;
        assert_eq!(reply.status, 400, "{escaped}: {}", reply.text());
    }
    let listed = client.get("/bucket?list-type=2").await.expect(200).elements("Key");
    assert_eq!(listed, [longest]);
}
