//! The gateway's admin interface, over HTTP with a bearer token.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures::{Stream, TryStreamExt};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::exit::Failure;
use crate::flags::Flags;

/// The longest line that is accepted from a stream.
const LINE_LEN_MAX: usize = 4 << 20;

/// `admin.json`: where a gateway's admin listener is, and the token that opens it.
#[derive(Deserialize)]
struct Access {
    endpoint: String,
    token: String,
}

/// Error bodies look like `{"error": {"code": ..., "message": ...}}`.
#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Deserialize)]
struct ErrorDetail {
    message: String,
}

/// A connection to one gateway.
pub struct Client {
    http: reqwest::Client,
    endpoint: Url,
    token: String,
    flags: Flags,
}

impl Client {
    /// The gateway whose data directory this is. What `flags` say goes with every request that changes something.
    pub fn for_data_dir(data_dir: &Path, flags: &Flags) -> Result<Self, Failure> {
        let file = data_dir.join("admin.json");
        let text = std::fs::read_to_string(&file).map_err(|error| Failure::Usage {
            message: format!("{}: {error}; --data-dir must name a gateway's data directory", file.display()),
        })?;
        let malformed = || format!("{} is malformed", file.display());
        let access: Access = serde_json::from_str(&text).with_context(malformed)?;
        let endpoint = access.endpoint.parse().with_context(malformed)?;
        // Repair passes and checks run for as long as they need; only connecting has a limit.
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(10))
            .build()
            .context("cannot set up the HTTP client")?;
        Ok(Self { http, endpoint, token: access.token, flags: flags.clone() })
    }

    /// What goes with every request that changes something.
    pub const fn flags(&self) -> &Flags {
        &self.flags
    }

    /// `GET` of the path made of `segments`.
    pub async fn get(&self, segments: &[&str]) -> Result<Value, Failure> {
        read(self.send(self.request(Method::GET, segments)?).await?).await
    }

    /// `GET` that is answered by a stream of JSON documents, one a line.
    pub async fn get_streaming(
        &self,
        segments: &[&str],
    ) -> Result<impl Stream<Item = Result<Value, Failure>> + use<>, Failure> {
        let response = self.send(self.request(Method::GET, segments)?).await?;
        Ok(futures::stream::try_unfold((response, Vec::new()), next_line))
    }

    /// `GET` of the path made of `segments`, with those parameters that have a value.
    pub async fn query(
        &self,
        segments: &[&str],
        parameters: &[(&str, Option<&str>)],
    ) -> Result<Value, Failure> {
        let mut url = self.url(segments)?;
        let given = parameters.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        url.query_pairs_mut().extend_pairs(given);
        read(self.send(self.http.request(Method::GET, url).bearer_auth(&self.token)).await?).await
    }

    /// `DELETE` of the path made of `segments`.
    pub async fn delete(&self, segments: &[&str]) -> Result<Value, Failure> {
        read(self.send(self.change(Method::DELETE, segments)?).await?).await
    }

    /// `POST` of a JSON body.
    pub async fn post(&self, segments: &[&str], body: &Value) -> Result<Value, Failure> {
        read(self.send(self.change(Method::POST, segments)?.json(body)).await?).await
    }

    /// `POST` that is answered by bytes.
    pub async fn post_for_bytes(&self, segments: &[&str]) -> Result<Response, Failure> {
        self.send(self.change(Method::POST, segments)?).await
    }

    /// `PUT` of a JSON body.
    pub async fn put(&self, segments: &[&str], body: &Value) -> Result<Value, Failure> {
        read(self.send(self.change(Method::PUT, segments)?.json(body)).await?).await
    }

    /// `POST` that is answered by a stream of JSON documents, one a line.
    pub async fn post_streaming(
        &self,
        segments: &[&str],
        body: &Value,
    ) -> Result<impl Stream<Item = Result<Value, Failure>> + use<>, Failure> {
        let response = self.send(self.change(Method::POST, segments)?.json(body)).await?;
        Ok(futures::stream::try_unfold((response, Vec::new()), next_line))
    }

    fn change(&self, method: Method, segments: &[&str]) -> Result<RequestBuilder, Failure> {
        Ok(self.request(method, segments)?.headers(self.flags.headers()?))
    }

    fn request(&self, method: Method, segments: &[&str]) -> Result<RequestBuilder, Failure> {
        Ok(self.http.request(method, self.url(segments)?).bearer_auth(&self.token))
    }

    fn url(&self, segments: &[&str]) -> Result<Url, Failure> {
        let mut url = self.endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow!("{} cannot be an endpoint", self.endpoint))?
            .pop_if_empty()
            .extend(["v1"].iter().chain(segments));
        Ok(url)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request
            .send()
            .await
            .with_context(|| format!("the gateway at {} cannot be reached", self.endpoint))?;
        if response.status().is_success() { Ok(response) } else { Err(failure(response).await) }
    }
}

async fn read(response: Response) -> Result<Value, Failure> {
    let body = response.bytes().await.context("the gateway's answer broke off")?;
    if body.is_empty() {
        return Ok(Value::Null);
    }
    Ok(serde_json::from_slice(&body).context("the gateway's answer is not JSON")?)
}

async fn failure(response: Response) -> Failure {
    let status = response.status();
    let message = match response.json::<ErrorBody>().await {
        Ok(body) => body.error.message,
        Err(_) => format!("the gateway answered {status}"),
    };
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Denied { message },
        StatusCode::CONFLICT => Failure::Conflict { message },
        status if status.is_client_error() => Failure::Usage { message },
        _ => Failure::Failed(anyhow!(message)),
    }
}

type LineState = (Response, Vec<u8>);

async fn next_line((mut response, mut buffer): LineState) -> Result<Option<(Value, LineState)>, Failure> {
    loop {
        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let value = serde_json::from_slice(&line).context("the gateway's answer is not JSON")?;
            return Ok(Some((value, (response, buffer))));
        }
        if buffer.len() > LINE_LEN_MAX {
            return Err(anyhow!("the gateway's answer has a line of more than {LINE_LEN_MAX} bytes").into());
        }
        match response.chunk().await.context("the gateway's answer broke off")? {
            Some(chunk) => buffer.extend_from_slice(&chunk),
            None if buffer.is_empty() => return Ok(None),
            None => return Err(anyhow!("the gateway's answer broke off in the middle of a line").into()),
        }
    }
}

/// Runs `each` on every document of a stream.
pub async fn for_each(
    stream: impl Stream<Item = Result<Value, Failure>>,
    mut each: impl FnMut(Value),
) -> Result<(), Failure> {
    let mut stream = std::pin::pin!(stream);
    while let Some(value) = stream.try_next().await? {
        each(value);
    }
    Ok(())
}
