//! What is counted of every request, by its operation.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use metrics::{Counter, Histogram};

/// The metrics of all operations seen so far. Looking them up by their labels would cost each request a microsecond.
#[derive(Default)]
pub(super) struct Counters {
    by_operation: RwLock<HashMap<String, Arc<Operation>>>,
}

/// Those of one.
struct Operation {
    seconds: Histogram,
    answers: [OnceLock<Counter>; StatusClass::ALL.len()],
}

/// The hundred that a status is of.
#[derive(Debug, Clone, Copy)]
enum StatusClass {
    Success,
    Redirection,
    ClientError,
    ServerError,
}

impl StatusClass {
    const ALL: [Self; 4] = [Self::Success, Self::Redirection, Self::ClientError, Self::ServerError];

    const fn of(status: u16) -> Self {
        match status {
            ..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

/// The hundred that a status is of, as metrics name it.
pub fn status_class(status: u16) -> &'static str {
    StatusClass::of(status).name()
}

impl Counters {
    /// Counts a request that was answered after so many seconds.
    pub(super) fn count(&self, operation: &str, status: u16, seconds: f64) {
        let of_operation = self.of(operation);
        of_operation.seconds.record(seconds);
        let class = StatusClass::of(status);
        let answers = of_operation.answers[class as usize].get_or_init(|| {
            let operation = operation.to_owned();
            metrics::counter!("datamesh_s3_requests_total", "operation" => operation, "status" => class.name())
        });
        answers.increment(1);
    }

    fn of(&self, operation: &str) -> Arc<Operation> {
        let known = self.by_operation.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(operation) {
            return Arc::clone(known);
        }
        drop(known);
        let mut all = self.by_operation.write().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let name = operation.to_owned();
            let seconds = metrics::histogram!("datamesh_s3_request_seconds", "operation" => name);
            Arc::new(Operation { seconds, answers: Default::default() })
        };
        Arc::clone(all.entry(operation.to_owned()).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_counted_by_their_hundred() {
        for (status, name) in
            [(100, "2xx"), (200, "2xx"), (304, "3xx"), (403, "4xx"), (499, "4xx"), (503, "5xx"), (999, "5xx")]
        {
            assert_eq!(status_class(status), name, "{status}");
        }
        for (index, class) in StatusClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, index);
        }
    }

    #[test]
    fn an_operation_has_one_set_of_metrics() {
        let counters = Counters::default();
        for _ in 0..2 {
            counters.count("GetObject", 200, 0.1);
            counters.count("PutObject", 500, 0.1);
        }
        assert_eq!(counters.by_operation.read().unwrap().len(), 2);
        assert!(Arc::ptr_eq(&counters.of("GetObject"), &counters.of("GetObject")));
    }
}
