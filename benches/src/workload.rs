//! One measurement: an operation over a set of objects and a number of connections.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::ValueEnum;
use futures::stream;
use http::Method;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::data::{Generator, Kind, PIECE};
use crate::s3::{Body, Connection, Server};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    Put,
    Get,
    Delete,
    /// Pages of 1,000 keys from random positions.
    List,
}

impl Operation {
    /// The name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "PUT",
            Self::Get => "GET",
            Self::Delete => "DELETE",
            Self::List => "LIST",
        }
    }
}

/// The objects and how they are driven.
#[derive(Debug, Clone)]
pub struct Workload {
    pub server: Server,
    pub prefix: String,
    pub storage_class: Option<String>,
    pub data: Kind,
    pub size: u64,
    pub objects: usize,
    pub connections: usize,
}

/// What a measurement gave.
#[derive(Debug)]
pub struct Outcome {
    pub elapsed: Duration,
    /// Sorted.
    pub latencies: Vec<Duration>,
}

impl Outcome {
    /// The latency that a share `quantile` of the requests did not exceed.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * quantile).round() as usize).copied().unwrap_or_default()
    }
}

impl Workload {
    /// A listing of `keys` keys.
    pub fn list(server: Server, keys: usize, connections: usize) -> Self {
        Self {
            server,
            prefix: format!("list-{keys}"),
            storage_class: None,
            data: Kind::Unique,
            size: 0,
            objects: keys,
            connections,
        }
    }

    /// Puts the keys of a listing, unless the last one is there already.
    pub async fn fill(&self) -> Result<()> {
        let mut connection = self.server.connect().await?;
        let last = self.key(self.objects as u64 - 1);
        let found = connection.send(Method::HEAD, &last, &[], &[], None).await?.status().is_success();
        if !found {
            let filler = Self { connections: 16, ..self.clone() };
            filler.run(Operation::Put).await?;
        }
        Ok(())
    }

    /// Runs `operation` once for each object; LIST fetches 200 pages.
    pub async fn run(&self, operation: Operation) -> Result<Outcome> {
        let generator = Generator::new(self.data, &self.prefix);
        let count = if operation == Operation::List { 200.max(self.connections * 2) } else { self.objects };
        let next = Rc::new(Cell::new(0_u64));
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(self.server.connect().await?);
        }
        let start = Instant::now();
        let workers = connections.into_iter().map(|mut connection| {
            let (next, generator) = (next.clone(), &generator);
            async move {
                let mut latencies = Vec::new();
                loop {
                    let object = next.get();
                    if object >= count as u64 {
                        return Ok::<_, anyhow::Error>(latencies);
                    }
                    next.set(object + 1);
                    let began = Instant::now();
                    self.once(operation, &mut connection, generator, object)
                        .await
                        .with_context(|| format!("{} {}", operation.name(), self.key(object)))?;
                    latencies.push(began.elapsed());
                }
            }
        });
        let mut latencies = futures::future::try_join_all(workers).await?.concat();
        let elapsed = start.elapsed();
        latencies.sort_unstable();
        Ok(Outcome { elapsed, latencies })
    }

    fn key(&self, object: u64) -> String {
        format!("{}/{object:09}", self.prefix)
    }

    async fn once(
        &self,
        operation: Operation,
        connection: &mut Connection,
        generator: &Generator,
        object: u64,
    ) -> Result<()> {
        let key = self.key(object);
        match operation {
            Operation::Put => {
                let class: Vec<_> =
                    self.storage_class.iter().map(|class| ("x-amz-storage-class", class.as_str())).collect();
                let body = self.body(generator.clone(), object);
                let answer = connection.send(Method::PUT, &key, &[], &class, Some((self.size, body))).await?;
                Connection::read(answer, |_, _| Ok(())).await?;
            }
            Operation::Get => {
                let answer = connection.send(Method::GET, &key, &[], &[], None).await?;
                let len = Connection::read(answer, |offset, bytes| {
                    ensure!(generator.matches(object, offset, bytes), "wrong bytes at {offset}");
                    Ok(())
                })
                .await?;
                ensure!(len == self.size, "{len} bytes instead of {}", self.size);
            }
            Operation::Delete => {
                let answer = connection.send(Method::DELETE, &key, &[], &[], None).await?;
                Connection::read(answer, |_, _| Ok(())).await?;
            }
            Operation::List => {
                // Positions all over the bucket, the same ones in each run.
                let after =
                    self.key(object.wrapping_mul(7919) % (self.objects as u64).saturating_sub(1001).max(1));
                let query = [("list-type", "2"), ("max-keys", "1000"), ("start-after", after.as_str())];
                let answer = connection.send(Method::GET, "", &query, &[], None).await?;
                let mut page = Vec::new();
                Connection::read(answer, |_, bytes| {
                    page.extend_from_slice(bytes);
                    Ok(())
                })
                .await?;
                let keys = page.windows(5).filter(|window| window == b"<Key>").count();
                ensure!(keys == 1000.min(self.objects), "{keys} keys on the page");
            }
        }
        Ok(())
    }

    fn body(&self, generator: Generator, object: u64) -> Body {
        let size = self.size;
        let pieces = (0..size.div_ceil(PIECE as u64)).map(move |piece| {
            let len = (size - piece * PIECE as u64).min(PIECE as u64) as usize;
            Ok::<_, std::convert::Infallible>(Frame::<Bytes>::data(generator.piece(object, piece, len)))
        });
        StreamBody::new(stream::iter(pieces)).boxed_unsync()
    }
}
