//! Which pages of other origins may do what: a bucket's rules, and which of them a request falls under.

use s3s::dto::{CORSConfiguration, CORSRule};
use s3s::{S3Error, S3Result, s3_error};
use serde::{Deserialize, Serialize};

const RULES_MAX: usize = 100;
/// S3's limit on a rule's id, in bytes.
const ID_LEN_MAX: usize = 255;
const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];

/// A bucket's CORS document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CorsRules {
    rules: Vec<CorsRule>,
}

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CorsRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    origins: Vec<String>,
    pub methods: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exposed: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<i32>,
}

/// A rule that a request falls under.
#[derive(Debug)]
pub(super) struct Matched<'a> {
    pub rule: &'a CorsRule,
    /// The rule is open to every origin.
    pub any_origin: bool,
}

impl CorsRules {
    /// # Errors
    /// `MalformedXML` for too many rules or none, or a rule without origins or methods; `InvalidRequest` for an unknown
    /// method or a second wildcard.
    pub fn from_dto(config: CORSConfiguration) -> S3Result<Self> {
        if config.cors_rules.is_empty() {
            return Err(s3_error!(MalformedXML));
        }
        if config.cors_rules.len() > RULES_MAX {
            return Err(s3_error!(
                InvalidRequest,
                "The number of CORS rules should not exceed allowed limit of {RULES_MAX} rules."
            ));
        }
        let rules = config.cors_rules.into_iter().map(CorsRule::from_dto).collect::<S3Result<_>>()?;
        Ok(Self { rules })
    }

    pub fn to_dto(&self) -> Vec<CORSRule> {
        self.rules.iter().map(CorsRule::to_dto).collect()
    }

    /// The first rule that allows pages of `origin` to ask with `method` and `headers`, whose names are in lower case.
    pub fn find<'a>(&'a self, origin: &str, method: &str, headers: &[String]) -> Option<Matched<'a>> {
        self.rules.iter().find_map(|rule| {
            let pattern = rule.origins.iter().find(|pattern| matches(pattern, origin))?;
            let allows = |header: &String| {
                rule.headers.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), header))
            };
            let matched = rule.methods.iter().any(|known| known == method) && headers.iter().all(allows);
            matched.then_some(Matched { rule, any_origin: pattern == "*" })
        })
    }
}

impl CorsRule {
    fn from_dto(rule: CORSRule) -> S3Result<Self> {
        let has_id_within_limit = rule.id.as_ref().is_none_or(|id| id.len() <= ID_LEN_MAX);
        if rule.allowed_origins.is_empty() || rule.allowed_methods.is_empty() || !has_id_within_limit {
            return Err(s3_error!(MalformedXML));
        }
        if let Some(method) = rule.allowed_methods.iter().find(|method| !METHODS.contains(&method.as_str())) {
            return Err(s3_error!(
                InvalidRequest,
                "Found unsupported HTTP method in CORS config. Unsupported method is {method}"
            ));
        }
        let headers = rule.allowed_headers.unwrap_or_default();
        check_wildcards("AllowedOrigin", &rule.allowed_origins)?;
        check_wildcards("AllowedHeader", &headers)?;
        let exposed = rule.expose_headers.unwrap_or_default();
        if let Some(header) = exposed.iter().find(|header| header.contains('*')) {
            return Err(s3_error!(
                InvalidRequest,
                "ExposeHeader \"{header}\" contains wildcard. We currently do not support wildcard for ExposeHeader"
            ));
        }
        let unfit = |text: &String| text.bytes().any(|byte| byte.is_ascii_control());
        if rule.allowed_origins.iter().chain(&headers).chain(&exposed).any(unfit) {
            return Err(s3_error!(MalformedXML));
        }
        Ok(Self {
            id: rule.id,
            origins: rule.allowed_origins,
            methods: rule.allowed_methods,
            headers,
            exposed,
            max_age_seconds: rule.max_age_seconds,
        })
    }

    fn to_dto(&self) -> CORSRule {
        let optional = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        CORSRule {
            allowed_headers: optional(&self.headers),
            allowed_methods: self.methods.clone(),
            allowed_origins: self.origins.clone(),
            expose_headers: optional(&self.exposed),
            id: self.id.clone(),
            max_age_seconds: self.max_age_seconds,
        }
    }
}

fn check_wildcards(element: &str, patterns: &[String]) -> S3Result<()> {
    let wrong = patterns.iter().find(|pattern| pattern.matches('*').count() > 1);
    let error = |pattern: &String| -> S3Error {
        s3_error!(InvalidRequest, "{element} \"{pattern}\" can not have more than one wildcard.")
    };
    wrong.map_or(Ok(()), |pattern| Err(error(pattern)))
}

/// Whether a pattern with at most one wildcard matches.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(origins: &[&str], methods: &[&str], headers: &[&str]) -> CORSRule {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        CORSRule {
            allowed_origins: owned(origins),
            allowed_methods: owned(methods),
            allowed_headers: Some(owned(headers)),
            ..CORSRule::default()
        }
    }

    fn rules(rules: Vec<CORSRule>) -> S3Result<CorsRules> {
        CorsRules::from_dto(CORSConfiguration { cors_rules: rules })
    }

    #[test]
    fn an_origin_matches_with_at_most_one_wildcard() {
        for (pattern, origin, expected) in [
            ("*suffix", "foo.suffix", true),
            ("*suffix", "foo.suffix.get", false),
            ("start*end", "startend", true),
            ("start*end", "start12end", true),
            ("start*end", "0start12end", false),
            ("aba*aba", "ababa", false),
            ("prefix*", "prefix.suffix", true),
            ("prefix*", "bla.prefix", false),
            ("http://a.example", "http://a.example", true),
            ("http://a.example", "https://a.example", false),
            ("*", "null", true),
        ] {
            assert_eq!(matches(pattern, origin), expected, "{pattern} {origin}");
        }
    }

    #[test]
    fn the_first_rule_that_allows_origin_method_and_headers_counts() {
        let rules = rules(vec![
            rule(&["http://a"], &["GET"], &["X-Amz-*", "range"]),
            rule(&["http://a", "*"], &["PUT", "GET"], &[]),
        ])
        .unwrap();
        let find = |origin: &str, method: &str, headers: &[&str]| {
            let headers: Vec<_> = headers.iter().map(|name| (*name).to_owned()).collect();
            let matched = rules.find(origin, method, &headers)?;
            let index = rules.rules.iter().position(|rule| rule == matched.rule).unwrap();
            Some((index, matched.any_origin))
        };
        assert_eq!(find("http://a", "GET", &["x-amz-date", "range"]), Some((0, false)));
        assert_eq!(find("http://a", "GET", &["x-other"]), None);
        assert_eq!(find("http://a", "PUT", &[]), Some((1, false)));
        assert_eq!(find("http://b", "GET", &[]), Some((1, true)));
        assert_eq!(find("http://b", "DELETE", &[]), None);
        assert_eq!(find("http://b", "GET", &["range"]), None);
    }

    #[test]
    fn a_document_comes_back_as_it_was_sent() {
        let sent = CORSRule {
            expose_headers: Some(vec!["ETag".into()]),
            id: Some("one".into()),
            max_age_seconds: Some(30),
            ..rule(&["*"], &["GET", "HEAD"], &["*"])
        };
        let parsed = rules(vec![sent.clone()]).unwrap();
        let stored = serde_json::to_string(&parsed).unwrap();
        assert_eq!(serde_json::from_str::<CorsRules>(&stored).unwrap().to_dto(), [sent]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let exposed = CORSRule { expose_headers: Some(vec!["x-*".into()]), ..rule(&["*"], &["GET"], &[]) };
        let long = CORSRule { id: Some("x".repeat(256)), ..rule(&["*"], &["GET"], &[]) };
        for wrong in [
            rule(&[], &["GET"], &[]),
            rule(&["*"], &[], &[]),
            rule(&["*"], &["PATCH"], &[]),
            rule(&["*"], &["get"], &[]),
            rule(&["a*b*c"], &["GET"], &[]),
            rule(&["*"], &["GET"], &["*-*"]),
            rule(&["a\r\nb"], &["GET"], &[]),
            exposed,
            long,
        ] {
            assert!(rules(vec![wrong.clone()]).is_err(), "{wrong:?}");
        }
        assert!(rules(Vec::new()).is_err());
        assert!(rules(vec![rule(&["*"], &["GET"], &[]); 101]).is_err());
    }
}
