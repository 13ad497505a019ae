//! One HTTP/1.1 connection at a time with AWS Signature Version 4: just what a load generator needs.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::net::TcpStream;

/// A request's body.
pub type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// A server and the credentials for it.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    host: String,
    access_key_id: String,
    secret_access_key: String,
    region: String,
    bucket: String,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    server: Server,
    sender: SendRequest<Body>,
}

impl Server {
    /// Checks the endpoint's form; nothing is sent yet.
    pub fn new(endpoint: &str, id: &str, secret: &str, region: &str, bucket: &str) -> Result<Self> {
        let host = endpoint.strip_prefix("http://").context("the endpoint must begin with http://")?;
        let shared = Shared {
            host: host.trim_end_matches('/').to_owned(),
            access_key_id: id.to_owned(),
            secret_access_key: secret.to_owned(),
            region: region.to_owned(),
            bucket: bucket.to_owned(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Creates the bucket, or finds that it is there.
    pub async fn create_bucket(&self) -> Result<()> {
        let mut connection = self.connect().await?;
        let answer = connection.send(Method::PUT, "", &[], &[], None).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(
            status.is_success() || status == 409,
            "creating the bucket: {status} {}",
            String::from_utf8_lossy(&body)
        );
        Ok(())
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(&self.shared.host)
            .await
            .with_context(|| format!("connecting to {}", self.shared.host))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::Builder::new().handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { server: self.clone(), sender })
    }
}

impl Connection {
    /// Sends a request for `key` (characters that need no escaping) and gives the answer's head.
    pub async fn send(
        &mut self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: Option<(u64, Body)>,
    ) -> Result<Response<Incoming>> {
        let shared = &self.server.shared;
        let path =
            if key.is_empty() { format!("/{}", shared.bucket) } else { format!("/{}/{key}", shared.bucket) };
        let query = canonical_query(query);
        let now = OffsetDateTime::now_utc();
        let signed = sign(shared, &method, &path, &query, headers, now)?;
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        let (len, body) = body.unwrap_or_else(|| (0, http_body_util::Empty::new().boxed_unsync()));
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", &shared.host)
            .header("x-amz-date", signed.date)
            .header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
            .header("authorization", signed.authorization)
            .header("content-length", len);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.sender.ready().await?;
        Ok(self.sender.send_request(request.body(body)?).await?)
    }

    /// Reads a whole body, handing each piece with its offset to `check`; a status other than success is an error.
    pub async fn read(
        answer: Response<Incoming>,
        mut check: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<u64> {
        let status = answer.status();
        let mut body = answer.into_body();
        let mut offset = 0;
        let mut message = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                if status.is_success() {
                    check(offset, &data)?;
                } else {
                    message.extend_from_slice(&data);
                }
                offset += data.len() as u64;
            }
        }
        if !status.is_success() {
            bail!("{status}: {}", String::from_utf8_lossy(&message));
        }
        Ok(offset)
    }
}

struct Signed {
    date: String,
    authorization: String,
}

/// AWS Signature Version 4 over an unsigned payload.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>
fn sign(
    shared: &Shared,
    method: &Method,
    path: &str,
    query: &str,
    extra: &[(&str, &str)],
    now: OffsetDateTime,
) -> Result<Signed> {
    let date = now.format(format_description!("[year][month][day]T[hour][minute][second]Z"))?;
    let day = &date[..8];
    let mut headers: Vec<(&str, &str)> =
        vec![("host", &shared.host), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), ("x-amz-date", &date)];
    headers.extend(extra.iter().filter(|(name, _)| name.starts_with("x-amz-")));
    headers.sort_unstable();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let mut canonical = format!("{method}\n{path}\n{query}\n");
    for (name, value) in &headers {
        writeln!(canonical, "{name}:{value}")?;
    }
    write!(canonical, "\n{names}\nUNSIGNED-PAYLOAD")?;
    let scope = format!("{day}/{}/s3/aws4_request", shared.region);
    let hash = hex::encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hash}");
    let mut key = hmac_sha256(format!("AWS4{}", shared.secret_access_key).as_bytes(), day);
    for part in [shared.region.as_str(), "s3", "aws4_request"] {
        key = hmac_sha256(key.as_ref(), part);
    }
    let signature = hex::encode(hmac_sha256(key.as_ref(), &to_sign));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        shared.access_key_id
    );
    Ok(Signed { date, authorization })
}

fn hmac_sha256(key: &[u8], message: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes())
}

fn canonical_query(query: &[(&str, &str)]) -> String {
    let mut query = query.to_vec();
    query.sort_unstable();
    let escape = |text: &str| {
        text.bytes().fold(String::new(), |mut out, byte| {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
                _ => _ = write!(out, "%{byte:02X}"),
            }
            out
        })
    };
    query
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect::<Vec<_>>()
        .join("&")
}
