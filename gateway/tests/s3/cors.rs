//! Requests of pages of other origins.

use crate::client::{Client, Reply};
use crate::service::Service;

async fn set(client: &Client, rules: &str) -> Reply {
    let document = format!("<CORSConfiguration>{rules}</CORSConfiguration>");
    client.send("PUT", "/bucket?cors", &[], document.as_bytes()).await
}

const RULES: &str = "<CORSRule><ID>one</ID><AllowedOrigin>https://*.example</AllowedOrigin>\
     <AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod><AllowedHeader>x-amz-*</AllowedHeader>\
     <ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>600</MaxAgeSeconds></CORSRule>\
     <CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>";

const ORIGIN: (&str, &str) = ("origin", "https://a.example");
const ALLOWED: &str = "access-control-allow-origin";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preflight_is_answered_by_the_buckets_rules() {
    let service = Service::start().await;
    let client = &service.client;
    let get = ("access-control-request-method", "GET");
    client.send_unsigned("OPTIONS", "/bucket/key", &[], b"").await.expect_error(400, "BadRequest");
    client
        .send_unsigned("OPTIONS", "/bucket/key", &[ORIGIN, get], b"")
        .await
        .expect_error(403, "AccessForbidden");
    set(client, RULES).await.expect(200);

    let put = ("access-control-request-method", "PUT");
    let asked = ("access-control-request-headers", "X-Amz-Date, x-amz-acl");
    let told = client
        .send_unsigned("OPTIONS", "/bucket/key?X-Amz-Signature=0", &[ORIGIN, put, asked], b"")
        .await
        .expect(200);
    for (name, value) in [
        (ALLOWED, "https://a.example"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "x-amz-date, x-amz-acl"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "ETag"),
        ("access-control-max-age", "600"),
    ] {
        assert_eq!(told.header(name), Some(value), "{name}");
    }
    assert!(told.header("vary").unwrap().contains("Origin"));
    assert!(told.header("x-amz-request-id").is_some());
    let any = client
        .send_unsigned("OPTIONS", "/bucket", &[("origin", "http://b.test"), get], b"")
        .await
        .expect(200);
    assert_eq!((any.header(ALLOWED), any.header("access-control-allow-credentials")), (Some("*"), None));

    let foreign = ("origin", "http://b.test");
    let secret = ("access-control-request-headers", "authorization");
    for headers in [&[foreign, put][..], &[ORIGIN, put, secret]] {
        let refused = client.send_unsigned("OPTIONS", "/bucket/key", headers, b"").await;
        assert_eq!(refused.header(ALLOWED), None);
        refused.expect_error(403, "AccessForbidden");
    }
    for headers in [&[ORIGIN][..], &[get]] {
        client.send_unsigned("OPTIONS", "/bucket/key", headers, b"").await.expect_error(400, "BadRequest");
    }
    client
        .send_unsigned("OPTIONS", "/missing/key", &[ORIGIN, get], b"")
        .await
        .expect_error(404, "NoSuchBucket");
    client.send_unsigned("OPTIONS", "/", &[ORIGIN, get], b"").await.expect_error(400, "BadRequest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_to_a_page_tells_it_what_it_may_see() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/key", b"body").await.expect(200);
    let plain = client.send("GET", "/bucket/key", &[ORIGIN], b"").await.expect(200);
    assert_eq!(plain.header(ALLOWED), None);
    set(client, RULES).await.expect(200);
    let told = client.send("GET", "/bucket/key", &[ORIGIN], b"").await.expect(200);
    assert_eq!(told.header(ALLOWED), Some("https://a.example"));
    assert_eq!(told.body, b"body");
    // Errors, too: a page that may not see them can't tell them from a broken network.
    let refused = client.send_unsigned("GET", "/bucket/key", &[ORIGIN], b"").await.expect(403);
    assert_eq!(refused.header(ALLOWED), Some("https://a.example"));
    let virtual_host = [ORIGIN, ("host", "bucket.s3.test")];
    let told = client.send("GET", "/key", &virtual_host, b"").await.expect(200);
    assert_eq!(told.header(ALLOWED), Some("https://a.example"));
    for headers in [&[][..], &[("origin", "http://b.test"), ("access-control-request-method", "PUT")]] {
        assert_eq!(client.send("GET", "/bucket/key", headers, b"").await.expect(200).header(ALLOWED), None);
    }
    let deleted = client.send("DELETE", "/bucket/key", &[ORIGIN], b"").await.expect(204);
    assert_eq!(deleted.header(ALLOWED), None, "DELETE is not among the methods");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_kept_as_they_were_sent_and_only_if_they_make_sense() {
    let service = Service::start().await;
    let client = &service.client;
    client.get("/bucket?cors").await.expect_error(404, "NoSuchCORSConfiguration");
    for (wrong, code) in [
        ("", "MalformedXML"),
        ("<CORSRule><AllowedOrigin>*</AllowedOrigin></CORSRule>", "MalformedXML"),
        (
            "<CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>PATCH</AllowedMethod></CORSRule>",
            "InvalidRequest",
        ),
        (
            "<CORSRule><AllowedOrigin>a*b*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>",
            "InvalidRequest",
        ),
    ] {
        set(client, wrong).await.expect_error(400, code);
    }
    set(client, RULES).await.expect(200);
    let shown = client.get("/bucket?cors").await.expect(200).text();
    for part in
        ["<ID>one</ID>", "<AllowedHeader>x-amz-*</AllowedHeader>", "<MaxAgeSeconds>600</MaxAgeSeconds>"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    for (method, body) in [("GET", ""), ("PUT", "<CORSConfiguration/>"), ("DELETE", "")] {
        let refused = service.other.send(method, "/bucket?cors", &[], body.as_bytes()).await;
        assert!(refused.status == 403 || method == "PUT" && refused.status == 400, "{method}");
    }
    client.delete("/bucket?cors").await.expect(204);
    client.get("/bucket?cors").await.expect_error(404, "NoSuchCORSConfiguration");
}
