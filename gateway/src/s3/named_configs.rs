//! Configurations that a bucket has several of, each under an id: all of one kind are one document.

use std::sync::Arc;

use datamesh_catalog::{Bucket, ConfigKind};
use datamesh_policy::Action;
use http::StatusCode;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::S3Gateway;
use super::caller::Caller;
use super::unconfigured::none;
use crate::inventory::{Inventories, Inventory};
use crate::request_metrics::{MetricsFilter, MetricsFilters};

/// S3 allows 1,000; all of them are kept in one document.
const CONFIGURATIONS_MAX: usize = 100;
const ID_LEN_MAX: usize = 64;

/// A document of such configurations.
pub(super) trait NamedConfigs:
    Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// One of them.
    type Config: Send;
    const KIND: ConfigKind;
    /// What asks for them.
    const GET: Action;
    /// What adds or removes one.
    const PUT: Action;

    fn configs(&self) -> &[Self::Config];
    fn configs_mut(&mut self) -> &mut Vec<Self::Config>;
    fn id(config: &Self::Config) -> &str;
}

impl NamedConfigs for Inventories {
    type Config = Inventory;
    const KIND: ConfigKind = ConfigKind::Inventory;
    const GET: Action = Action::GetInventoryConfiguration;
    const PUT: Action = Action::PutInventoryConfiguration;

    fn configs(&self) -> &[Inventory] {
        &self.inventories
    }

    fn configs_mut(&mut self) -> &mut Vec<Inventory> {
        &mut self.inventories
    }

    fn id(config: &Inventory) -> &str {
        &config.id
    }
}

impl NamedConfigs for MetricsFilters {
    type Config = MetricsFilter;
    const KIND: ConfigKind = ConfigKind::Metrics;
    const GET: Action = Action::GetMetricsConfiguration;
    const PUT: Action = Action::PutMetricsConfiguration;

    fn configs(&self) -> &[MetricsFilter] {
        &self.filters
    }

    fn configs_mut(&mut self) -> &mut Vec<MetricsFilter> {
        &mut self.filters
    }

    fn id(config: &MetricsFilter) -> &str {
        &config.id
    }
}

impl S3Gateway {
    /// All of a kind, for a caller who may see them.
    pub(super) async fn named_configs<T: NamedConfigs>(
        &self,
        caller: &Caller<'_>,
        bucket: &str,
        expected_owner: Option<&str>,
    ) -> S3Result<Arc<T>> {
        let bucket = self.bucket(caller, bucket, T::GET, expected_owner).await?;
        self.stored_configs(&bucket).await
    }

    async fn stored_configs<T: NamedConfigs>(&self, bucket: &Bucket) -> S3Result<Arc<T>> {
        Ok(self.config::<T>(bucket, T::KIND).await?.unwrap_or_default())
    }

    /// Adds a configuration, in the place of the one that has its id.
    pub(super) async fn add_named_config<T: NamedConfigs>(
        &self,
        bucket: &Bucket,
        config: T::Config,
    ) -> S3Result<()> {
        let mut document = T::clone(&*self.stored_configs::<T>(bucket).await?);
        let configs = document.configs_mut();
        configs.retain(|known| T::id(known) != T::id(&config));
        if configs.len() >= CONFIGURATIONS_MAX {
            let mut error = S3Error::with_message(
                S3ErrorCode::Custom("TooManyConfigurations".into()),
                "The bucket has as many configurations of this kind as it may have.",
            );
            error.set_status_code(StatusCode::BAD_REQUEST);
            return Err(error);
        }
        configs.push(config);
        configs.sort_by(|left, right| T::id(left).cmp(T::id(right)));
        self.set_config(bucket, T::KIND, Some(&document)).await
    }

    /// Removes a configuration, for a caller who may.
    pub(super) async fn remove_named_config<T: NamedConfigs>(
        &self,
        caller: &Caller<'_>,
        (bucket, id): (&str, &str),
        expected_owner: Option<&str>,
    ) -> S3Result<()> {
        let bucket = &self.bucket(caller, bucket, T::PUT, expected_owner).await?;
        let mut document = T::clone(&*self.stored_configs::<T>(bucket).await?);
        find(&document, id)?;
        document.configs_mut().retain(|config| T::id(config) != id);
        let left = (!document.configs().is_empty()).then_some(&document);
        self.set_config(bucket, T::KIND, left).await
    }
}

/// The configuration with that id.
pub(super) fn find<'a, T: NamedConfigs>(document: &'a T, id: &str) -> S3Result<&'a T::Config> {
    document.configs().iter().find(|config| T::id(config) == id).ok_or_else(no_configuration)
}

/// Checks the id in a query against the one in the document.
pub(super) fn check_id(asked: &str, named: &str) -> S3Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if asked != named || !(1..=ID_LEN_MAX).contains(&asked.len()) || !asked.bytes().all(allowed) {
        return Err(s3_error!(InvalidArgument, "The configuration's id is invalid"));
    }
    Ok(())
}

/// A bucket has no configuration with that id.
pub(super) fn no_configuration() -> S3Error {
    none("NoSuchConfiguration", "The specified configuration does not exist.")
}
