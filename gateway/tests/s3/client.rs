//! A small S3 client: signs with Signature Version 4, sends exactly what it is told, keeps no connection.

use std::net::SocketAddr;

use aws_lc_rs::{digest, hmac};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const REGION: &str = "test-region";
pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub access_key: String,
    pub secret: String,
}

/// What came back. `complete` tells whether the body has the length that its headers promise; the status is 0 when the
/// connection broke before there was one.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub complete: bool,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text inside the first element of that name.
    pub fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    }

    /// The texts inside all elements of that name.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let text = self.text();
        let rests = text.split(&open).skip(1);
        rests.map(|rest| rest.split_once(&close).unwrap().0.to_owned()).collect()
    }

    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    pub fn expect_error(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.element("Code").as_deref()), (status, Some(code)), "{}", self.text());
        self
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn hmac_sha256(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

impl Client {
    pub async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.send_hashed(method, target, headers, body, &sha256(body)).await
    }

    /// Sends without a signature.
    pub async fn send_unsigned(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\n{lines}content-length: {}\r\nconnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        exchange(self.address, &[head.as_bytes(), body].concat()).await
    }

    /// Sends with the given `x-amz-content-sha256`.
    pub async fn send_hashed(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        hash: &str,
    ) -> Reply {
        let request = self.signed(method, target, headers, hash, body.len());
        exchange(self.address, &[request.as_bytes(), body].concat()).await
    }

    /// A signed request's head.
    pub fn signed(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        hash: &str,
        body_len: usize,
    ) -> String {
        self.signed_at(OffsetDateTime::now_utc(), method, target, headers, hash, body_len)
    }

    /// A request's head, signed at another time than now.
    pub fn signed_at(
        &self,
        time: OffsetDateTime,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        hash: &str,
        body_len: usize,
    ) -> String {
        let date = timestamp(time);
        let host = self.address.to_string();
        let mut all: Vec<(String, String)> =
            headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect();
        if !all.iter().any(|(name, _)| name == "host") {
            all.push(("host".into(), host));
        }
        all.push(("x-amz-date".into(), date.clone()));
        all.push(("x-amz-content-sha256".into(), hash.to_owned()));
        all.sort();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let signed_names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        let signed_names = signed_names.join(";");
        let lines: String = all.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let path = encoded(&decoded(path), &UNRESERVED_IN_PATHS);
        let canonical =
            format!("{method}\n{path}\n{}\n{lines}\n{signed_names}\n{hash}", canonical_query(query));
        let scope = format!("{}/{REGION}/s3/aws4_request", &date[..8]);
        let signature = self.signature(&date, &scope, &canonical);
        let mut request = format!("{method} {target} HTTP/1.1\r\n");
        for (name, value) in &all {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!(
            "authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed_names}, \
             Signature={signature}\r\ncontent-length: {body_len}\r\nconnection: close\r\n\r\n",
            self.access_key
        );
        request
    }

    /// A presigned URL's path and query.
    pub fn presigned(&self, method: &str, path: &str, age_seconds: i64, expires_seconds: u32) -> String {
        self.presigned_with(method, path, &[], age_seconds, expires_seconds)
    }

    /// The same for a target with a query, and for headers that have to be sent along.
    pub fn presigned_with(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        age_seconds: i64,
        expires_seconds: u32,
    ) -> String {
        let date = timestamp(OffsetDateTime::now_utc() - time::Duration::seconds(age_seconds));
        let scope = format!("{}/{REGION}/s3/aws4_request", &date[..8]);
        let credential = format!("{}/{scope}", self.access_key).replace('/', "%2F");
        let mut signed: Vec<(String, &str)> =
            headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value)).collect();
        let host = self.address.to_string();
        signed.push(("host".into(), &host));
        signed.sort();
        let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = canonical_query(&format!(
            "{query}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={date}&\
             X-Amz-Expires={expires_seconds}&X-Amz-SignedHeaders={}",
            names.join("%3B")
        ));
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{}\n{UNSIGNED}", names.join(";"));
        format!("{path}?{query}&X-Amz-Signature={}", self.signature(&date, &scope, &canonical))
    }

    fn signature(&self, date: &str, scope: &str, canonical: &str) -> String {
        self.sign(scope, &format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(canonical.as_bytes())))
    }

    /// Signs a text with the key of a scope.
    pub fn sign(&self, scope: &str, to_sign: &str) -> String {
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in scope.split('/') {
            key = hmac_sha256(&key, part);
        }
        hex::encode(hmac_sha256(&key, to_sign))
    }

    pub async fn get(&self, target: &str) -> Reply {
        self.send("GET", target, &[], b"").await
    }

    pub async fn put(&self, target: &str, body: &[u8]) -> Reply {
        self.send("PUT", target, &[], body).await
    }

    pub async fn head(&self, target: &str) -> Reply {
        self.send("HEAD", target, &[], b"").await
    }

    pub async fn delete(&self, target: &str) -> Reply {
        self.send("DELETE", target, &[], b"").await
    }
}

/// What stays as it is in the path of a canonical request.
const UNRESERVED_IN_PATHS: [u8; 5] = *b"-._~/";

/// Percent-encodes everything but letters, digits and `kept`.
pub fn encoded(bytes: &[u8], kept: &[u8]) -> String {
    let encode = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() || kept.contains(byte) => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    bytes.iter().map(encode).collect()
}

/// Takes percent-encoding off.
pub fn decoded(text: &str) -> Vec<u8> {
    let (first, escapes) = text.split_once('%').map_or((text, None), |(first, rest)| (first, Some(rest)));
    let mut bytes = first.as_bytes().to_vec();
    for escape in escapes.into_iter().flat_map(|rest| rest.split('%')) {
        bytes.push(u8::from_str_radix(&escape[..2], 16).unwrap());
        bytes.extend_from_slice(&escape.as_bytes()[2..]);
    }
    bytes
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    pairs.sort();
    pairs.join("&")
}

fn timestamp(time: OffsetDateTime) -> String {
    time.format(format_description!("[year][month][day]T[hour][minute][second]Z")).unwrap()
}

/// Sends `request` on a connection of its own and reads until that is closed.
pub async fn exchange(address: SocketAddr, request: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    // The service may answer before it has read the whole body.
    let (_, _) = tokio::join!(writer.write_all(request), reader.read_to_end(&mut answer));
    parse(&answer, request.starts_with(b"HEAD"))
}

fn parse(answer: &[u8], is_head: bool) -> Reply {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Reply { status: 0, headers: Vec::new(), body: Vec::new(), complete: false };
    };
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap_or_else(|| line.split_once(':').unwrap()))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut reply = Reply { status, headers, body: answer[end + 4..].to_vec(), complete: true };
    if reply.header("transfer-encoding") == Some("chunked") {
        (reply.body, reply.complete) = unchunk(&reply.body);
    } else if let Some(len) = reply.header("content-length").filter(|_| !is_head && status != 304) {
        reply.complete = len.parse::<usize>().unwrap() == reply.body.len();
    }
    reply
}

fn unchunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let len = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if len == 0 {
            return (body, true);
        }
        let Some(chunk) = rest.get(end + 2..end + 2 + len) else { break };
        body.extend_from_slice(chunk);
        rest = rest.get(end + 4 + len..).unwrap_or_default();
    }
    (body, false)
}
