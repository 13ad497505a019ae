//! Why a policy or a list of grants is refused.

/// What is wrong with a document. The texts are for its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not JSON, or not an object.
    #[error("Policies must be valid JSON and the first byte must be '{{'")]
    NotJson,
    /// Longer than allowed.
    #[error("Policy is larger than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A `Version` that is not known.
    #[error("The policy must contain a valid version string")]
    Version,
    /// A member is missing.
    #[error("Missing required field {field}")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// A member that the language does not have, or has not here.
    #[error("Policy has an invalid field {field:?}")]
    UnknownField {
        /// Its name.
        field: String,
    },
    /// A member of the wrong type or form.
    #[error("Policy has an invalid {field}")]
    Invalid {
        /// Its name.
        field: &'static str,
    },
    /// Neither `Allow` nor `Deny`.
    #[error("Invalid effect: {effect:?}")]
    Effect {
        /// What was given.
        effect: String,
    },
    /// No action has this name.
    #[error("Policy has invalid action {action:?}")]
    Action {
        /// What was given.
        action: String,
    },
    /// Not the bucket, or what is in it.
    #[error("Policy has invalid resource {resource:?}")]
    Resource {
        /// What was given.
        resource: String,
    },
    /// Nobody that can be meant.
    #[error("Invalid principal in policy: {principal:?}")]
    Principal {
        /// What was given.
        principal: String,
    },
    /// `Allow` for everybody but a few.
    #[error("Allow with NotPrincipal is not allowed")]
    AllowNotPrincipal,
    /// No condition operator has this name.
    #[error("Policy has an invalid condition operator {operator:?}")]
    Operator {
        /// What was given.
        operator: String,
    },
    /// No condition key has this name.
    #[error("Policy has an invalid condition key {key:?}")]
    ConditionKey {
        /// What was given.
        key: String,
    },
    /// A value that its operator cannot compare with.
    #[error("Policy has an invalid value {value:?} for the condition operator {operator}")]
    Value {
        /// The operator.
        operator: String,
        /// What was given.
        value: String,
    },
}
