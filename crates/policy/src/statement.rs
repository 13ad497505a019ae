//! A statement: whom, what, on what, when.

use serde_json::{Map, Value};

use crate::action::Action;
use crate::condition::Condition;
use crate::error::PolicyError;
use crate::facts::{Facts, NoFacts};
use crate::pattern::{Case, Pattern, Syntax, Unresolved};
use crate::principal::{Asker, Principals};
use crate::resource::{ResourceName, ResourcePattern};

/// Where a policy stands, which decides what it may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// On a bucket, whose name is given when the policy is new: statements have principals.
    Bucket(Option<&'a str>),
    /// On a key or a session: statements have none.
    Identity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    /// Whoever the policy is on.
    Holder,
    These(Principals),
    NotThese(Principals),
}

/// A set of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ActionSet(u128);

impl ActionSet {
    fn contains(self, action: Action) -> bool {
        self.0 >> (action as u8) & 1 == 1
    }
}

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statement {
    pub(crate) effect: Effect,
    who: Who,
    actions: ActionSet,
    resources: Vec<ResourcePattern>,
    /// Whether it is about everything but `resources`.
    except_resources: bool,
    conditions: Vec<Condition>,
}

impl Statement {
    pub(crate) fn parse(value: &Value, place: Place<'_>, variables: bool) -> Result<Self, PolicyError> {
        const FIELDS: [&str; 9] = [
            "Sid",
            "Effect",
            "Principal",
            "NotPrincipal",
            "Action",
            "NotAction",
            "Resource",
            "NotResource",
            "Condition",
        ];
        let Value::Object(fields) = value else { return Err(PolicyError::Invalid { field: "Statement" }) };
        if let Some(field) = fields.keys().find(|field| !FIELDS.contains(&field.as_str())) {
            return Err(PolicyError::UnknownField { field: field.clone() });
        }
        if fields.get("Sid").is_some_and(|sid| !sid.is_string()) {
            return Err(PolicyError::Invalid { field: "Sid" });
        }
        let effect = match fields.get("Effect") {
            Some(Value::String(text)) if text == "Allow" => Effect::Allow,
            Some(Value::String(text)) if text == "Deny" => Effect::Deny,
            Some(other) => return Err(PolicyError::Effect { effect: other.to_string() }),
            None => return Err(PolicyError::Missing { field: "Effect" }),
        };
        let (resources, except_resources) = resources(fields, place, variables)?;
        Ok(Self {
            effect,
            who: who(fields, effect, place)?,
            actions: actions(fields, place)?,
            resources,
            except_resources,
            conditions: conditions(fields.get("Condition"), variables)?,
        })
    }

    /// Whether it is about this request. A denial that depends on a variable without a value counts, a permission
    /// does not.
    pub(crate) fn applies(
        &self,
        asker: Asker<'_>,
        action: Action,
        resource: ResourceName<'_>,
        facts: &dyn Facts,
    ) -> bool {
        if !self.actions.contains(action) || !self.who.includes(asker) {
            return false;
        }
        let rest = || {
            let mut named = false;
            for pattern in &self.resources {
                named = named || pattern.matches(resource, facts)?;
            }
            if named == self.except_resources {
                return Ok(false);
            }
            for condition in &self.conditions {
                if !condition.holds(facts)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        rest().unwrap_or_else(|Unresolved| self.effect == Effect::Deny)
    }

    /// Whether it gives something to everybody, by S3's meaning of public.
    pub(crate) fn is_public(&self) -> bool {
        let everybody = match &self.who {
            Who::These(principals) => principals.contain_everybody(),
            Who::Holder | Who::NotThese(_) => false,
        };
        self.effect == Effect::Allow && everybody && !self.conditions.iter().any(Condition::names_who_asks)
    }
}

impl Who {
    fn includes(&self, asker: Asker<'_>) -> bool {
        match self {
            Self::Holder => true,
            Self::These(principals) => principals.contain(asker),
            Self::NotThese(principals) => !principals.contain(asker),
        }
    }
}

fn who(fields: &Map<String, Value>, effect: Effect, place: Place<'_>) -> Result<Who, PolicyError> {
    match (place, fields.get("Principal"), fields.get("NotPrincipal")) {
        (Place::Identity, None, None) => Ok(Who::Holder),
        (Place::Identity, _, _) => Err(PolicyError::UnknownField { field: "Principal".to_owned() }),
        (Place::Bucket(_), Some(principal), None) => Principals::parse(principal).map(Who::These),
        (Place::Bucket(_), None, Some(_)) if effect == Effect::Allow => Err(PolicyError::AllowNotPrincipal),
        (Place::Bucket(_), None, Some(principal)) => Principals::parse(principal).map(Who::NotThese),
        (Place::Bucket(_), None, None) => Err(PolicyError::Missing { field: "Principal" }),
        (Place::Bucket(_), Some(_), Some(_)) => Err(PolicyError::Invalid { field: "Principal" }),
    }
}

fn actions(fields: &Map<String, Value>, place: Place<'_>) -> Result<ActionSet, PolicyError> {
    let (value, except) = match (fields.get("Action"), fields.get("NotAction")) {
        (Some(value), None) => (value, false),
        (None, Some(value)) => (value, true),
        (None, None) => return Err(PolicyError::Missing { field: "Action" }),
        (Some(_), Some(_)) => return Err(PolicyError::Invalid { field: "Action" }),
    };
    let mut set = 0u128;
    for name in texts(value, "Action")? {
        let pattern = Pattern::parse(name, Syntax { wildcards: true, variables: false })?;
        let named = Action::ALL
            .iter()
            .filter(|action| pattern.matches(action.name(), Case::Ignored, &NoFacts) == Ok(true))
            .fold(0, |set, action| set | 1 << (*action as u8));
        // Other services' actions are none of a bucket's business; a key's policy may name them in vain.
        let is_of_another = match place {
            Place::Bucket(_) => NEVER_ASKED.iter().any(|known| known.eq_ignore_ascii_case(name)),
            Place::Identity => name.split_once(':').is_some_and(|(service, _)| !service.is_empty()),
        };
        let is_of_storage = name == "*" || name.len() > 3 && name[..3].eq_ignore_ascii_case("s3:");
        if matches!(place, Place::Bucket(_)) && !is_of_storage || named == 0 && !is_of_another {
            return Err(PolicyError::Action { action: name.to_owned() });
        }
        set |= named;
    }
    Ok(ActionSet(if except { !set } else { set }))
}

/// Actions of S3 that no request here ever asks for.
const NEVER_ASKED: &[&str] = &[
    "s3:GetObjectTorrent",
    "s3:GetObjectVersionForReplication",
    "s3:GetObjectVersionTorrent",
    "s3:InitiateReplication",
    "s3:ListBucketByTags",
    "s3:ObjectOwnerOverrideToBucketOwner",
    "s3:ReplicateDelete",
    "s3:ReplicateObject",
    "s3:ReplicateTags",
];

fn resources(
    fields: &Map<String, Value>,
    place: Place<'_>,
    variables: bool,
) -> Result<(Vec<ResourcePattern>, bool), PolicyError> {
    let (value, except) = match (fields.get("Resource"), fields.get("NotResource")) {
        (Some(value), None) => (value, false),
        (None, Some(value)) => (value, true),
        (None, None) => return Err(PolicyError::Missing { field: "Resource" }),
        (Some(_), Some(_)) => return Err(PolicyError::Invalid { field: "Resource" }),
    };
    let mut patterns = Vec::new();
    for text in texts(value, "Resource")? {
        let pattern = ResourcePattern::parse(text, variables)?;
        if let Place::Bucket(Some(bucket)) = place
            && !pattern.can_be_in(bucket)
        {
            return Err(PolicyError::Resource { resource: text.to_owned() });
        }
        patterns.push(pattern);
    }
    Ok((patterns, except))
}

fn conditions(value: Option<&Value>, variables: bool) -> Result<Vec<Condition>, PolicyError> {
    let invalid = PolicyError::Invalid { field: "Condition" };
    let operators = match value {
        None => return Ok(Vec::new()),
        Some(Value::Object(operators)) => operators,
        Some(_) => return Err(invalid),
    };
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let Value::Object(keys) = keys else { return Err(invalid) };
        for (key, value) in keys {
            conditions.push(Condition::parse(operator, key, value, variables)?);
        }
    }
    Ok(conditions)
}

fn texts<'a>(value: &'a Value, field: &'static str) -> Result<Vec<&'a str>, PolicyError> {
    let invalid = || PolicyError::Invalid { field };
    match value {
        Value::String(one) => Ok(vec![one]),
        Value::Array(many) if !many.is_empty() => {
            many.iter().map(|one| one.as_str().ok_or_else(invalid)).collect()
        }
        _ => Err(invalid()),
    }
}
