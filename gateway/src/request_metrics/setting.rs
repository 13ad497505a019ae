//! What a bucket wants counted, as stored.

use serde::{Deserialize, Serialize};

/// A bucket's metrics configurations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsFilters {
    /// By id.
    pub filters: Vec<MetricsFilter>,
}

/// One configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsFilter {
    /// Its id, unique in the bucket.
    pub id: String,
    /// Only requests for keys that begin with this count; `None`: all requests, also those without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

impl MetricsFilter {
    /// Whether a request for that key counts.
    pub fn takes(&self, key: Option<&str>) -> bool {
        self.prefix.as_deref().is_none_or(|prefix| key.is_some_and(|key| key.starts_with(prefix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_takes_keys_under_it_and_no_prefix_takes_everything() {
        let all = MetricsFilter { id: "all".into(), prefix: None };
        let under = MetricsFilter { id: "under".into(), prefix: Some("a/".into()) };
        for (key, expected) in [(None, false), (Some("a"), false), (Some("a/"), true), (Some("a/b"), true)] {
            assert!(all.takes(key), "{key:?}");
            assert_eq!(under.takes(key), expected, "{key:?}");
        }
    }

    #[test]
    fn a_stored_configuration_keeps_its_form() {
        let stored = r#"{"filters":[{"id":"all"},{"id":"under","prefix":"a/"}]}"#;
        let filters: MetricsFilters = serde_json::from_str(stored).unwrap();
        assert_eq!(filters.filters.len(), 2);
        assert_eq!(serde_json::to_string(&filters).unwrap(), stored);
    }
}
