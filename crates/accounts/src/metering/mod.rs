//! Metering: what every account stored, moved and asked for, so exactly that a bill can be recomputed.
//!
//! A change of what is stored leaves an event in the transaction that makes it. Traffic and requests are added up in
//! memory and delivered as events every few seconds. An event is named by its source and a sequence number, so that
//! delivering it again changes nothing. A job moves events from the outbox into the history and adds them to rollups,
//! by hour and by month, in one transaction.
//!
//! Rollups are sums, and so are what is stored over time: a change contributes itself times what is left of its hour,
//! and what was there before contributes itself times the whole hour. Neither the order in which events arrive nor how
//! late they are matters, and an hour without events needs no row. A clock that runs backwards can make a short-lived
//! object count less than nothing, by its size times the step; the sums stay those of the events.

mod event;
mod measures;
mod opening;
mod purge;
mod report;
mod rollup;
mod span;
mod traffic;
mod verify;

pub(crate) use event::{EventSource, StorageEvent, insert_storage_event};
pub(crate) use measures::join;
pub use measures::{Measure, RequestClass, Traffic};
pub(crate) use opening::Mark;
pub use opening::UnmeteredSpan;
pub use purge::{Purged, Retention};
pub use report::{HourUsage, Usage, UsageReport};
pub use rollup::Freshness;
pub(crate) use rollup::LastRollup;
pub use span::Grain;
pub(crate) use span::HOUR_MS;
pub(crate) use traffic::{Charge, TrafficLog};
pub use verify::{UsageDrift, Verification};
