//! Bearer tokens: who administers, and in which role.

use std::fmt;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};

use super::routes::Effect;

/// A secret that opens the admin interface. Its Debug form shows nothing of it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct AdminToken(Arc<str>);

impl AdminToken {
    /// A fresh one: 256 random bits in hexadecimal.
    pub fn random() -> Self {
        let halves: [u128; 2] = rand::random();
        Self(format!("{:032x}{:032x}", halves[0], halves[1]).into())
    }

    /// The secret itself, for the file that holds it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is the token. Takes the same time wherever they differ.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), candidate).is_ok()
    }
}

impl From<String> for AdminToken {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<AdminToken> for String {
    fn from(token: AdminToken) -> Self {
        token.expose().to_owned()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(redacted)")
    }
}

/// What an administrator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Operator,
    /// Look at everything, and change nothing.
    Auditor,
}

impl Role {
    pub(super) const fn may(self, effect: Effect) -> bool {
        match self {
            Self::Operator => true,
            Self::Auditor => matches!(effect, Effect::Read),
        }
    }
}

/// An administrator: a name for the audit log, a role, and the token that proves it.
#[derive(Debug, Clone)]
pub struct Administrator {
    /// The name.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The token.
    pub token: AdminToken,
}

impl Administrator {
    /// The name of who has the token in `admin.json`.
    pub const OPERATOR: &'static str = "operator";
    /// What requests without a good token are told under.
    pub const NOBODY: &'static str = "nobody";
    /// Who does what has been due.
    pub const GATEWAY: &'static str = "gateway";
    /// The owner of the account that is changed.
    pub const OWNER: &'static str = "owner";

    /// Who has the token in `admin.json`.
    pub fn operator(token: AdminToken) -> Self {
        Self { name: Self::OPERATOR.to_owned(), role: Role::Operator, token }
    }
}

/// The administrator whose token a request carries. All tokens are compared, whichever fits.
pub(super) fn caller<'a>(
    administrators: &'a [Administrator],
    headers: &HeaderMap,
) -> Option<&'a Administrator> {
    let (scheme, candidate) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return None;
    }
    administrators.iter().fold(None, |found, administrator| {
        let matches = administrator.token.matches(candidate);
        found.or(matches.then_some(administrator))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_token_matches_and_debug_hides_it() {
        let token = AdminToken::random();
        let text = token.expose().to_owned();
        assert!(token.matches(text.as_bytes()));
        for wrong in ["", &text[1..], &format!("{text}0"), &text.to_uppercase()] {
            assert!(!token.matches(wrong.as_bytes()) || wrong == text, "{wrong}");
        }
        assert!(!format!("{token:?}").contains(&text));
        assert!(!format!("{:?}", Administrator::operator(token)).contains(&text));
    }

    #[test]
    fn a_token_names_its_administrator() {
        let tokens = [AdminToken::random(), AdminToken::random()];
        let administrators = [
            Administrator::operator(tokens[0].clone()),
            Administrator { name: "alice".into(), role: Role::Auditor, token: tokens[1].clone() },
        ];
        let named = |value: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            caller(&administrators, &headers).map(|administrator| administrator.name.clone())
        };
        assert_eq!(named(&format!("Bearer {}", tokens[0].expose())).as_deref(), Some("operator"));
        assert_eq!(named(&format!("bearer {}", tokens[1].expose())).as_deref(), Some("alice"));
        assert_eq!(named(&format!("Basic {}", tokens[1].expose())), None);
        assert_eq!(named("Bearer "), None);
        assert_eq!(caller(&administrators, &HeaderMap::new()).map(|_| ()), None);
    }

    #[test]
    fn an_auditor_only_reads() {
        for effect in [Effect::Read, Effect::Change { has_preview: true }, Effect::Work] {
            assert!(Role::Operator.may(effect));
            assert_eq!(Role::Auditor.may(effect), effect == Effect::Read);
        }
    }
}
