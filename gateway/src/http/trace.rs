//! What is known of a request while it runs, and how it ended.

use std::error::Error;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use datamesh_accounts::{Admission, Effect};
use http::{Response, StatusCode};

/// What a request is called in metrics when it was refused before it was known to be an operation.
const REFUSED: &str = "refused";

/// What is known of a request while it runs. The operations find it in the request's extensions.
pub struct RequestTrace {
    id: String,
    operation: OnceLock<String>,
    /// Why the request failed, where S3's answer must not say it.
    cause: OnceLock<String>,
    /// The client waits for "100 Continue" before it sends the body, and nobody has asked for the body yet.
    body_held_back: AtomicBool,
    received_len: AtomicU64,
    sent_len: AtomicU64,
    /// The request may do what it asks, and its document is being read.
    input_pending: AtomicBool,
    peer: Peer,
    start: Instant,
    answer: OnceLock<Answer>,
    observer: OnceLock<Observer>,
    /// At whose expense it runs, and what it does as far as holds care.
    admission: OnceLock<(Admission, Effect)>,
    /// The declared length of the body has been taken of somebody's quota.
    body_len_taken: AtomicBool,
}

/// Told once a request is over, however it ended.
pub type Observer = Box<dyn FnOnce(Ended) + Send + Sync>;

/// What an answer says before its body.
struct Answer {
    status: StatusCode,
    error: Option<String>,
    version: Option<String>,
    turnaround: Duration,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Whether what it sends is encrypted.
    pub encrypted: bool,
}

impl RequestTrace {
    pub(super) fn new(id: String, body_held_back: bool, peer: Peer) -> Self {
        Self {
            id,
            peer,
            body_held_back: AtomicBool::new(body_held_back),
            operation: OnceLock::new(),
            cause: OnceLock::new(),
            received_len: AtomicU64::new(0),
            sent_len: AtomicU64::new(0),
            input_pending: AtomicBool::new(false),
            start: Instant::now(),
            answer: OnceLock::new(),
            observer: OnceLock::new(),
            admission: OnceLock::new(),
            body_len_taken: AtomicBool::new(false),
        }
    }

    /// Admits the request. The first admission stays.
    pub fn admit(&self, admission: Admission, effect: Effect) -> &Admission {
        &self.admission.get_or_init(|| (admission, effect)).0
    }

    /// At whose expense it runs.
    pub fn admission(&self) -> Option<&Admission> {
        self.admission.get().map(|(admission, _)| admission)
    }

    /// What it does, once it is admitted.
    pub fn effect(&self) -> Option<Effect> {
        self.admission.get().map(|(_, effect)| *effect)
    }

    /// True for the first caller.
    pub fn take_body_len(&self) -> bool {
        !self.body_len_taken.swap(true, Ordering::Relaxed)
    }

    /// Wants to be told how the request ends. The first to ask is.
    pub fn observe(&self, observer: Observer) {
        self.observer.get_or_init(|| observer);
    }

    /// Keeps what the answer says, if anybody wants to be told.
    pub(super) fn answered(&self, response: &Response<s3s::Body>) {
        if self.observer.get().is_none() {
            return;
        }
        let status = response.status();
        let failed = status.is_client_error() || status.is_server_error();
        let error = failed.then(|| error_code(response.body())).flatten();
        let version = response.headers().get("x-amz-version-id").and_then(|id| id.to_str().ok());
        let version = version.map(str::to_owned);
        let turnaround = self.start.elapsed();
        self.answer.get_or_init(|| Answer { status, error, version, turnaround });
    }

    /// From now on, until [`RequestTrace::input_read`], a failure is the request's document's.
    pub fn input_awaited(&self) {
        self.input_pending.store(true, Ordering::Relaxed);
    }

    /// Whether the operation has not begun.
    pub(super) fn is_input_awaited(&self) -> bool {
        self.input_pending.load(Ordering::Relaxed)
    }

    /// The operation begins.
    pub fn input_read(&self) {
        self.input_pending.store(false, Ordering::Relaxed);
    }

    /// Where the request came from.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// What the client sees as `x-amz-request-id`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Names the S3 operation. The first name stays.
    pub fn set_operation(&self, name: &str) {
        self.operation.get_or_init(|| name.to_owned());
    }

    /// Keeps why the request failed for the log. The first cause stays.
    pub fn set_cause(&self, error: &(dyn Error + 'static)) {
        self.cause.get_or_init(|| chain(error));
    }

    pub(super) fn operation(&self) -> &str {
        self.operation.get().map_or(REFUSED, String::as_str)
    }

    /// Why the request failed, as far as anybody said.
    pub(super) fn cause(&self) -> Option<&str> {
        self.cause.get().map(String::as_str)
    }

    pub(super) fn is_body_held_back(&self) -> bool {
        self.body_held_back.load(Ordering::Relaxed)
    }

    /// Reading the body makes hyper send "100 Continue".
    pub(super) fn body_asked_for(&self) {
        self.body_held_back.store(false, Ordering::Relaxed);
    }

    pub(super) fn received(&self, len: usize) {
        self.received_len.fetch_add(len as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, len: usize) {
        self.sent_len.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// The answer broke off after its headers were out.
    pub(super) fn broken(&self, error: &(dyn Error + 'static)) {
        if let Some(admission) = self.admission() {
            admission.failed();
        }
        metrics::counter!("datamesh_s3_answers_broken_total", "operation" => self.operation().to_owned())
            .increment(1);
        tracing::error!(
            request_id = self.id,
            operation = self.operation(),
            cause = chain(error),
            "an answer broke off; closing the connection"
        );
    }
}

impl Drop for RequestTrace {
    fn drop(&mut self) {
        metrics::counter!("datamesh_s3_received_bytes_total").increment(*self.received_len.get_mut());
        metrics::counter!("datamesh_s3_sent_bytes_total").increment(*self.sent_len.get_mut());
        if let (Some(observer), Some(answer)) = (self.observer.take(), self.answer.take()) {
            observer(Ended {
                status: answer.status.as_u16(),
                error: answer.error,
                version: answer.version,
                received_len: *self.received_len.get_mut(),
                answer_len: *self.sent_len.get_mut(),
                total: self.start.elapsed(),
                turnaround: answer.turnaround,
            });
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The status.
    pub status: u16,
    /// S3's error code.
    pub error: Option<String>,
    /// The version that the answer names.
    pub version: Option<String>,
    /// Bytes of the request's body, as sent.
    pub received_len: u64,
    /// Bytes of the answer's body.
    pub answer_len: u64,
    /// From the request's headers to the end of the answer.
    pub total: Duration,
    /// To the answer's headers.
    pub turnaround: Duration,
}

/// The code in an error document.
fn error_code(document: &s3s::Body) -> Option<String> {
    let document = document.bytes()?;
    let document = std::str::from_utf8(&document).ok()?;
    let (_, rest) = document.split_once("<Code>")?;
    Some(rest.split_once("</Code>")?.0.to_owned())
}

/// An error and its sources on one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Many errors already print their source.
        let part = error.to_string();
        if !text.contains(&part) {
            let _ = write!(text, ": {part}");
        }
        source = error.source();
    }
    text
}
