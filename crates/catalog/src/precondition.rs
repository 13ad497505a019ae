//! Preconditions, evaluated inside the commit against the key's current version.

use crate::CatalogError;

/// What an `If-Match` or `If-None-Match` header names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EtagCondition {
    /// `*`: any current object.
    Any,
    /// One of these, as they were given to the catalog; none of them when there are none.
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

/// What must hold of what a deletion removes: the version it names, else the key's newest one, be it a delete marker.
/// Where there is none, nothing needs to hold, for there is nothing to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteCondition {
    /// The `ETag` must match. A delete marker has none.
    pub if_match: Option<EtagCondition>,
    /// The second, since 1970, it must have been written in.
    pub if_modified_s: Option<i64>,
    /// The size in bytes it must have.
    pub if_size: Option<u64>,
}

impl DeleteCondition {
    /// Nothing needs to hold.
    pub const NONE: Self = Self { if_match: None, if_modified_s: None, if_size: None };

    /// Decides against a version.
    pub(crate) fn check(
        &self,
        etag: &str,
        modified_ms: u64,
        size: u64,
        marker: bool,
    ) -> Result<(), CatalogError> {
        let second = (modified_ms / 1000).cast_signed();
        let holds = self.if_match.as_ref().is_none_or(|condition| condition.matches(etag))
            && self.if_modified_s.is_none_or(|wanted| wanted == second)
            && self.if_size.is_none_or(|wanted| wanted == size && !marker);
        if holds { Ok(()) } else { Err(CatalogError::PreconditionFailed) }
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
    fn a_deletion_compares_etag_second_and_size() {
        let check = |condition: DeleteCondition| condition.check("a", 5_999, 7, false).is_ok();
        assert!(check(DeleteCondition::NONE));
        assert!(check(DeleteCondition { if_match: Some(EtagCondition::Any), ..DeleteCondition::NONE }));
        assert!(check(DeleteCondition { if_match: Some(one_of("a")), ..DeleteCondition::NONE }));
        assert!(!check(DeleteCondition { if_match: Some(one_of("b")), ..DeleteCondition::NONE }));
        assert!(check(DeleteCondition { if_modified_s: Some(5), if_size: Some(7), ..DeleteCondition::NONE }));
        assert!(!check(DeleteCondition {
            if_modified_s: Some(6),
            if_size: Some(7),
            ..DeleteCondition::NONE
        }));
        assert!(!check(DeleteCondition {
            if_modified_s: Some(5),
            if_size: Some(8),
            ..DeleteCondition::NONE
        }));
        let marker = DeleteCondition { if_size: Some(0), ..DeleteCondition::NONE };
        assert!(marker.check("", 0, 0, true).is_err(), "a delete marker has no size");
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
