//! Access control lists, object ownership and public access blocks, through HTTP.

use crate::service::Service;

const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";

fn document(owner: &str, grants: &str) -> String {
    format!(
        "<AccessControlPolicy xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner><ID>{owner}</ID></Owner>\
         <AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"
    )
}

fn grant(kind: &str, inside: &str, permission: &str) -> String {
    format!(
        "<Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"{kind}\">{inside}\
         </Grantee><Permission>{permission}</Permission></Grant>"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canned_lists_open_a_bucket_and_an_object_separately() {
    let service = Service::start().await;
    let (client, other) = (&service.client, &service.other);
    client.send("PUT", "/bucket?acl", &[("x-amz-acl", "public-read-write")], b"").await.expect(200);
    client.put("/bucket/private", b"secret").await.expect(200);
    client.send("PUT", "/bucket/public", &[("x-amz-acl", "public-read")], b"open").await.expect(200);
    client.send_unsigned("GET", "/bucket", &[], b"").await.expect(200);
    client.send_unsigned("GET", "/bucket/private", &[], b"").await.expect_error(403, "AccessDenied");
    assert_eq!(client.send_unsigned("GET", "/bucket/public", &[], b"").await.expect(200).body, b"open");
    client.send_unsigned("GET", "/bucket/none", &[], b"").await.expect_error(404, "NoSuchKey");
    client.send_unsigned("PUT", "/bucket/anon", &[], b"x").await.expect(200);
    other.put("/bucket/private", b"overwritten").await.expect(200);
    // Whoever wrote it owns it now, and the bucket's owner cannot read it.
    client.get("/bucket/private").await.expect_error(403, "AccessDenied");
    assert_eq!(other.get("/bucket/private").await.expect(200).body, b"overwritten");
    client.delete("/bucket/private").await.expect(204);
    other.get("/bucket?policy").await.expect_error(403, "AccessDenied");
    client.send("PUT", "/bucket?acl", &[("x-amz-acl", "private")], b"").await.expect(200);
    client.send_unsigned("PUT", "/bucket/anon", &[], b"x").await.expect_error(403, "AccessDenied");
    client.send_unsigned("GET", "/bucket/none", &[], b"").await.expect_error(403, "AccessDenied");
    assert_eq!(client.send_unsigned("GET", "/bucket/public", &[], b"").await.expect(200).body, b"open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explicit_grants_come_back_as_they_were_set() {
    let service = Service::start().await;
    let (client, other) = (&service.client, &service.other);
    let me = service.account.to_string();
    let user = service.accounts.find_user("AKIATESTB@test.org").await.unwrap().unwrap();
    let them = user.id.to_string();
    let grants = [
        grant("CanonicalUser", &format!("<ID>{me}</ID>"), "FULL_CONTROL"),
        grant("AmazonCustomerByEmail", "<EmailAddress>akiatestb@test.org</EmailAddress>", "READ_ACP"),
        grant("Group", &format!("<URI>{ALL_USERS}</URI>"), "READ"),
    ];
    let all = document(&me, &grants.concat());
    client.put("/bucket?acl", all.as_bytes()).await.expect(200);
    let shown = other.get("/bucket?acl").await.expect(200).text();
    let at = |text: &str| shown.find(text).unwrap_or_else(|| panic!("{text} in {shown}"));
    // Groups first.
    assert!(at(ALL_USERS) < at(&format!("<ID>{them}</ID>")));
    assert!(shown.contains("<DisplayName>AKIATESTB</DisplayName>"), "{shown}");
    other.put("/bucket?acl", all.as_bytes()).await.expect_error(403, "AccessDenied");
    other.put("/bucket/key", b"x").await.expect_error(403, "AccessDenied");
    other.get("/bucket").await.expect(200);
    let headers =
        [("x-amz-grant-read", format!("id={them}")), ("x-amz-grant-write-acp", format!("id=\"{them}\""))];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    client.send("PUT", "/bucket/key", &headers, b"x").await.expect(200);
    other.get("/bucket/key").await.expect(200);
    other.get("/bucket/key?acl").await.expect_error(403, "AccessDenied");
    other.send("PUT", "/bucket/key?acl", &[("x-amz-acl", "private")], b"").await.expect(200);
    other.get("/bucket/key").await.expect_error(403, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_name_nobody_are_refused_and_change_nothing() {
    let service = Service::start().await;
    let client = &service.client;
    let me = service.account.to_string();
    let put = async |grants: &str| client.put("/bucket?acl", document(&me, grants).as_bytes()).await;
    put(&grant("CanonicalUser", "<ID>_foo</ID>", "READ")).await.expect_error(400, "InvalidArgument");
    let nobody = format!("<ID>{}</ID>", "0".repeat(32));
    put(&grant("CanonicalUser", &nobody, "READ")).await.expect_error(400, "InvalidArgument");
    let email = grant("AmazonCustomerByEmail", "<EmailAddress>no@body.org</EmailAddress>", "READ");
    put(&email).await.expect_error(400, "UnresolvableGrantByEmailAddress");
    put(&grant("Group", "<URI>http://example.org</URI>", "READ")).await.expect_error(400, "InvalidArgument");
    put(&grant("Group", &format!("<URI>{ALL_USERS}</URI>"), "EAT"))
        .await
        .expect_error(400, "MalformedACLError");
    client.put("/bucket?acl", b"").await.expect(400);
    client.put("/bucket?acl", b"<nonsense").await.expect_error(400, "MalformedXML");
    let foreign = document(&"1".repeat(32), "");
    client.put("/bucket?acl", foreign.as_bytes()).await.expect_error(403, "AccessDenied");
    let both = [("x-amz-acl", "private"), ("x-amz-grant-read", "id=1")];
    client.send("PUT", "/bucket/key", &both, b"x").await.expect_error(400, "InvalidRequest");
    client
        .send("PUT", "/bucket/key", &[("x-amz-acl", "open")], b"x")
        .await
        .expect_error(400, "InvalidArgument");
    client.get("/bucket/key").await.expect_error(404, "NoSuchKey");
    let shown = client.get("/bucket?acl").await.expect(200).text();
    assert_eq!(shown.matches("<Permission>").count(), 1, "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_ownership_enforced_lists_are_off() {
    let service = Service::start().await;
    let client = &service.client;
    let enforced = b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>";
    client.get("/bucket?ownershipControls").await.expect_error(404, "OwnershipControlsNotFoundError");
    client.send("PUT", "/bucket?acl", &[("x-amz-acl", "public-read")], b"").await.expect(200);
    let refused = client.put("/bucket?ownershipControls", enforced).await;
    refused.expect_error(400, "InvalidBucketAclWithObjectOwnership");
    client.send("PUT", "/bucket?acl", &[("x-amz-acl", "private")], b"").await.expect(200);
    client.send("PUT", "/bucket/open", &[("x-amz-acl", "public-read")], b"x").await.expect(200);
    client.send_unsigned("GET", "/bucket/open", &[], b"").await.expect(200);
    client.put("/bucket?ownershipControls", enforced).await.expect(200);
    client.send_unsigned("GET", "/bucket/open", &[], b"").await.expect_error(403, "AccessDenied");
    let private = [("x-amz-acl", "private")];
    let refused = client.send("PUT", "/bucket/key", &private, b"x").await;
    refused.expect_error(400, "AccessControlListNotSupported");
    let full = [("x-amz-acl", "bucket-owner-full-control")];
    client.send("PUT", "/bucket/key", &full, b"x").await.expect(200);
    let refused = client.send("PUT", "/bucket?acl", &private, b"").await;
    refused.expect_error(400, "AccessControlListNotSupported");
    client.delete("/bucket?ownershipControls").await.expect(204);
    client.send_unsigned("GET", "/bucket/open", &[], b"").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_access_block_refuses_and_voids_public_lists() {
    let service = Service::start().await;
    let client = &service.client;
    let block = |switch: &str| {
        format!("<PublicAccessBlockConfiguration><{switch}>true</{switch}></PublicAccessBlockConfiguration>")
    };
    let public = [("x-amz-acl", "public-read")];
    client.send("PUT", "/bucket/open", &public, b"x").await.expect(200);
    client.put("/bucket?publicAccessBlock", block("BlockPublicAcls").as_bytes()).await.expect(200);
    client.send("PUT", "/bucket?acl", &public, b"").await.expect_error(403, "AccessDenied");
    client.send("PUT", "/bucket/key", &public, b"x").await.expect_error(403, "AccessDenied");
    client.get("/bucket/key").await.expect_error(404, "NoSuchKey");
    client.send_unsigned("GET", "/bucket/open", &[], b"").await.expect(200);
    client.put("/bucket?publicAccessBlock", block("IgnorePublicAcls").as_bytes()).await.expect(200);
    client.send_unsigned("GET", "/bucket/open", &[], b"").await.expect_error(403, "AccessDenied");
    let shown = client.get("/bucket?publicAccessBlock").await.expect(200);
    assert_eq!(shown.element("IgnorePublicAcls").as_deref(), Some("true"));
    assert_eq!(shown.element("BlockPublicAcls").as_deref(), Some("false"));
    client.delete("/bucket?publicAccessBlock").await.expect(204);
    client.send_unsigned("GET", "/bucket/open", &[], b"").await.expect(200);
}
