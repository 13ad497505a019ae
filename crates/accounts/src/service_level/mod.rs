//! Service levels: what was seen of accounts in windows of five minutes, and what it means for their invoices.
//!
//! Every gateway counts the requests and faults of each account in memory and writes what it has counted of a window, as a
//! whole and again and again. Probes stand in for requests where there are none. The rules are in [`datamesh_billing`].

mod counts;
mod probe;
mod report;

pub(crate) use counts::WindowCounts;
pub(crate) use report::credit_due;
pub use report::{SeenWindow, ServiceLevel};
