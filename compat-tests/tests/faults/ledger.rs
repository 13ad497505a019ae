//! An S3 client that remembers what was acknowledged, and checks it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_sdk_s3::primitives::ByteStream;
use datamesh_compat_tests::{Credentials, unique_bytes};

/// What an object must be: the bytes that `unique_bytes` makes of a seed and a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    pub seed: u64,
    pub len: usize,
}

/// What may be found under a key.
#[derive(Debug, Clone, Default)]
struct Expected {
    /// The last acknowledged state; `None` is absent.
    acknowledged: Option<Content>,
    /// Writes without an answer: any of them may have taken effect.
    unanswered: Vec<Option<Content>>,
}

/// Writes through one endpoint and the account of what it said.
#[derive(Debug)]
pub struct Ledger {
    client: Client,
    bucket: String,
    expected: Mutex<BTreeMap<String, Expected>>,
}

/// A client that neither retries nor waits for long: a failure is seen as it is.
pub fn client(credentials: &Credentials) -> Client {
    let keys = aws_sdk_s3::config::Credentials::new(
        credentials.get("AWS_ACCESS_KEY_ID"),
        credentials.get("AWS_SECRET_ACCESS_KEY"),
        None,
        None,
        "credentials.env",
    );
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(credentials.get("AWS_REGION").to_owned()))
        .endpoint_url(credentials.endpoint())
        .credentials_provider(keys)
        .force_path_style(true)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_mins(2)).build())
        .build();
    Client::from_conf(config)
}

impl Ledger {
    /// Creates `bucket` and starts an empty account of it.
    pub async fn create(credentials: &Credentials, bucket: &str) -> Result<Self> {
        let client = client(credentials);
        client.create_bucket().bucket(bucket).send().await.context("creating the bucket")?;
        Ok(Self { client, bucket: bucket.to_owned(), expected: Mutex::default() })
    }

    /// The client, for what the ledger doesn't do.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Follows a gateway that came back on another port.
    pub fn reconnect(&mut self, credentials: &Credentials) {
        self.client = client(credentials);
    }

    /// Puts an object. An error is remembered as a write that may have happened.
    pub async fn put(&self, key: &str, content: Content) -> Result<()> {
        self.begin(key, Some(content));
        let body = ByteStream::from(unique_bytes(content.seed, content.len));
        let answer = self.client.put_object().bucket(&self.bucket).key(key).body(body).send().await;
        if answer.is_ok() {
            self.acknowledge(key, Some(content));
        }
        answer.map(drop).with_context(|| format!("PUT {key}"))
    }

    /// Deletes an object. An error is remembered as a delete that may have happened.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.begin(key, None);
        let answer = self.client.delete_object().bucket(&self.bucket).key(key).send().await;
        if answer.is_ok() {
            self.acknowledge(key, None);
        }
        answer.map(drop).with_context(|| format!("DELETE {key}"))
    }

    /// Reads every key: each is what was acknowledged last, or one of the writes that never got an answer.
    pub async fn verify(&self) -> Result<()> {
        let expected = self.expected.lock().expect("no test thread panics with it").clone();
        ensure!(!expected.is_empty(), "the test wrote nothing");
        for (key, expected) in expected {
            let got = self.read(&key).await?;
            let mut allowed = expected.unanswered.clone();
            allowed.push(expected.acknowledged);
            let matches = |content: &Option<Content>| match (content, &got) {
                (None, None) => true,
                (Some(content), Some(bytes)) => *bytes == unique_bytes(content.seed, content.len),
                _ => false,
            };
            let len = got.as_ref().map(Vec::len);
            ensure!(allowed.iter().any(matches), "{key}: found {len:?} bytes, expected one of {allowed:?}");
        }
        Ok(())
    }

    /// The object's bytes; `None` when there is none. Any other answer is an error.
    pub async fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(answer) => {
                let body = answer.body.collect().await.with_context(|| format!("the body of {key}"))?;
                Ok(Some(body.to_vec()))
            }
            Err(error) => match error.as_service_error() {
                Some(service) if service.is_no_such_key() => Ok(None),
                _ => bail!("GET {key}: {error:?}"),
            },
        }
    }

    fn begin(&self, key: &str, content: Option<Content>) {
        let mut expected = self.expected.lock().expect("no test thread panics with it");
        expected.entry(key.to_owned()).or_default().unanswered.push(content);
    }

    fn acknowledge(&self, key: &str, content: Option<Content>) {
        let mut expected = self.expected.lock().expect("no test thread panics with it");
        expected.insert(key.to_owned(), Expected { acknowledged: content, unanswered: Vec::new() });
    }
}
