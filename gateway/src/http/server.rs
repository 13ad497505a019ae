//! Accepting connections, and draining them at the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Connection};
use super::request::{RequestHandler, Respond};

/// The limits of a listener.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Open connections. Further ones wait in the kernel's accept queue.
    pub connections_max: usize,
    /// Requests under way. Further ones are answered `503 SlowDown`.
    pub requests_max: usize,
    /// How long a client may take to send a request's headers, and how long a connection may idle between two.
    pub header_timeout: Duration,
    /// How long a request body may stand still, and how long a client may leave an answer unread.
    pub body_idle_timeout: Duration,
    /// How long requests under way may take to finish once the listener stops.
    pub drain_timeout: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            requests_max: 512,
            header_timeout: Duration::from_mins(1),
            body_idle_timeout: Duration::from_mins(1),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// A bound S3 listener.
pub struct Server {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    config: HttpConfig,
}

impl Server {
    /// Listens on `address`. With `tls`, only HTTPS is spoken (HTTP/1.1 and HTTP/2), else only HTTP/1.1.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        config: HttpConfig,
    ) -> Result<Self, io::Error> {
        Ok(Self { listener: TcpListener::bind(address).await?, tls, config })
    }

    /// The address that it listens on; the port is the one the system chose when the configured one was 0.
    pub fn local_addr(&self) -> Result<SocketAddr, io::Error> {
        self.listener.local_addr()
    }

    /// Serves until `stop`, then drains: returns when every request under way is answered or
    /// [`HttpConfig::drain_timeout`] has passed, whichever is first.
    pub async fn run(self, service: impl Respond, stop: CancellationToken) {
        let handler = Arc::new(RequestHandler::new(service, &self.config));
        let permits = Arc::new(Semaphore::new(self.config.connections_max));
        let tasks = TaskTracker::new();
        while let Some((stream, permit)) = self.accept(&permits, &stop).await {
            let connection = Connection {
                stream,
                tls: self.tls.clone(),
                handler: Arc::clone(&handler),
                header_timeout: self.config.header_timeout,
                write_timeout: self.config.body_idle_timeout,
                stop: stop.clone(),
            };
            tasks.spawn(async move {
                connection::serve(connection).await;
                drop(permit);
            });
        }
        tasks.close();
        drop(self.listener);
        if tokio::time::timeout(self.config.drain_timeout, tasks.wait()).await.is_err() {
            tracing::warn!(connections = tasks.len(), "closed connections that did not drain in time");
        }
    }

    /// The next connection and its permit, or `None` once stopped.
    async fn accept(
        &self,
        permits: &Arc<Semaphore>,
        stop: &CancellationToken,
    ) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        loop {
            let accepting = async {
                let permit = Arc::clone(permits).acquire_owned().await;
                let permit = permit.expect("the semaphore of connections is never closed");
                (self.listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                () = stop.cancelled() => return None,
                accepted = accepting => accepted,
            };
            match accepted {
                Ok((stream, _)) => return Some((stream, permit)),
                Err(error) => {
                    // Out of descriptors, or a client that left at once: neither may stop the listener.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }
}
