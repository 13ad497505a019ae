//! Policies on buckets and on keys, and temporary credentials, through HTTP.

use datamesh_accounts::{NewKey, NewSession};

use crate::client::{Client, Reply};
use crate::service::{SECRET, Service};

fn statement(effect: &str, principal: &str, action: &str, resource: &str, condition: &str) -> String {
    format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "{effect}", "Principal": {principal},
            "Action": {action}, "Resource": "arn:aws:s3:::{resource}", "Condition": {condition}}}]}}"#
    )
}

async fn set(client: &Client, policy: &str) -> Reply {
    client.put("/bucket?policy", policy.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_opens_what_it_names_and_nothing_else() {
    let service = Service::start().await;
    let client = &service.client;
    for key in ["public/a", "private/a", "public/../private/a", "public%5Ca"] {
        client.put(&format!("/bucket/{key}"), key.as_bytes()).await.expect(200);
    }
    client.get("/bucket?policy").await.expect_error(404, "NoSuchBucketPolicy");
    let open = statement("Allow", "\"*\"", "\"s3:GetObject\"", "bucket/public/*", "{}");
    set(client, &open).await.expect(204);
    assert_eq!(client.get("/bucket?policy").await.expect(200).text(), open);
    let get = async |target: &str| client.send_unsigned("GET", target, &[], b"").await;
    assert_eq!(get("/bucket/public/a").await.expect(200).body, b"public/a");
    // Keys are texts: dots lead nowhere, and what is decoded is decoded once, for the policy and the storage alike.
    assert_eq!(get("/bucket/public/%2e%2e/private/a").await.expect(200).body, b"public/../private/a");
    for target in [
        "/bucket/private/a",
        "/bucket/private%2Fa",
        "/bucket/%70rivate/a",
        "/bucket/public%5Ca",
        "/bucket//public/a",
        "/bucket/Public/a",
        "/bucket/public",
        "/bucket/public/none",
        "/bucket",
        "/bucket?policy",
    ] {
        get(target).await.expect_error(403, "AccessDenied");
    }
    assert_eq!(get("/bucket/publi%63/a").await.expect(200).body, b"public/a");
    client.send_unsigned("PUT", "/bucket/public/a", &[], b"x").await.expect_error(403, "AccessDenied");
    let status = client.get("/bucket?policyStatus").await.expect(200);
    assert_eq!(status.element("IsPublic").as_deref(), Some("true"));
    client.delete("/bucket?policy").await.expect(204);
    get("/bucket/public/a").await.expect_error(403, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denials_bind_the_owner_too_who_can_still_repair_the_policy() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/a", b"x").await.expect(200);
    client.put("/bucket/b", b"x").await.expect(200);
    set(client, &statement("Deny", "\"*\"", "\"s3:*\"", "bucket*", "{}")).await.expect(204);
    client.get("/bucket/a").await.expect_error(403, "AccessDenied");
    client.get("/bucket").await.expect_error(403, "AccessDenied");
    client.delete("/bucket").await.expect_error(403, "AccessDenied");
    set(client, &statement("Deny", "\"*\"", "\"s3:DeleteObject\"", "bucket/a", "{}")).await.expect(204);
    let both = "<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>";
    let deleted = client.send("POST", "/bucket?delete", &[], both.as_bytes()).await.expect(200).text();
    assert!(deleted.contains("<Deleted><Key>b</Key></Deleted>"), "{deleted}");
    assert!(deleted.contains("<Code>AccessDenied</Code>"), "{deleted}");
    client.get("/bucket/a").await.expect(200);
    let confirmed = [("x-amz-confirm-remove-self-bucket-access", "true")];
    let policy = statement("Deny", "\"*\"", "\"s3:PutBucketPolicy\"", "bucket", "{}");
    client.send("PUT", "/bucket?policy", &confirmed, policy.as_bytes()).await.expect(204);
    set(client, &policy).await.expect_error(403, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_see_the_request_and_the_object() {
    let service = Service::start().await;
    let (client, other) = (&service.client, &service.other);
    let tags = [("x-amz-tagging", "team=red")];
    client.send("PUT", "/bucket/red", &tags, b"x").await.expect(200);
    client.put("/bucket/none", b"x").await.expect(200);
    let cases = [
        (r#"{"StringEquals": {"s3:ExistingObjectTag/team": "red"}}"#, 200, 403),
        (r#"{"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}"#, 200, 200),
        (r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#, 403, 403),
        (r#"{"Bool": {"aws:SecureTransport": "true"}}"#, 403, 403),
        (r#"{"StringLike": {"aws:Referer": "https://example.org/*"}}"#, 200, 200),
        (r#"{"DateGreaterThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"}}"#, 403, 403),
        (r#"{"StringEquals": {"s3:authType": "REST-HEADER"}}"#, 200, 200),
    ];
    for (condition, red, none) in cases {
        set(client, &statement("Allow", "\"*\"", "\"s3:GetObject\"", "bucket/*", condition))
            .await
            .expect(204);
        let referer = [("referer", "https://example.org/page")];
        assert_eq!(other.send("GET", "/bucket/red", &referer, b"").await.status, red, "{condition}");
        assert_eq!(other.send("GET", "/bucket/none", &referer, b"").await.status, none, "{condition}");
    }
    let prefix = r#"{"StringLike": {"s3:prefix": "public/*"}}"#;
    set(client, &statement("Allow", "\"*\"", "\"s3:ListBucket\"", "bucket", prefix)).await.expect(204);
    other.get("/bucket?prefix=public%2Fx").await.expect(200);
    other.get("/bucket?prefix=private%2Fx").await.expect_error(403, "AccessDenied");
    other.get("/bucket/public/none").await.expect_error(404, "NoSuchKey");
    other.get("/bucket/private/none").await.expect_error(403, "AccessDenied");
    let unencrypted = r#"{"Null": {"s3:x-amz-server-side-encryption": "true"}}"#;
    set(client, &statement("Deny", "\"*\"", "\"s3:PutObject\"", "bucket/*", unencrypted)).await.expect(204);
    client.put("/bucket/key", b"x").await.expect_error(403, "AccessDenied");
    let encrypted = [("x-amz-server-side-encryption", "AES256")];
    client.send("PUT", "/bucket/key", &encrypted, b"x").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_are_not_understood_or_not_allowed_are_refused() {
    let service = Service::start().await;
    let client = &service.client;
    for policy in [
        String::new(),
        "{".to_owned(),
        statement("Allow", "\"*\"", "\"s3:Nothing\"", "bucket/*", "{}"),
        statement("Allow", "\"*\"", "\"s3:GetObject\"", "another/*", "{}"),
        statement("Allow", "\"me\"", "\"s3:GetObject\"", "bucket/*", "{}"),
        statement("Allow", "\"*\"", "\"s3:GetObject\"", "bucket/*", r#"{"Looks": {"aws:Referer": "x"}}"#),
        statement("Allow", "\"*\"", "\"s3:GetObject\"", "bucket/*", r#"{"Bool": {"aws:Unheard": "true"}}"#),
        statement("Allow", "\"*\"", "\"s3:GetObject\"", "bucket/*", "{}")
            .replace("\"Principal\"", "\"NotPrincipal\""),
    ] {
        let reply = set(client, &policy).await;
        assert_eq!(reply.status, 400, "{policy}: {}", reply.text());
    }
    client.get("/bucket?policy").await.expect_error(404, "NoSuchBucketPolicy");
    let block = "<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>";
    client.put("/bucket?publicAccessBlock", block.as_bytes()).await.expect(200);
    let public = statement("Allow", "\"*\"", "\"s3:GetObject\"", "bucket/*", "{}");
    set(client, &public).await.expect_error(403, "AccessDenied");
    client.delete("/bucket?publicAccessBlock").await.expect(204);
    client.put("/bucket/key", b"x").await.expect(200);
    set(client, &public).await.expect(204);
    let restrict = block.replace("BlockPublicPolicy", "RestrictPublicBuckets");
    client.put("/bucket?publicAccessBlock", restrict.as_bytes()).await.expect(200);
    service.other.get("/bucket/key").await.expect_error(403, "AccessDenied");
    client.get("/bucket/key").await.expect(200);
}

const READ_ONLY: &str = r#"{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"}]}"#;
const IN_BUCKET: &str = r#"{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/home/*"]}]}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_a_policy_does_less_than_its_account_and_never_more() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/elsewhere", b"").await.expect(200);
    client.put("/bucket/key", b"x").await.expect(200);
    let key = async |name: &str, policy: &str| {
        let explicit = Some((name.to_owned(), SECRET.to_owned()));
        let new = NewKey { explicit, policy: Some(policy.to_owned()), expires_at_ms: None };
        service.accounts.create_limited_key(service.account, new).await.unwrap();
        Client { access_key: name.into(), ..client.clone() }
    };
    let reader = key("AKIAREADER", READ_ONLY).await;
    reader.get("/bucket/key").await.expect(200);
    reader.get("/").await.expect(200);
    reader.put("/bucket/key", b"y").await.expect_error(403, "AccessDenied");
    reader.delete("/bucket/key").await.expect_error(403, "AccessDenied");
    reader.put("/new", b"").await.expect_error(403, "AccessDenied");
    let acl = [("x-amz-acl", "public-read")];
    reader.send("PUT", "/bucket/key?acl", &acl, b"").await.expect_error(403, "AccessDenied");
    let bound = key("AKIABOUND", IN_BUCKET).await;
    bound.put("/bucket/home/a", b"x").await.expect(200);
    bound.get("/bucket").await.expect(200);
    bound.get("/bucket/key").await.expect_error(403, "AccessDenied");
    bound.get("/elsewhere").await.expect_error(403, "AccessDenied");
    bound.get("/").await.expect_error(403, "AccessDenied");
    let source = [("x-amz-copy-source", "bucket/key")];
    bound.send("PUT", "/bucket/home/b", &source, b"").await.expect_error(403, "AccessDenied");
    // What others give to everybody, a narrow key does not get either.
    service.other.put("/theirs", b"").await.expect(200);
    service.other.send("PUT", "/theirs/open", &acl, b"x").await.expect(200);
    client.get("/theirs/open").await.expect(200);
    reader.get("/theirs/open").await.expect(200);
    bound.get("/theirs/open").await.expect_error(403, "AccessDenied");
    service.accounts.set_key_policy("AKIABOUND", None).await.unwrap();
    bound.get("/bucket/key").await.expect(200);
    let limited = service.accounts.set_key_policy("AKIABOUND", Some("{}".to_owned())).await;
    assert!(limited.is_err());
}

async fn token_service(client: &Client, form: &str) -> Reply {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    client.send("POST", "/", &headers, form.as_bytes()).await
}

/// A client with the credentials in an answer of the token service.
struct Session {
    client: Client,
    token: String,
}

impl Session {
    fn of(reply: &Reply, client: &Client) -> Self {
        let element = |name| reply.element(name).unwrap_or_else(|| panic!("{name} in {}", reply.text()));
        let (access_key, secret) = (element("AccessKeyId"), element("SecretAccessKey"));
        Self { client: Client { access_key, secret, ..client.clone() }, token: element("SessionToken") }
    }

    async fn send(&self, method: &str, target: &str, body: &[u8]) -> Reply {
        self.client.send(method, target, &[("x-amz-security-token", self.token.as_str())], body).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn temporary_credentials_work_with_their_own_token_alone() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/key", b"x").await.expect(200);
    let reply = token_service(client, "Action=GetSessionToken&Version=2011-06-15").await.expect(200);
    let session = Session::of(&reply, client);
    session.send("GET", "/bucket/key", b"").await.expect(200);
    session.send("PUT", "/bucket/key", b"y").await.expect(200);
    session.client.get("/bucket/key").await.expect_error(400, "InvalidToken");
    let again = token_service(client, "Action=GetSessionToken&Version=2011-06-15").await.expect(200);
    let swapped = Session { token: Session::of(&again, client).token, client: session.client.clone() };
    swapped.send("GET", "/bucket/key", b"").await.expect_error(400, "InvalidToken");
    let with_token = [("x-amz-security-token", session.token.as_str())];
    client.send("GET", "/bucket/key", &with_token, b"").await.expect_error(400, "InvalidToken");
    let theirs = token_service(&service.other, "Action=GetSessionToken&Version=2011-06-15").await.expect(200);
    let theirs = Session::of(&theirs, client);
    theirs.send("GET", "/bucket/key", b"").await.expect_error(403, "AccessDenied");
    let forged = Client { access_key: "ASIAAAAAAAAAAAAAAAAA".into(), ..client.clone() };
    forged.get("/bucket/key").await.expect_error(403, "SignatureDoesNotMatch");
    // A session ends with the key it was made with.
    service.accounts.revoke_key(&client.access_key).await.unwrap();
    session.send("GET", "/bucket/key", b"").await.expect_error(403, "InvalidAccessKeyId");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_expires() {
    let service = Service::start().await;
    let credential = service.accounts.lookup(&service.client.access_key).await.unwrap().unwrap();
    let made = service.accounts.create_session(&credential, NewSession::default()).await.unwrap();
    let session = Session {
        client: Client {
            access_key: made.access_key_id.clone(),
            secret: made.secret_access_key.expose().to_owned(),
            ..service.client.clone()
        },
        token: made.session_token.expose().to_owned(),
    };
    session.send("GET", "/bucket", b"").await.expect_error(400, "ExpiredToken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assumed_role_is_narrowed_down_by_its_policy() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/key", b"x").await.expect(200);
    let assume = |role: &str, policy: &str| {
        let escaped: String = form_urlencoded_pair(policy);
        format!(
            "Action=AssumeRole&Version=2011-06-15&RoleArn={role}&RoleSessionName=me-1&DurationSeconds=900&Policy={escaped}"
        )
    };
    let own = format!("arn:aws:iam::{}:role/reader", service.account);
    let reply = token_service(client, &assume(&own, READ_ONLY)).await.expect(200);
    assert_eq!(
        reply.element("Arn"),
        Some(format!("arn:aws:sts::{}:assumed-role/reader/me-1", service.account))
    );
    let session = Session::of(&reply, client);
    session.send("GET", "/bucket/key", b"").await.expect(200);
    session.send("PUT", "/bucket/key", b"y").await.expect_error(403, "AccessDenied");
    session.send("PUT", "/new", b"").await.expect_error(403, "AccessDenied");
    let theirs = assume("arn:aws:iam::00000000000000000000000000000000:role/x", READ_ONLY);
    token_service(client, &theirs).await.expect_error(403, "AccessDenied");
    token_service(client, &assume(&own, "{")).await.expect_error(400, "MalformedPolicyDocument");
    let short = assume(&own, READ_ONLY).replace("DurationSeconds=900", "DurationSeconds=5");
    token_service(client, &short).await.expect_error(400, "ValidationError");
    token_service(client, "Action=Anything").await.expect_error(400, "InvalidAction");
    let identity = token_service(client, "Action=GetCallerIdentity&Version=2011-06-15").await.expect(200);
    assert_eq!(identity.element("Account"), Some(service.account.to_string()));
    let form = "Action=GetSessionToken&Version=2011-06-15";
    let unsigned = anonymous_form(client, form).await;
    assert_eq!(unsigned.status, 403, "{}", unsigned.text());
}

fn form_urlencoded_pair(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

async fn anonymous_form(client: &Client, form: &str) -> Reply {
    let form_type = [("content-type", "application/x-www-form-urlencoded")];
    client.send_unsigned("POST", "/", &form_type, form.as_bytes()).await
}
