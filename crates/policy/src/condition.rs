//! One condition of a statement: an operator, a fact, and the values it is compared with.
//!
//! A fact that a request does not have fulfils no comparison and every negated one; `...IfExists` is fulfilled too.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::PolicyError;
use crate::facts::{Fact, Facts};
use crate::network::Network;
use crate::pattern::{Case, Pattern, Syntax, Unresolved};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    /// The fact has one value.
    Single,
    ForAllValues,
    ForAnyValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Number,
    Date,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Text(Case, Vec<Pattern>),
    /// The parts between colons are compared one by one.
    Arn(Vec<Vec<Pattern>>),
    Ordered(Scale, Order, Vec<f64>),
    Bool(Vec<bool>),
    Binary(Vec<Vec<u8>>),
    Address(Vec<Network>),
    /// Whether the fact is absent.
    Null(Vec<bool>),
}

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    fact: Fact,
    test: Test,
    negated: bool,
    if_exists: bool,
    quantifier: Quantifier,
}

impl Condition {
    pub(crate) fn parse(
        operator: &str,
        key: &str,
        value: &Value,
        variables: bool,
    ) -> Result<Self, PolicyError> {
        let (quantifier, rest) = match operator.split_once(':') {
            None => (Quantifier::Single, operator),
            Some(("ForAllValues", rest)) => (Quantifier::ForAllValues, rest),
            Some(("ForAnyValue", rest)) => (Quantifier::ForAnyValue, rest),
            Some(_) => return Err(PolicyError::Operator { operator: operator.to_owned() }),
        };
        let (base, if_exists) = match rest.strip_suffix("IfExists") {
            Some(base) => (base, true),
            None => (rest, false),
        };
        let (test, negated) = test(operator, base, &values(value)?, variables)?;
        if matches!(test, Test::Null(_)) && (if_exists || quantifier != Quantifier::Single) {
            return Err(PolicyError::Operator { operator: operator.to_owned() });
        }
        Ok(Self { fact: Fact::parse(key)?, test, negated, if_exists, quantifier })
    }

    pub(crate) fn holds(&self, facts: &dyn Facts) -> Result<bool, Unresolved> {
        let values = facts.values(&self.fact);
        if let Test::Null(absent) = &self.test {
            return Ok(absent.contains(&values.is_empty()));
        }
        if values.is_empty() {
            let vacuous = match self.quantifier {
                Quantifier::ForAllValues => true,
                Quantifier::ForAnyValue => false,
                Quantifier::Single => self.negated,
            };
            return Ok(vacuous || self.if_exists);
        }
        let mut fulfilled = 0;
        for value in &values {
            if self.compare(value, facts)? != self.negated {
                fulfilled += 1;
            }
        }
        Ok(match self.quantifier {
            Quantifier::ForAllValues => fulfilled == values.len(),
            // Facts with several values need a quantifier to be meant exactly; without one, "is" asks for any value
            // and "is not" asks it of all.
            Quantifier::Single if self.negated => fulfilled == values.len(),
            Quantifier::Single | Quantifier::ForAnyValue => fulfilled > 0,
        })
    }

    /// Whether `value` is one of those in the policy, for the operator without its negation.
    fn compare(&self, value: &str, facts: &dyn Facts) -> Result<bool, Unresolved> {
        match &self.test {
            Test::Text(case, patterns) => {
                for pattern in patterns {
                    if pattern.matches(value, *case, facts)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Test::Arn(arns) => {
                let parts: Vec<&str> = value.splitn(ARN_PARTS, ':').collect();
                for arn in arns {
                    if arn_matches(arn, &parts, facts)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Test::Ordered(scale, order, wanted) => Ok(scale.read(value).is_some_and(|value| {
                wanted.iter().any(|wanted| match order {
                    Order::Equal => value.total_cmp(wanted).is_eq(),
                    Order::Less => value < *wanted,
                    Order::LessOrEqual => value <= *wanted,
                    Order::Greater => value > *wanted,
                    Order::GreaterOrEqual => value >= *wanted,
                })
            })),
            Test::Bool(wanted) => Ok(read_bool(value).is_some_and(|value| wanted.contains(&value))),
            Test::Binary(wanted) => Ok(STANDARD.decode(value).is_ok_and(|value| wanted.contains(&value))),
            Test::Address(networks) => Ok(value
                .parse()
                .is_ok_and(|address| networks.iter().any(|network| network.contains(address)))),
            Test::Null(_) => Ok(false),
        }
    }

    /// Whether it keeps a statement for everybody from being public: it wants fixed values of who asks.
    pub(crate) fn names_who_asks(&self) -> bool {
        let requires_a_value =
            !self.negated && !self.if_exists && self.quantifier != Quantifier::ForAllValues;
        let fixed = match &self.test {
            Test::Text(_, patterns) => patterns.iter().all(Pattern::is_fixed),
            Test::Arn(arns) => arns.iter().all(|arn| arn.iter().all(Pattern::is_fixed)),
            Test::Address(networks) => networks.iter().all(|network| !network.is_wide()),
            Test::Ordered(..) | Test::Bool(_) | Test::Binary(_) | Test::Null(_) => false,
        };
        requires_a_value && fixed && self.fact.names_who_asks()
    }
}

const ARN_PARTS: usize = 6;

impl Scale {
    fn read(self, text: &str) -> Option<f64> {
        match self {
            Self::Number => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            Self::Date => read_date(text.trim()),
        }
    }
}

/// ISO 8601, or seconds since 1970.
fn read_date(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(seconds as f64);
    }
    let whole = if text.len() == "2000-01-01".len() { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let time = OffsetDateTime::parse(&whole, &Rfc3339).ok()?;
    Some(time.unix_timestamp_nanos() as f64 / 1e9)
}

fn read_bool(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

fn arn_matches(arn: &[Pattern], parts: &[&str], facts: &dyn Facts) -> Result<bool, Unresolved> {
    if arn.len() != parts.len() {
        return Ok(false);
    }
    for (pattern, part) in arn.iter().zip(parts) {
        if !pattern.matches(part, Case::Matters, facts)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Numbers and truth values may be written without quotes.
fn scalar(value: &Value) -> Result<Cow<'_, str>, PolicyError> {
    match value {
        Value::String(text) => Ok(Cow::Borrowed(text.as_str())),
        Value::Number(_) | Value::Bool(_) => Ok(Cow::Owned(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(PolicyError::Invalid { field: "Condition" }),
    }
}

/// One value or a list of them.
fn values(value: &Value) -> Result<Vec<Cow<'_, str>>, PolicyError> {
    match value {
        Value::Array(many) if !many.is_empty() => many.iter().map(scalar).collect(),
        Value::Array(_) => Err(PolicyError::Invalid { field: "Condition" }),
        one => Ok(vec![scalar(one)?]),
    }
}

/// All values as the operator reads them.
fn each<T>(
    operator: &str,
    values: &[Cow<'_, str>],
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, PolicyError> {
    let wrong = |value: &str| PolicyError::Value { operator: operator.to_owned(), value: value.to_owned() };
    values.iter().map(|value| read(value).ok_or_else(|| wrong(value))).collect()
}

/// The comparison of an operator's bare name, and whether the name negates it.
fn test(
    operator: &str,
    base: &str,
    values: &[Cow<'_, str>],
    variables: bool,
) -> Result<(Test, bool), PolicyError> {
    let text = |case, wildcards| {
        let syntax = Syntax { wildcards, variables };
        let patterns = values.iter().map(|value| Pattern::parse(value, syntax));
        Ok(Test::Text(case, patterns.collect::<Result<_, _>>()?))
    };
    let arn = || {
        let syntax = Syntax { wildcards: true, variables };
        let one = |value: &Cow<'_, str>| {
            arn_parts(value).into_iter().map(|part| Pattern::parse(part, syntax)).collect()
        };
        Ok(Test::Arn(values.iter().map(one).collect::<Result<_, _>>()?))
    };
    let ordered = |scale: Scale, order| {
        Ok(Test::Ordered(scale, order, each(operator, values, |value| scale.read(value))?))
    };
    let networks = || Ok(Test::Address(each(operator, values, Network::parse)?));
    let (compared, negated): (Result<Test, PolicyError>, bool) = match base {
        "StringEquals" => (text(Case::Matters, false), false),
        "StringNotEquals" => (text(Case::Matters, false), true),
        "StringEqualsIgnoreCase" => (text(Case::Ignored, false), false),
        "StringNotEqualsIgnoreCase" => (text(Case::Ignored, false), true),
        "StringLike" => (text(Case::Matters, true), false),
        "StringNotLike" => (text(Case::Matters, true), true),
        "NumericEquals" => (ordered(Scale::Number, Order::Equal), false),
        "NumericNotEquals" => (ordered(Scale::Number, Order::Equal), true),
        "NumericLessThan" => (ordered(Scale::Number, Order::Less), false),
        "NumericLessThanEquals" => (ordered(Scale::Number, Order::LessOrEqual), false),
        "NumericGreaterThan" => (ordered(Scale::Number, Order::Greater), false),
        "NumericGreaterThanEquals" => (ordered(Scale::Number, Order::GreaterOrEqual), false),
        "DateEquals" => (ordered(Scale::Date, Order::Equal), false),
        "DateNotEquals" => (ordered(Scale::Date, Order::Equal), true),
        "DateLessThan" => (ordered(Scale::Date, Order::Less), false),
        "DateLessThanEquals" => (ordered(Scale::Date, Order::LessOrEqual), false),
        "DateGreaterThan" => (ordered(Scale::Date, Order::Greater), false),
        "DateGreaterThanEquals" => (ordered(Scale::Date, Order::GreaterOrEqual), false),
        "Bool" => (each(operator, values, read_bool).map(Test::Bool), false),
        "BinaryEquals" => {
            (each(operator, values, |value| STANDARD.decode(value).ok()).map(Test::Binary), false)
        }
        "IpAddress" => (networks(), false),
        "NotIpAddress" => (networks(), true),
        "ArnEquals" | "ArnLike" => (arn(), false),
        "ArnNotEquals" | "ArnNotLike" => (arn(), true),
        "Null" => (each(operator, values, read_bool).map(Test::Null), false),
        _ => return Err(PolicyError::Operator { operator: operator.to_owned() }),
    };
    Ok((compared?, negated))
}

/// The parts between colons, but for colons inside variables.
fn arn_parts(arn: &str) -> Vec<&str> {
    let mut parts = Vec::with_capacity(ARN_PARTS);
    let (mut from, mut in_variable) = (0, false);
    for (at, character) in arn.char_indices() {
        match character {
            '{' => in_variable = true,
            '}' => in_variable = false,
            ':' if !in_variable && parts.len() + 1 < ARN_PARTS => {
                parts.push(&arn[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&arn[from..]);
    parts
}

#[cfg(test)]
mod tests;
