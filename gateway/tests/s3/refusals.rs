//! Every operation against every way of not being allowed to. Each refusal is paired with the same request from its owner.

use datamesh_gateway::s3::OPERATIONS;
use time::Duration;

use crate::client::Client;
use crate::routes::{VERSIONING, place, state};
use crate::service::Service;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_for_a_request_that_is_not_rightly_signed() {
    let service = Service::start().await;
    let wrong = Client { secret: "another-secret".into(), ..service.client.clone() };
    let unknown = Client { access_key: "AKIANOBODY".into(), ..service.client.clone() };
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let place = place(&service, &format!("op-{number}"), operation).await;
        let route = place.route(operation).unwrap();
        let before = state(&service, &place).await;
        let mut replies = vec![
            ("wrong secret", route.send(&wrong).await),
            ("unknown key", route.send(&unknown).await),
            ("signature", route.send_with_another_signature(&service.client).await),
            ("early", route.send_skewed(&service.client, Duration::minutes(-16)).await),
            ("late", route.send_skewed(&service.client, Duration::minutes(16)).await),
            ("unsigned", route.send_unsigned(&service.client).await),
            ("twice", route.send_signed_twice(&service.client).await),
            ("link of wrong secret", route.send_by_link(&wrong, 0).await),
            ("link of unknown key", route.send_by_link(&unknown, 0).await),
            ("old link", route.send_by_link(&service.client, 120).await),
        ];
        if !route.body.is_empty() {
            replies.push(("tampered", route.send_tampered(&service.client).await));
        }
        for (how, reply) in replies {
            let expected = match (*operation, how) {
                (_, "tampered") => 400,
                // Each key has an answer of its own.
                ("delete_objects", "unsigned") => {
                    assert_eq!(reply.element("Code").as_deref(), Some("AccessDenied"));
                    200
                }
                _ => 403,
            };
            assert_eq!(reply.status, expected, "{operation}, {how}: {}", reply.text());
        }
        assert_eq!(state(&service, &place).await, before, "{operation} changed or read something");
        let accepted = route.send(&service.client).await;
        // Nothing in this place is out of reach, so that it could be restored.
        let restored = accepted.element("Code").as_deref() == Some("InvalidObjectState");
        let done = accepted.status < 300 || accepted.status == 404 || restored;
        assert!(done, "{operation} as its owner: {} {}", accepted.status, accepted.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_is_done_by_a_link_of_its_own() {
    let service = Service::start().await;
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let place = place(&service, &format!("op-{number}"), operation).await;
        let reply = place.route(operation).unwrap().send_by_link(&service.client, 0).await;
        let done = reply.status < 300
            || reply.status == 404
            || reply.element("Code").as_deref() == Some("InvalidObjectState");
        assert!(done, "{operation}: {} {}", reply.status, reply.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_account_gets_nothing_out_of_any_operation() {
    let service = Service::start().await;
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let place = place(&service, &format!("op-{number}"), operation).await;
        let route = place.route(operation).unwrap();
        let before = state(&service, &place).await;
        let reply = route.send(&service.other).await;
        match *operation {
            // Its own account is what these are about.
            "list_buckets" => {
                let mine = format!("<Name>{}</Name>", place.bucket);
                assert!(!reply.expect(200).text().contains(&mine));
            }
            "create_bucket" => {
                reply.expect(200);
                continue;
            }
            // Each key has an answer of its own.
            "delete_objects" => {
                let code = reply.expect(200).element("Code");
                assert_eq!(code.as_deref(), Some("AccessDenied"));
            }
            _ => {
                assert_eq!(reply.status, 403, "{operation}: {}", reply.text());
                let code = reply.element("Code");
                assert!(route.method == "HEAD" || code.as_deref() == Some("AccessDenied"), "{operation}");
            }
        }
        assert_eq!(state(&service, &place).await, before, "{operation} changed or read something");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_another_account_are_no_way_in() {
    let service = Service::start().await;
    let place = place(&service, "mine", "").await;
    let client = &service.client;
    client.put("/mine?versioning", VERSIONING.as_bytes()).await.expect(200);
    let put = client.put("/mine/key", b"newer").await.expect(200);
    let id = put.header("x-amz-version-id").unwrap().to_owned();
    service.other.put("/theirs", b"").await.expect(200);
    let other = &service.other;
    for target in [format!("/mine/key?versionId={id}"), "/mine/key?versionId=null".to_owned()] {
        other.get(&target).await.expect_error(403, "AccessDenied");
        other.delete(&target).await.expect_error(403, "AccessDenied");
    }
    other.get("/mine?versions&key-marker=key").await.expect_error(403, "AccessDenied");
    other.get("/mine?list-type=2&start-after=a").await.expect_error(403, "AccessDenied");
    // An upload's id is good in its own bucket and for its own key alone.
    let part = format!("/theirs/up?partNumber=1&uploadId={}", place.upload);
    other.put(&part, b"x").await.expect_error(404, "NoSuchUpload");
    other.delete(&format!("/theirs/up?uploadId={}", place.upload)).await.expect_error(404, "NoSuchUpload");
    for source in ["mine/key".to_owned(), format!("mine/key?versionId={id}"), "/mine/key".to_owned()] {
        let header = [("x-amz-copy-source", source.as_str())];
        other.send("PUT", "/theirs/copy", &header, b"").await.expect_error(403, "AccessDenied");
    }
    client.get(&format!("/mine/key?versionId={id}")).await.expect(200);
}
