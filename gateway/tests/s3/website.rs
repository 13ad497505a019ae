//! Websites, over their own listener.

use datamesh_accounts::{Dimension, HoldKind, HoldScope, NewHold, Owner};
use datamesh_gateway::http::{HttpConfig, Server};
use datamesh_gateway::s3::{ServiceConfig, service};
use datamesh_gateway::website::WebsiteService;
use tokio_util::sync::CancellationToken;

use crate::client::{Reply, exchange};
use crate::service::Service;

/// Anybody may read, and be told what is missing.
const PUBLIC: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",
    "Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}]}"#;

struct Site {
    service: Service,
    address: std::net::SocketAddr,
    stop: CancellationToken,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Site {
    async fn start(configuration: &str) -> Self {
        let started = Service::start().await;
        let website = WebsiteService {
            gateway: started.gateway.clone(),
            objects: service(started.gateway.clone(), ServiceConfig::default()),
            domains: vec!["site.test".to_owned()],
            encrypted: false,
        };
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), None, HttpConfig::default()).await.unwrap();
        let (address, stop) = (server.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(server.run(website, stop.clone()));
        let document = format!("<WebsiteConfiguration>{configuration}</WebsiteConfiguration>");
        started.client.put("/bucket?website=", document.as_bytes()).await.expect(200);
        Self { service: started, address, stop }
    }

    async fn publish(&self) {
        self.service.client.put("/bucket?policy=", PUBLIC.as_bytes()).await.expect(204);
    }

    async fn put(&self, key: &str, headers: &[(&str, &str)], body: &str) {
        self.service
            .client
            .send("PUT", &format!("/bucket/{key}"), headers, body.as_bytes())
            .await
            .expect(200);
    }

    async fn visit(&self, method: &str, host: &str, path: &str) -> Reply {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        exchange(self.address, request.as_bytes()).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.visit("GET", "bucket.site.test", path).await
    }
}

const PAGES: &str = "<IndexDocument><Suffix>index.html</Suffix></IndexDocument>\
     <ErrorDocument><Key>error.html</Key></ErrorDocument>";

#[tokio::test]
async fn a_site_shows_its_pages_its_index_and_its_error_page() {
    let site = Site::start(PAGES).await;
    site.publish().await;
    site.put("index.html", &[("content-type", "text/html")], "home").await;
    site.put("docs/index.html", &[], "docs").await;
    site.put("a%20b", &[], "page").await;
    site.put("error.html", &[], "sorry").await;
    let home = site.get("/").await.expect(200);
    assert_eq!((home.text().as_str(), home.header("content-type")), ("home", Some("text/html")));
    assert_eq!(site.get("/docs/").await.expect(200).text(), "docs");
    assert_eq!(site.get("/a%20b").await.expect(200).text(), "page");
    assert_eq!(site.visit("HEAD", "bucket.site.test", "/").await.status, 200);
    assert_eq!(site.get("/docs").await.expect(302).header("location"), Some("/docs/"));
    assert_eq!(site.get("/missing").await.expect(404).text(), "sorry");
    assert_eq!(
        site.visit("GET", "bucket", "/").await.expect(200).text(),
        "home",
        "the host may be the bucket"
    );
    site.visit("GET", "nowhere.site.test", "/").await.expect(404);
    site.visit("POST", "bucket.site.test", "/").await.expect(405);
}

#[tokio::test]
async fn a_site_shows_nothing_that_is_not_public() {
    let site = Site::start(PAGES).await;
    site.put("index.html", &[], "secret").await;
    let refused = site.get("/").await.expect(403);
    assert!(!refused.text().contains("secret"));
    site.publish().await;
    assert_eq!(site.get("/").await.expect(200).text(), "secret");
    site.service.client.delete("/bucket?website=").await.expect(204);
    site.get("/").await.expect(404);
}

#[tokio::test]
async fn a_site_keeps_to_the_limits_holds_and_rules_of_its_bucket() {
    let site = Site::start(PAGES).await;
    let (service, client) = (&site.service, &site.service.client);
    let only_from = PUBLIC.replace(
        "\"Resource\"",
        "\"Condition\":{\"StringLike\":{\"aws:Referer\":\"https://pages.test/*\"}},\"Resource\"",
    );
    client.put("/bucket?policy=", only_from.as_bytes()).await.expect(204);
    let rules = "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod>\
         <AllowedOrigin>https://pages.test</AllowedOrigin></CORSRule></CORSConfiguration>";
    client.put("/bucket?cors=", rules.as_bytes()).await.expect(200);
    site.put("index.html", &[], "home").await;
    site.get("/").await.expect(403);
    let ask = |method: &str, header: &str| {
        let request = format!(
            "{method} / HTTP/1.1\r\nhost: bucket.site.test\r\nconnection: close\r\n\
             origin: https://pages.test\r\n{header}\r\n\r\n"
        );
        let address = site.address;
        async move { exchange(address, request.as_bytes()).await }
    };
    let referred = "referer: https://pages.test/a";
    let shown = ask("GET", referred).await.expect(200);
    assert_eq!(shown.header("access-control-allow-origin"), Some("https://pages.test"));
    assert_eq!(shown.text(), "home");
    ask("OPTIONS", "access-control-request-method: GET").await.expect(200);
    ask("OPTIONS", "access-control-request-method: PUT").await.expect(403);
    let owner = Owner::Account(service.account);
    let sent = service.used(&owner, Dimension::Egress).await.unwrap();
    ask("GET", referred).await.expect(200);
    assert!(service.used(&owner, Dimension::Egress).await.unwrap() >= sent + 4, "visits are traffic");
    service.limit(&owner, Dimension::Egress, 0).await;
    ask("GET", referred).await.expect(403);
    service.limit(&owner, Dimension::Egress, 1_000_000).await;
    ask("GET", referred).await.expect(200);
    let hold =
        NewHold { kind: HoldKind::Abuse, scope: HoldScope::Read, reason: "test".to_owned(), until_ms: None };
    service.accounts.hold(service.account, hold).await.unwrap();
    ask("GET", referred).await.expect(403);
}

#[tokio::test]
async fn rules_and_objects_send_visitors_elsewhere() {
    let rules = "<RoutingRules><RoutingRule><Condition><KeyPrefixEquals>old/</KeyPrefixEquals></Condition>\
         <Redirect><ReplaceKeyPrefixWith>new/</ReplaceKeyPrefixWith></Redirect></RoutingRule><RoutingRule>\
         <Condition><HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals></Condition><Redirect>\
         <HostName>archive.test</HostName><Protocol>https</Protocol><HttpRedirectCode>302</HttpRedirectCode>\
         </Redirect></RoutingRule></RoutingRules>";
    let site = Site::start(&format!("<IndexDocument><Suffix>i</Suffix></IndexDocument>{rules}")).await;
    site.publish().await;
    let moved = site.get("/old/a").await.expect(301);
    assert_eq!(moved.header("location"), Some("http://bucket.site.test/new/a"));
    assert_eq!(site.get("/gone").await.expect(302).header("location"), Some("https://archive.test/gone"));
    site.put("here", &[("x-amz-website-redirect-location", "/there")], "").await;
    assert_eq!(site.get("/here").await.expect(301).header("location"), Some("/there"));
}

#[tokio::test]
async fn a_site_can_be_sent_elsewhere_as_a_whole() {
    let all = "<RedirectAllRequestsTo><HostName>other.test</HostName><Protocol>https</Protocol>\
         </RedirectAllRequestsTo>";
    let site = Site::start(all).await;
    let moved = site.get("/a%20b?c=d").await.expect(301);
    assert_eq!(moved.header("location"), Some("https://other.test/a%20b?c=d"));
    let shown = site.service.client.get("/bucket?website=").await.expect(200).text();
    assert!(shown.contains("<HostName>other.test</HostName>"), "{shown}");
}

#[tokio::test]
async fn configurations_that_make_no_sense_are_refused() {
    let service = Service::start().await;
    let client = &service.client;
    let rule = |inside: &str| {
        format!(
            "<IndexDocument><Suffix>i</Suffix></IndexDocument><RoutingRules><RoutingRule>{inside}</RoutingRule></RoutingRules>"
        )
    };
    for configuration in [
        String::new(),
        "<IndexDocument><Suffix></Suffix></IndexDocument>".to_owned(),
        "<IndexDocument><Suffix>a/b</Suffix></IndexDocument>".to_owned(),
        "<RedirectAllRequestsTo><HostName>a b\r\nx: y</HostName></RedirectAllRequestsTo>".to_owned(),
        rule("<Redirect><HttpRedirectCode>200</HttpRedirectCode></Redirect>"),
        rule("<Redirect><Protocol>gopher</Protocol></Redirect>"),
        rule(
            "<Redirect><ReplaceKeyWith>a</ReplaceKeyWith><ReplaceKeyPrefixWith>b</ReplaceKeyPrefixWith></Redirect>",
        ),
    ] {
        let document = format!("<WebsiteConfiguration>{configuration}</WebsiteConfiguration>");
        let reply = client.put("/bucket?website=", document.as_bytes()).await;
        assert_eq!(reply.status, 400, "{configuration}: {}", reply.text());
    }
    client.get("/bucket?website=").await.expect_error(404, "NoSuchWebsiteConfiguration");
}
