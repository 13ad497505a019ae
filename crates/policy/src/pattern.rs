//! Texts with wildcards and policy variables.
//!
//! `*` stands for any run of characters and `?` for any one of them. `${key}` stands for a fact of the request, inside
//! which nothing is a wildcard; `${key, 'default'}` has a value for requests without that fact, and `${*}`, `${?}` and
//! `${$}` are the characters themselves.

use crate::error::PolicyError;
use crate::facts::{Fact, Facts};

/// One character of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Atom {
    Exactly(char),
    AnyOne,
    AnyRun,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Atoms(Vec<Atom>),
    Variable { fact: Fact, default: Option<String> },
}

/// A variable has no value in this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unresolved;

/// How the characters of a text are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax {
    /// Whether `*` and `?` are wildcards.
    pub wildcards: bool,
    /// Whether `${...}` is a variable: since the language's version of 2012.
    pub variables: bool,
}

/// A compiled text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    pieces: Vec<Piece>,
}

/// Whether upper and lower case are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Matters,
    Ignored,
}

impl Pattern {
    pub(crate) fn parse(text: &str, syntax: Syntax) -> Result<Self, PolicyError> {
        let mut pieces = Vec::new();
        let mut atoms = Vec::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            if syntax.variables && rest.starts_with("${") {
                let (inside, after) =
                    rest[2..].split_once('}').ok_or(PolicyError::Invalid { field: "policy variable" })?;
                match inside {
                    "*" | "?" | "$" => atoms.extend(inside.chars().map(Atom::Exactly)),
                    _ => {
                        if !atoms.is_empty() {
                            pieces.push(Piece::Atoms(std::mem::take(&mut atoms)));
                        }
                        pieces.push(variable(inside)?);
                    }
                }
                rest = after;
                continue;
            }
            atoms.push(match next {
                '*' if syntax.wildcards => Atom::AnyRun,
                '?' if syntax.wildcards => Atom::AnyOne,
                other => Atom::Exactly(other),
            });
            rest = &rest[next.len_utf8()..];
        }
        if !atoms.is_empty() {
            pieces.push(Piece::Atoms(atoms));
        }
        Ok(Self { pieces })
    }

    /// Whether the whole of `text` fits.
    pub(crate) fn matches(&self, text: &str, case: Case, facts: &dyn Facts) -> Result<bool, Unresolved> {
        match self.pieces.as_slice() {
            [] => Ok(text.is_empty()),
            [Piece::Atoms(atoms)] => Ok(matches(atoms, text, case)),
            pieces => Ok(matches(&resolve(pieces, facts)?, text, case)),
        }
    }

    /// Whether it has no wildcard and no variable.
    pub(crate) fn is_fixed(&self) -> bool {
        self.pieces.iter().all(|piece| match piece {
            Piece::Atoms(atoms) => atoms.iter().all(|atom| matches!(atom, Atom::Exactly(_))),
            Piece::Variable { .. } => false,
        })
    }

    /// The part before the first `separator`, if there is one; variables count as any text.
    pub(crate) fn before(&self, separator: char) -> Self {
        let mut head = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Atoms(atoms) => {
                    let end = atoms.iter().position(|atom| *atom == Atom::Exactly(separator));
                    head.extend_from_slice(&atoms[..end.unwrap_or(atoms.len())]);
                    if end.is_some() {
                        break;
                    }
                }
                Piece::Variable { .. } => head.push(Atom::AnyRun),
            }
        }
        Self { pieces: vec![Piece::Atoms(head)] }
    }
}

/// What is between `${` and `}`.
fn variable(inside: &str) -> Result<Piece, PolicyError> {
    let invalid = || PolicyError::Invalid { field: "policy variable" };
    let (name, default) = match inside.split_once(',') {
        None => (inside, None),
        Some((name, default)) => {
            let quoted = default.trim().strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
            (name, Some(quoted.ok_or_else(invalid)?.to_owned()))
        }
    };
    Ok(Piece::Variable { fact: Fact::parse(name.trim())?, default })
}

fn resolve(pieces: &[Piece], facts: &dyn Facts) -> Result<Vec<Atom>, Unresolved> {
    let mut resolved = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Atoms(atoms) => resolved.extend_from_slice(atoms),
            Piece::Variable { fact, default } => {
                let values = facts.values(fact);
                let value = match (values.as_slice(), default) {
                    ([value], _) => value.as_ref(),
                    ([], Some(default)) => default.as_str(),
                    // Several values have no meaning as one text.
                    _ => return Err(Unresolved),
                };
                resolved.extend(value.chars().map(Atom::Exactly));
            }
        }
    }
    Ok(resolved)
}

/// Takes at most the product of both lengths in steps, as only the last run is ever tried again.
fn matches(atoms: &[Atom], text: &str, case: Case) -> bool {
    let (mut atom, mut at) = (0, 0);
    let mut last_run: Option<(usize, usize)> = None;
    loop {
        let next = text[at..].chars().next();
        match (atoms.get(atom), next) {
            (Some(Atom::AnyRun), _) => {
                atom += 1;
                last_run = Some((atom, at));
                if atom == atoms.len() {
                    return true;
                }
            }
            (Some(Atom::AnyOne), Some(found)) => {
                atom += 1;
                at += found.len_utf8();
            }
            (Some(Atom::Exactly(wanted)), Some(found)) if same(*wanted, found, case) => {
                atom += 1;
                at += found.len_utf8();
            }
            (None, None) => return true,
            _ => {
                let Some((after, from)) = last_run else { return false };
                let Some(skipped) = text[from..].chars().next() else { return false };
                atom = after;
                at = from + skipped.len_utf8();
                last_run = Some((after, at));
            }
        }
    }
}

fn same(wanted: char, found: char, case: Case) -> bool {
    wanted == found || (case == Case::Ignored && wanted.to_lowercase().eq(found.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::facts::NoFacts;

    const FULL: Syntax = Syntax { wildcards: true, variables: true };

    fn fits(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern, FULL).unwrap().matches(text, Case::Matters, &NoFacts).unwrap()
    }

    #[test]
    fn wildcards_stand_for_runs_and_for_single_characters() {
        for (pattern, text) in
            [("*", ""), ("a*", "a"), ("a*c", "abbc"), ("a?c", "aéc"), ("*a*a*", "bab-a"), ("${*}", "*")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("", "a"), ("a", "A"), ("a?c", "ac"), ("a*b", "abc"), ("${*}", "x"), ("?", ""), ("*x", "y")]
        {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    /// Knows one name, with a wildcard in it.
    struct Named;

    impl Facts for Named {
        fn values(&self, fact: &Fact) -> Vec<Cow<'_, str>> {
            if *fact == Fact::UserName { vec!["a*".into()] } else { Vec::new() }
        }
    }

    #[test]
    fn a_variable_stands_for_its_value_alone() {
        let home = Pattern::parse("home/${aws:username}/*", FULL).unwrap();
        assert_eq!(home.matches("home/a*/x", Case::Matters, &Named), Ok(true));
        assert_eq!(home.matches("home/ab/x", Case::Matters, &Named), Ok(false));
        assert_eq!(home.matches("home/a*/x", Case::Matters, &NoFacts), Err(Unresolved));
        let with_default = Pattern::parse("${aws:username, 'nobody'}", FULL).unwrap();
        assert_eq!(with_default.matches("nobody", Case::Matters, &NoFacts), Ok(true));
        for wrong in ["${aws:username", "${aws:nothing-known}", "${aws:username, nobody}"] {
            assert!(Pattern::parse(wrong, FULL).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_part_before_a_separator_keeps_its_wildcards() {
        let head = Pattern::parse("buc*/key/*", FULL).unwrap().before('/');
        assert_eq!(head.matches("bucket", Case::Matters, &NoFacts), Ok(true));
        assert_eq!(head.matches("other", Case::Matters, &NoFacts), Ok(false));
    }

    /// The obvious definition, exponential in the number of runs.
    fn reference(pattern: &[char], text: &[char]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some('*'), _) => {
                reference(&pattern[1..], text) || !text.is_empty() && reference(pattern, &text[1..])
            }
            (Some('?'), Some(_)) => reference(&pattern[1..], &text[1..]),
            (Some(wanted), Some(found)) => wanted == found && reference(&pattern[1..], &text[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(pattern in "[ab*?é]{0,8}", text in "[abé]{0,8}") {
            let wanted = reference(
                &pattern.chars().collect::<Vec<_>>(),
                &text.chars().collect::<Vec<_>>(),
            );
            prop_assert_eq!(fits(&pattern, &text), wanted);
        }
    }
}
