//! Preconditions, evaluated inside the commit against the key's current version.

use crate::CatalogError;

/// What an `If-Match` or `If-None-Match` header names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EtagCondition {
    /// `*`: any current object.
    Any,
    /// One of these `ETag`s, without quotes.
    OneOf(Vec<String>),
}

/// What must hold of the key's current version for a write to commit. A delete marker counts as absence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precondition {
    /// The current object must match. A missing key is [`CatalogError::NoSuchKey`].
    pub if_match: Option<EtagCondition>,
    /// The current object must not match; [`EtagCondition::Any`]: there must be none.
    pub if_none_match: Option<EtagCondition>,
}

impl Precondition {
    /// Nothing needs to hold.
    pub const NONE: Self = Self { if_match: None, if_none_match: None };

    /// `If-None-Match: *`: the key must not exist.
    pub const fn absent() -> Self {
        Self { if_match: None, if_none_match: Some(EtagCondition::Any) }
    }

    /// Decides against the `ETag` of the current object, `None` when there is no object.
    pub fn check(&self, current: Option<&str>) -> Result<(), CatalogError> {
        if let Some(condition) = &self.if_match {
            let etag = current.ok_or(CatalogError::NoSuchKey)?;
            if !condition.matches(etag) {
                return Err(CatalogError::PreconditionFailed);
            }
        }
        match (&self.if_none_match, current) {
            (Some(condition), Some(etag)) if condition.matches(etag) => Err(CatalogError::PreconditionFailed),
            _ => Ok(()),
        }
    }
}

impl EtagCondition {
    fn matches(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(etags) => etags.iter().any(|candidate| candidate == etag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of(etag: &str) -> EtagCondition {
        EtagCondition::OneOf(vec!["x".into(), etag.into()])
    }

    #[test]
    fn if_match_needs_an_object_with_that_etag() {
        let condition = Precondition { if_match: Some(one_of("a")), if_none_match: None };
        assert!(condition.check(Some("a")).is_ok());
        assert!(matches!(condition.check(Some("b")), Err(CatalogError::PreconditionFailed)));
        assert!(matches!(condition.check(None), Err(CatalogError::NoSuchKey)));
        let any = Precondition { if_match: Some(EtagCondition::Any), if_none_match: None };
        assert!(any.check(Some("b")).is_ok());
    }

    #[test]
    fn if_none_match_needs_the_absence_of_that_etag() {
        assert!(Precondition::absent().check(None).is_ok());
        assert!(matches!(Precondition::absent().check(Some("a")), Err(CatalogError::PreconditionFailed)));
        let condition = Precondition { if_match: None, if_none_match: Some(one_of("a")) };
        assert!(condition.check(Some("b")).is_ok() && condition.check(None).is_ok());
        assert!(matches!(condition.check(Some("a")), Err(CatalogError::PreconditionFailed)));
    }
}
