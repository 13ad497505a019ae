//! The request metrics configurations of a bucket.

use datamesh_policy::Action;
use s3s::dto;
use s3s::dto::{
    DeleteBucketMetricsConfigurationInput, DeleteBucketMetricsConfigurationOutput,
    GetBucketMetricsConfigurationInput, GetBucketMetricsConfigurationOutput,
    ListBucketMetricsConfigurationsInput, ListBucketMetricsConfigurationsOutput, MetricsConfiguration,
    PutBucketMetricsConfigurationInput, PutBucketMetricsConfigurationOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::S3Gateway;
use super::caller::Caller;
use super::named_configs::{check_id, find};
use crate::request_metrics::{MetricsFilter, MetricsFilters};

impl S3Gateway {
    pub(super) async fn put_bucket_metrics_configuration(
        &self,
        req: S3Request<PutBucketMetricsConfigurationInput>,
    ) -> S3Result<S3Response<PutBucketMetricsConfigurationOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket =
            self.bucket(&caller, &input.bucket, Action::PutMetricsConfiguration, expected_owner).await?;
        let filter = parse(&input.id, input.metrics_configuration)?;
        self.add_named_config::<MetricsFilters>(&bucket, filter).await?;
        self.refresh_request_metrics().await;
        Ok(S3Response::new(PutBucketMetricsConfigurationOutput::default()))
    }

    pub(super) async fn get_bucket_metrics_configuration(
        &self,
        req: S3Request<GetBucketMetricsConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketMetricsConfigurationOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let filters = self.named_configs::<MetricsFilters>(&caller, &input.bucket, expected_owner).await?;
        let metrics_configuration = Some(show(find(&*filters, &input.id)?));
        Ok(S3Response::new(GetBucketMetricsConfigurationOutput { metrics_configuration }))
    }

    pub(super) async fn list_bucket_metrics_configurations(
        &self,
        req: S3Request<ListBucketMetricsConfigurationsInput>,
    ) -> S3Result<S3Response<ListBucketMetricsConfigurationsOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let filters = self.named_configs::<MetricsFilters>(&caller, &input.bucket, expected_owner).await?;
        let listed: Vec<_> = filters.filters.iter().map(show).collect();
        Ok(S3Response::new(ListBucketMetricsConfigurationsOutput {
            metrics_configuration_list: (!listed.is_empty()).then_some(listed),
            is_truncated: Some(false),
            ..ListBucketMetricsConfigurationsOutput::default()
        }))
    }

    pub(super) async fn delete_bucket_metrics_configuration(
        &self,
        req: S3Request<DeleteBucketMetricsConfigurationInput>,
    ) -> S3Result<S3Response<DeleteBucketMetricsConfigurationOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let named = (input.bucket.as_str(), input.id.as_str());
        self.remove_named_config::<MetricsFilters>(&caller, named, expected_owner).await?;
        self.refresh_request_metrics().await;
        Ok(S3Response::new(DeleteBucketMetricsConfigurationOutput::default()))
    }

    /// Other gateways learn of a change a little later.
    async fn refresh_request_metrics(&self) {
        self.request_metrics.refresh(&self.catalog).await;
    }
}

fn parse(id: &str, document: MetricsConfiguration) -> S3Result<MetricsFilter> {
    check_id(id, &document.id)?;
    let prefix = match document.filter {
        None => None,
        Some(dto::MetricsFilter::Prefix(prefix)) => Some(prefix),
        Some(_) => return Err(s3_error!(NotImplemented, "Metrics are filtered by prefix only.")),
    };
    Ok(MetricsFilter { id: document.id, prefix: prefix.filter(|prefix| !prefix.is_empty()) })
}

fn show(filter: &MetricsFilter) -> MetricsConfiguration {
    MetricsConfiguration {
        filter: filter.prefix.clone().map(dto::MetricsFilter::Prefix),
        id: filter.id.clone(),
    }
}
