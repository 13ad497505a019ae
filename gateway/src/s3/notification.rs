//! The notification configuration of a bucket, and the messages that changes of its objects cause.

use datamesh_catalog::{Bucket, Catalog, ConfigKind};
use datamesh_policy::Action;
use s3s::dto::{
    FilterRule, FilterRuleName, GetBucketNotificationConfigurationInput,
    GetBucketNotificationConfigurationOutput, LambdaFunctionConfiguration, NotificationConfiguration,
    NotificationConfigurationFilter, PutBucketNotificationConfigurationInput,
    PutBucketNotificationConfigurationOutput, QueueConfiguration, S3KeyFilter, TopicConfiguration,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::caller::Caller;
use super::{S3Gateway, errors, now_ms};
use crate::events::{
    Change, Filter, Form, NotificationRule, Notifications, destination_url, is_known_event, messages,
};

/// S3's limit.
const RULES_MAX: usize = 100;
const ID_LEN_MAX: usize = 255;

impl S3Gateway {
    pub(super) async fn put_bucket_notification_configuration(
        &self,
        req: S3Request<PutBucketNotificationConfigurationInput>,
    ) -> S3Result<S3Response<PutBucketNotificationConfigurationOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket =
            self.bucket(&caller, &input.bucket, Action::PutBucketNotification, expected_owner).await?;
        let notifications = parse(input.notification_configuration)?;
        if input.skip_destination_validation != Some(true) {
            for rule in &notifications.rules {
                let url = destination_url(&rule.arn).ok_or_else(|| invalid_destination(&rule.arn))?;
                if !self.webhooks.is_allowed(&url).await {
                    return Err(invalid_destination(&rule.arn));
                }
            }
        }
        let notifications = (!notifications.rules.is_empty()).then_some(&notifications);
        self.set_config(&bucket, ConfigKind::Notification, notifications).await?;
        Ok(S3Response::new(PutBucketNotificationConfigurationOutput::default()))
    }

    pub(super) async fn get_bucket_notification_configuration(
        &self,
        req: S3Request<GetBucketNotificationConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketNotificationConfigurationOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket =
            self.bucket(&caller, &input.bucket, Action::GetBucketNotification, expected_owner).await?;
        let notifications = self.config::<Notifications>(&bucket, ConfigKind::Notification).await?;
        Ok(S3Response::new(notifications.map(|notifications| show(&notifications)).unwrap_or_default()))
    }

    /// The catalog through which `changes` are to be made, so that it stores the messages that they cause. Of several
    /// changes only those that are committed are told of. Without a configuration this is the plain catalog.
    pub(super) async fn announcing(
        &self,
        bucket: &Bucket,
        caller: &Caller<'_>,
        changes: &[Change<'_>],
    ) -> S3Result<Catalog> {
        let config = self.config::<Notifications>(bucket, ConfigKind::Notification).await?;
        let Some(notifications) = config else { return Ok(self.catalog.clone()) };
        let rows = self.row_key(bucket).await?;
        let messages = messages(&notifications, bucket, &caller.source(), changes, &rows, now_ms());
        Ok(self.catalog.announcing(messages.map_err(errors::row)?))
    }
}

fn invalid_destination(arn: &str) -> s3s::S3Error {
    s3_error!(InvalidArgument, "Unable to validate the following destination configurations: {arn}")
}

fn parse(document: NotificationConfiguration) -> S3Result<Notifications> {
    if document.event_bridge_configuration.is_some() {
        return Err(s3_error!(NotImplemented, "EventBridge is not implemented; name a webhook instead."));
    }
    let topics = document.topic_configurations.unwrap_or_default().into_iter();
    let topics = topics.map(|it| (Form::Topic, it.id, it.topic_arn, it.events, it.filter));
    let queues = document.queue_configurations.unwrap_or_default().into_iter();
    let queues = queues.map(|it| (Form::Queue, it.id, it.queue_arn, it.events, it.filter));
    let functions = document.lambda_function_configurations.unwrap_or_default().into_iter();
    let functions = functions.map(|it| (Form::Function, it.id, it.lambda_function_arn, it.events, it.filter));
    let mut rules: Vec<NotificationRule> = Vec::new();
    for (number, (form, id, arn, events, filter)) in topics.chain(queues).chain(functions).enumerate() {
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("rule-{}", number + 1));
        if id.len() > ID_LEN_MAX || rules.iter().any(|rule| rule.id == id) {
            return Err(s3_error!(
                InvalidArgument,
                "Configurations must have unique ids of at most 255 characters"
            ));
        }
        let events: Vec<String> = events.into_iter().map(|event| event.as_ref().to_owned()).collect();
        if events.is_empty() || !events.iter().all(|event| is_known_event(event)) {
            return Err(s3_error!(InvalidArgument, "A specified event is not supported for notifications."));
        }
        if destination_url(&arn).is_none() {
            return Err(invalid_destination(&arn));
        }
        let filter = filter.map(parse_filter).transpose()?.unwrap_or_default();
        rules.push(NotificationRule { id, form, arn, events, filter });
    }
    if rules.len() > RULES_MAX {
        return Err(s3_error!(InvalidArgument, "There can be at most {RULES_MAX} configurations"));
    }
    Ok(Notifications { rules })
}

fn parse_filter(filter: NotificationConfigurationFilter) -> S3Result<Filter> {
    let mut parsed = Filter::default();
    for rule in filter.key.and_then(|key| key.filter_rules).unwrap_or_default() {
        let (Some(name), Some(value)) = (rule.name, rule.value) else { return Err(s3_error!(MalformedXML)) };
        let place = match name.as_str().to_ascii_lowercase().as_str() {
            "prefix" => &mut parsed.prefix,
            "suffix" => &mut parsed.suffix,
            _ => return Err(s3_error!(InvalidArgument, "filter rule name must be either prefix or suffix")),
        };
        if place.replace(value).is_some() {
            return Err(s3_error!(
                InvalidArgument,
                "Cannot specify more than one prefix or suffix in a filter."
            ));
        }
    }
    Ok(parsed)
}

fn show(notifications: &Notifications) -> GetBucketNotificationConfigurationOutput {
    let of = |form: Form| notifications.rules.iter().filter(move |rule| rule.form == form);
    let events = |rule: &NotificationRule| rule.events.iter().cloned().map(Into::into).collect();
    let topics: Vec<_> = of(Form::Topic)
        .map(|rule| TopicConfiguration {
            events: events(rule),
            filter: show_filter(&rule.filter),
            id: Some(rule.id.clone()),
            topic_arn: rule.arn.clone(),
        })
        .collect();
    let queues: Vec<_> = of(Form::Queue)
        .map(|rule| QueueConfiguration {
            events: events(rule),
            filter: show_filter(&rule.filter),
            id: Some(rule.id.clone()),
            queue_arn: rule.arn.clone(),
        })
        .collect();
    let functions: Vec<_> = of(Form::Function)
        .map(|rule| LambdaFunctionConfiguration {
            events: events(rule),
            filter: show_filter(&rule.filter),
            id: Some(rule.id.clone()),
            lambda_function_arn: rule.arn.clone(),
        })
        .collect();
    GetBucketNotificationConfigurationOutput {
        event_bridge_configuration: None,
        lambda_function_configurations: (!functions.is_empty()).then_some(functions),
        queue_configurations: (!queues.is_empty()).then_some(queues),
        topic_configurations: (!topics.is_empty()).then_some(topics),
    }
}

fn show_filter(filter: &Filter) -> Option<NotificationConfigurationFilter> {
    let named = [("prefix", &filter.prefix), ("suffix", &filter.suffix)];
    let rules: Vec<FilterRule> = named
        .into_iter()
        .filter_map(|(name, value)| {
            let value = Some(value.clone()?);
            Some(FilterRule { name: Some(FilterRuleName::from(name.to_owned())), value })
        })
        .collect();
    let key = S3KeyFilter { filter_rules: Some(rules) };
    let is_empty = key.filter_rules.as_ref().is_none_or(Vec::is_empty);
    (!is_empty).then_some(NotificationConfigurationFilter { key: Some(key) })
}
