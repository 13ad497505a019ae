//! One file per noun: its verbs, the requests they make, how the answers are shown.

pub mod abuse;
pub mod audit;
pub mod doctor;
pub mod encryption_key;
pub mod gc;
pub mod group;
pub mod inventory;
pub mod invoice;
pub mod kek;
pub mod key;
pub mod lifecycle;
pub mod map;
pub mod migration;
pub mod node;
pub mod operator;
pub mod plan;
pub mod price;
pub mod privacy;
pub mod quota;
pub mod repair;
pub mod sandbox;
pub mod sla;
pub mod usage;
pub mod user;
