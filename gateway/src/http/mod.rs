//! The S3 listener: connections, TLS, limits, and what every response carries.
//!
//! Nothing here knows a bucket. The promises:
//! - at most [`HttpConfig::connections_max`] connections are open and [`HttpConfig::requests_max`] requests run;
//!   a connection beyond the first waits in the kernel's queue, a request beyond the second gets `503 SlowDown`;
//! - a client that stalls (in its headers, in its body, or in reading an answer) loses its connection;
//! - every response carries `x-amz-request-id`, and every error body names it and the resource;
//! - after `stop` no connection is accepted, requests under way finish, and [`Server::run`] returns.

mod body;
mod connection;
mod counters;
mod deadline;
mod pacing;
mod request;
mod server;
mod tls;
mod trace;

pub(crate) use counters::status_class;
pub(crate) use request::DOCUMENT_LEN_MAX;
pub use request::Respond;
pub use server::{HttpConfig, Server};
pub use tls::{TlsError, load_tls};
pub use trace::{Ended, Observer, Peer, RequestTrace};
