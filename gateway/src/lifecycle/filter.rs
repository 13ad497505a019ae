//! Which objects a rule is about.

use serde::{Deserialize, Serialize};

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Its key.
    #[serde(rename = "k")]
    pub key: String,
    /// Its value.
    #[serde(rename = "v")]
    pub value: String,
}

/// The tags that the catalog keeps with a version: a JSON array of pairs. What can't be read is no tag.
pub fn stored_tags(json: &str) -> Vec<Tag> {
    let pairs: Vec<(String, String)> = serde_json::from_str(json).unwrap_or_default();
    pairs.into_iter().map(|(key, value)| Tag { key, value }).collect()
}

/// Conditions that must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// The key begins with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The version has these tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// It has more bytes than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub larger_than: Option<u64>,
    /// It has fewer bytes than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smaller_than: Option<u64>,
}

/// How a rule names its objects. Kept as the client wrote it, so that it reads back the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The older form: a prefix in the rule itself.
    Prefix(String),
    /// A `Filter` element.
    Filter {
        /// Its own conditions.
        own: Conditions,
        /// Those in its `And` element.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        and: Option<Conditions>,
    },
}

/// What conditions are asked about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The version's tags.
    pub tags: &'a [Tag],
    /// Its size in bytes; `None` for a delete marker, which no condition on sizes is about.
    pub size: Option<u64>,
}

impl Conditions {
    fn hold(&self, subject: Subject<'_>) -> bool {
        let Subject { key, tags, size } = subject;
        self.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix.as_bytes()))
            && self.tags.iter().all(|tag| tags.contains(tag))
            && self.larger_than.is_none_or(|bound| size.is_some_and(|size| size > bound))
            && self.smaller_than.is_none_or(|bound| size.is_some_and(|size| size < bound))
    }

    fn is_about_contents(&self) -> bool {
        !self.tags.is_empty() || self.larger_than.is_some() || self.smaller_than.is_some()
    }
}

impl Scope {
    /// Whether the rule is about this version.
    pub fn matches(&self, subject: Subject<'_>) -> bool {
        match self {
            Self::Prefix(prefix) => subject.key.starts_with(prefix.as_bytes()),
            Self::Filter { own, and } => {
                own.hold(subject) && and.as_ref().is_none_or(|and| and.hold(subject))
            }
        }
    }

    /// Whether it asks for tags.
    pub fn has_tags(&self) -> bool {
        self.conditions().any(|conditions| !conditions.tags.is_empty())
    }

    /// Whether it asks for more than a prefix.
    pub fn is_about_contents(&self) -> bool {
        self.conditions().any(Conditions::is_about_contents)
    }

    fn conditions(&self) -> impl Iterator<Item = &Conditions> {
        let both = match self {
            Self::Prefix(_) => [None, None],
            Self::Filter { own, and } => [Some(own), and.as_ref()],
        };
        both.into_iter().flatten()
    }
}
