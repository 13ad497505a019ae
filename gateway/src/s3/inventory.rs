//! The inventory configurations of a bucket.

use datamesh_policy::Action;
use http::StatusCode;
use s3s::dto::{
    DeleteBucketInventoryConfigurationInput, DeleteBucketInventoryConfigurationOutput,
    GetBucketInventoryConfigurationInput, GetBucketInventoryConfigurationOutput, InventoryConfiguration,
    InventoryDestination, InventoryFilter, InventoryFormat, InventoryFrequency,
    InventoryIncludedObjectVersions, InventoryOptionalField, InventoryS3BucketDestination, InventorySchedule,
    ListBucketInventoryConfigurationsInput, ListBucketInventoryConfigurationsOutput,
    PutBucketInventoryConfigurationInput, PutBucketInventoryConfigurationOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::caller::Caller;
use super::gate::About;
use super::named_configs::{check_id, find};
use super::{S3Gateway, errors};
use crate::inventory::{Field, Frequency, Included, Inventories, Inventory};

const ARN: &str = "arn:aws:s3:::";

impl S3Gateway {
    pub(super) async fn put_bucket_inventory_configuration(
        &self,
        req: S3Request<PutBucketInventoryConfigurationInput>,
    ) -> S3Result<S3Response<PutBucketInventoryConfigurationOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket =
            self.bucket(&caller, &input.bucket, Action::PutInventoryConfiguration, expected_owner).await?;
        let inventory = parse(&input.id, input.inventory_configuration)?;
        let target = self.catalog.bucket(&inventory.target).await.map_err(errors::catalog)?;
        let target = target.filter(|target| target.account == bucket.account).ok_or_else(foreign_target)?;
        // Whoever may not write there may not have it written.
        let place = inventory.place(&bucket.name);
        self.gate(&caller, &target).await?.check(Action::PutObject, About::Key(&place))?;
        self.add_named_config::<Inventories>(&bucket, inventory).await?;
        Ok(S3Response::new(PutBucketInventoryConfigurationOutput::default()))
    }

    pub(super) async fn get_bucket_inventory_configuration(
        &self,
        req: S3Request<GetBucketInventoryConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketInventoryConfigurationOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let inventories = self.named_configs::<Inventories>(&caller, &input.bucket, expected_owner).await?;
        let inventory_configuration = Some(show(find(&*inventories, &input.id)?));
        Ok(S3Response::new(GetBucketInventoryConfigurationOutput { inventory_configuration }))
    }

    pub(super) async fn list_bucket_inventory_configurations(
        &self,
        req: S3Request<ListBucketInventoryConfigurationsInput>,
    ) -> S3Result<S3Response<ListBucketInventoryConfigurationsOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let inventories = self.named_configs::<Inventories>(&caller, &input.bucket, expected_owner).await?;
        let listed: Vec<_> = inventories.inventories.iter().map(show).collect();
        Ok(S3Response::new(ListBucketInventoryConfigurationsOutput {
            inventory_configuration_list: (!listed.is_empty()).then_some(listed),
            is_truncated: Some(false),
            ..ListBucketInventoryConfigurationsOutput::default()
        }))
    }

    pub(super) async fn delete_bucket_inventory_configuration(
        &self,
        req: S3Request<DeleteBucketInventoryConfigurationInput>,
    ) -> S3Result<S3Response<DeleteBucketInventoryConfigurationOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let named = (input.bucket.as_str(), input.id.as_str());
        self.remove_named_config::<Inventories>(&caller, named, expected_owner).await?;
        Ok(S3Response::new(DeleteBucketInventoryConfigurationOutput::default()))
    }
}

fn foreign_target() -> S3Error {
    let mut error = S3Error::with_message(
        S3ErrorCode::Custom("InvalidS3DestinationBucket".into()),
        "The destination must be a bucket of the same account.",
    );
    error.set_status_code(StatusCode::BAD_REQUEST);
    error
}

fn parse(id: &str, document: InventoryConfiguration) -> S3Result<Inventory> {
    check_id(id, &document.id)?;
    let destination = document.destination.s3_bucket_destination;
    if destination.format.as_str() != InventoryFormat::CSV {
        return Err(s3_error!(NotImplemented, "Inventories are written as CSV only."));
    }
    if destination.encryption.is_some() {
        return Err(s3_error!(NotImplemented, "Inventories are encrypted as their bucket says."));
    }
    let target = destination.bucket.strip_prefix(ARN).filter(|name| !name.is_empty());
    let target = target.ok_or_else(|| s3_error!(InvalidArgument, "The destination is no bucket's ARN"))?;
    let included = match document.included_object_versions.as_str() {
        InventoryIncludedObjectVersions::ALL => Included::All,
        InventoryIncludedObjectVersions::CURRENT => Included::Current,
        _ => return Err(s3_error!(MalformedXML)),
    };
    let frequency = match document.schedule.frequency.as_str() {
        InventoryFrequency::DAILY => Frequency::Daily,
        InventoryFrequency::WEEKLY => Frequency::Weekly,
        _ => return Err(s3_error!(MalformedXML)),
    };
    let field = |field: &InventoryOptionalField| {
        let name = field.as_str();
        Field::from_name(name)
            .ok_or_else(|| s3_error!(NotImplemented, "The inventory field {name} is not implemented."))
    };
    let asked = document.optional_fields.unwrap_or_default();
    let mut fields = asked.iter().map(field).collect::<S3Result<Vec<Field>>>()?;
    fields.sort_unstable();
    fields.dedup();
    Ok(Inventory {
        id: document.id,
        enabled: document.is_enabled,
        target: target.to_owned(),
        target_prefix: destination.prefix,
        prefix: document.filter.map(|filter| filter.prefix),
        included,
        frequency,
        fields,
    })
}

fn show(inventory: &Inventory) -> InventoryConfiguration {
    let included = match inventory.included {
        Included::All => InventoryIncludedObjectVersions::ALL,
        Included::Current => InventoryIncludedObjectVersions::CURRENT,
    };
    let frequency = match inventory.frequency {
        Frequency::Daily => InventoryFrequency::DAILY,
        Frequency::Weekly => InventoryFrequency::WEEKLY,
    };
    let fields: Vec<InventoryOptionalField> =
        inventory.fields.iter().map(|field| InventoryOptionalField::from_static(field.name())).collect();
    InventoryConfiguration {
        destination: InventoryDestination {
            s3_bucket_destination: InventoryS3BucketDestination {
                account_id: None,
                bucket: format!("{ARN}{}", inventory.target),
                encryption: None,
                format: InventoryFormat::from_static(InventoryFormat::CSV),
                prefix: inventory.target_prefix.clone(),
            },
        },
        filter: inventory.prefix.clone().map(|prefix| InventoryFilter { prefix }),
        id: inventory.id.clone(),
        included_object_versions: InventoryIncludedObjectVersions::from_static(included),
        is_enabled: inventory.enabled,
        optional_fields: (!fields.is_empty()).then_some(fields),
        schedule: InventorySchedule { frequency: InventoryFrequency::from_static(frequency) },
    }
}
