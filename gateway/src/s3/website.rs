//! The website configuration of a bucket.

use datamesh_catalog::ConfigKind;
use datamesh_policy::Action;
use s3s::dto::{
    Condition, DeleteBucketWebsiteInput, DeleteBucketWebsiteOutput, ErrorDocument, GetBucketWebsiteInput,
    GetBucketWebsiteOutput, IndexDocument, Protocol, PutBucketWebsiteInput, PutBucketWebsiteOutput,
    Redirect as RedirectDto, RedirectAllRequestsTo, RoutingRule as RoutingRuleDto, WebsiteConfiguration,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::S3Gateway;
use super::caller::Caller;
use crate::website::{Redirect, RedirectAll, RoutingCondition, RoutingRule, Scheme, Website};

/// S3's limit.
const RULES_MAX: usize = 50;

impl S3Gateway {
    pub(super) async fn put_bucket_website(
        &self,
        req: S3Request<PutBucketWebsiteInput>,
    ) -> S3Result<S3Response<PutBucketWebsiteOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::PutBucketWebsite, expected_owner).await?;
        let site = parse(input.website_configuration)?;
        self.set_config(&bucket, ConfigKind::Website, Some(&site)).await?;
        Ok(S3Response::new(PutBucketWebsiteOutput::default()))
    }

    pub(super) async fn get_bucket_website(
        &self,
        req: S3Request<GetBucketWebsiteInput>,
    ) -> S3Result<S3Response<GetBucketWebsiteOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::GetBucketWebsite, expected_owner).await?;
        let site = self.config::<Website>(&bucket, ConfigKind::Website).await?;
        let site = site.ok_or_else(|| s3_error!(NoSuchWebsiteConfiguration))?;
        Ok(S3Response::new(show(&site)))
    }

    pub(super) async fn delete_bucket_website(
        &self,
        req: S3Request<DeleteBucketWebsiteInput>,
    ) -> S3Result<S3Response<DeleteBucketWebsiteOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::DeleteBucketWebsite, expected_owner).await?;
        self.set_config::<Website>(&bucket, ConfigKind::Website, None).await?;
        Ok(S3Response::new(DeleteBucketWebsiteOutput::default()))
    }
}

fn parse(document: WebsiteConfiguration) -> S3Result<Website> {
    if let Some(all) = document.redirect_all_requests_to {
        let others = document.index_document.is_some()
            || document.error_document.is_some()
            || document.routing_rules.is_some();
        if others {
            return Err(s3_error!(
                InvalidArgument,
                "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules."
            ));
        }
        let host = host(all.host_name)?;
        let scheme = all.protocol.as_ref().map(scheme).transpose()?;
        return Ok(Website { redirect_all: Some(RedirectAll { host, scheme }), ..Website::default() });
    }
    let index = document.index_document.map(|index| index.suffix);
    match &index {
        None => {
            return Err(s3_error!(
                InvalidArgument,
                "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty"
            ));
        }
        Some(suffix) if suffix.is_empty() || suffix.contains('/') => {
            return Err(s3_error!(InvalidArgument, "The IndexDocument Suffix is not well formed"));
        }
        Some(_) => {}
    }
    let error = document.error_document.map(|error| error.key);
    if error.as_ref().is_some_and(String::is_empty) {
        return Err(s3_error!(InvalidArgument, "The ErrorDocument Key is not well formed"));
    }
    let rules = document.routing_rules.unwrap_or_default();
    if rules.len() > RULES_MAX {
        return Err(s3_error!(InvalidRequest, "{RULES_MAX} routing rules are allowed at most"));
    }
    let rules = rules.into_iter().map(rule).collect::<S3Result<_>>()?;
    Ok(Website { index, error, redirect_all: None, rules })
}

fn rule(rule: RoutingRuleDto) -> S3Result<RoutingRule> {
    let condition = match rule.condition {
        None => RoutingCondition::default(),
        Some(Condition { http_error_code_returned_equals: None, key_prefix_equals: None }) => {
            return Err(s3_error!(
                InvalidRequest,
                "Condition cannot be empty. To redirect all requests without a condition, the condition element \
                 shouldn't be present."
            ));
        }
        Some(condition) => RoutingCondition {
            prefix: condition.key_prefix_equals,
            error: condition
                .http_error_code_returned_equals
                .map(|code| status(&code, 400..600))
                .transpose()?,
        },
    };
    let RedirectDto { host_name, http_redirect_code, protocol, replace_key_prefix_with, replace_key_with } =
        rule.redirect;
    if replace_key_prefix_with.is_some() && replace_key_with.is_some() {
        return Err(s3_error!(
            InvalidRequest,
            "You can only define ReplaceKeyPrefix or ReplaceKey but not both."
        ));
    }
    let redirect = Redirect {
        host: host_name.map(host).transpose()?,
        scheme: protocol.as_ref().map(scheme).transpose()?,
        status: http_redirect_code.map(|code| status(&code, 301..400)).transpose()?,
        replace_prefix: replace_key_prefix_with,
        replace_key: replace_key_with,
    };
    if redirect == Redirect::default() {
        return Err(s3_error!(MalformedXML));
    }
    Ok(RoutingRule { condition, redirect })
}

/// A host stands in a header of the answer: nothing else may come with it.
fn host(host: String) -> S3Result<String> {
    if !host.is_empty() && host.parse::<http::uri::Authority>().is_ok() {
        return Ok(host);
    }
    Err(s3_error!(InvalidArgument, "The host name is not well formed"))
}

fn scheme(protocol: &Protocol) -> S3Result<Scheme> {
    match protocol.as_str() {
        Protocol::HTTP => Ok(Scheme::Http),
        Protocol::HTTPS => Ok(Scheme::Https),
        _ => Err(s3_error!(
            InvalidRequest,
            "Invalid protocol, protocol can be http or https. If not defined the protocol will be selected automatically."
        )),
    }
}

fn status(code: &str, allowed: std::ops::Range<u16>) -> S3Result<u16> {
    let code = code.parse().ok().filter(|code| allowed.contains(code));
    code.ok_or_else(|| s3_error!(InvalidRequest, "The provided HTTP code is not valid here."))
}

fn show(site: &Website) -> GetBucketWebsiteOutput {
    let protocol = |scheme: Scheme| Protocol::from(scheme.name().to_owned());
    let rules: Vec<RoutingRuleDto> = site
        .rules
        .iter()
        .map(|RoutingRule { condition, redirect }| {
            let conditioned = condition.prefix.is_some() || condition.error.is_some();
            RoutingRuleDto {
                condition: conditioned.then(|| Condition {
                    http_error_code_returned_equals: condition.error.map(|code| code.to_string()),
                    key_prefix_equals: condition.prefix.clone(),
                }),
                redirect: RedirectDto {
                    host_name: redirect.host.clone(),
                    http_redirect_code: redirect.status.map(|code| code.to_string()),
                    protocol: redirect.scheme.map(protocol),
                    replace_key_prefix_with: redirect.replace_prefix.clone(),
                    replace_key_with: redirect.replace_key.clone(),
                },
            }
        })
        .collect();
    GetBucketWebsiteOutput {
        error_document: site.error.clone().map(|key| ErrorDocument { key }),
        index_document: site.index.clone().map(|suffix| IndexDocument { suffix }),
        redirect_all_requests_to: site.redirect_all.as_ref().map(|all| RedirectAllRequestsTo {
            host_name: all.host.clone(),
            protocol: all.scheme.map(protocol),
        }),
        routing_rules: (!rules.is_empty()).then_some(rules),
    }
}
