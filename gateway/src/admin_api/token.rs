//! The bearer token.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::ApiError;

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

/// Lets a request through that carries the token, and answers any other with 401.
pub(super) async fn require(State(token): State<AdminToken>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.as_bytes().split_at_checked(7));
    match given {
        Some((scheme, candidate)) if scheme.eq_ignore_ascii_case(b"bearer ") && token.matches(candidate) => {
            next.run(request).await
        }
        _ => ApiError::Unauthorized.into_response(),
    }
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
    }
}
