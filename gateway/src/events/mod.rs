//! Event notifications: which changes a bucket tells of, to whom, and how a message gets there.
//!
//! A matching change stores a message in the catalog's outbox, in its own transaction; the delivery job posts it to
//! its webhook until it is accepted, or too old. So a message is sent at least once, and may be sent twice. No order
//! is promised: each carries the change's place in its key's order.

mod address;
mod message;
mod record;
mod rule;
mod webhook;

pub use address::{AddressPolicy, Network, ParseNetworkError};
pub use message::{Change, messages};
pub use record::{EventSource, Record, fill_in};
pub use rule::{EventKind, Filter, Form, NotificationRule, Notifications, destination_url, is_known_event};
pub use webhook::{DeliveryError, Webhooks};
