//! Website hosting: buckets as web sites, on a listener of their own.
//!
//! A request names its bucket by its host: `BUCKET.DOMAIN` for the configured domains, else the host is the bucket.
//! Everything is read through the S3 service, without a signature: a site shows what anybody may read, and nothing
//! else decides.

mod route;
mod server;
mod site;

pub use server::WebsiteService;
pub use site::{Redirect, RedirectAll, RoutingCondition, RoutingRule, Scheme, Website};
