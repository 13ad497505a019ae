//! The table.

use std::time::Duration;

use datamesh_types::format_bytes;

use crate::process::Cost;
use crate::workload::{Operation, Outcome, Workload};

/// Prints rows as they come.
#[derive(Debug)]
pub struct Report {
    separator: &'static str,
}

const COLUMNS: [&str; 12] = [
    "operation",
    "data",
    "size",
    "connections",
    "requests/s",
    "MB/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "CPU-s/GB",
    "peak MiB",
    "raw/logical",
];

impl Report {
    /// Prints the head of the table.
    pub fn start(csv: bool) -> Self {
        let report = Self { separator: if csv { "," } else { " | " } };
        report.row(&COLUMNS.map(str::to_owned));
        if !csv {
            report.row(&COLUMNS.map(|column| "-".repeat(column.len())));
        }
        report
    }

    /// Prints one measurement.
    pub fn add(&self, operation: Operation, workload: &Workload, outcome: &Outcome, cost: &Cost) {
        let seconds = outcome.elapsed.as_secs_f64();
        let bytes = (outcome.latencies.len() as u64 * workload.size) as f64;
        let moves_bytes = matches!(operation, Operation::Put | Operation::Get);
        let when = |condition: bool, text: String| if condition { text } else { "-".to_owned() };
        let cpu = cost.cpu_seconds.filter(|_| moves_bytes && workload.size > 0);
        let raw = cost.disk_bytes.filter(|_| operation == Operation::Put && workload.size > 0);
        self.row(&[
            operation.name().to_owned(),
            workload.data.name().to_owned(),
            if operation == Operation::List {
                format!("{} keys", workload.objects)
            } else {
                format_bytes(workload.size)
            },
            workload.connections.to_string(),
            format!("{:.0}", outcome.latencies.len() as f64 / seconds),
            when(moves_bytes, format!("{:.1}", bytes / seconds / 1e6)),
            milliseconds(outcome.quantile(0.50)),
            milliseconds(outcome.quantile(0.95)),
            milliseconds(outcome.quantile(0.99)),
            cpu.map_or("-".to_owned(), |cpu| format!("{:.2}", cpu / (bytes / 1e9))),
            cost.peak_bytes.map_or("-".to_owned(), |peak| (peak >> 20).to_string()),
            raw.map_or("-".to_owned(), |raw| format!("{:.2}", raw as f64 / bytes)),
        ]);
    }

    fn row(&self, cells: &[String]) {
        let line = cells.join(self.separator);
        if self.separator == "," { println!("{line}") } else { println!("| {line} |") }
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1e3)
}
