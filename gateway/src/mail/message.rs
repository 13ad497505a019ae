//! What is written to people.

/// Where the token goes in a link.
pub(crate) const TOKEN_PLACE: &str = "{token}";

/// Pages that take tokens, with `{token}` where it goes.
#[derive(Debug, Clone, Default)]
pub struct Links {
    /// Makes an account.
    pub registration: Option<String>,
    /// Sets a password.
    pub password: Option<String>,
}

/// A letter.
#[derive(Debug, Clone, Copy)]
pub enum Letter<'a> {
    /// Somebody registered with this address.
    Verify {
        /// What makes the account.
        token: &'a str,
    },
    /// Somebody registered with this address, which has an account.
    HasAccount,
    /// Somebody asked for a new password of the account with this address.
    NewPassword {
        /// What sets it.
        token: &'a str,
    },
}

impl Letter<'_> {
    /// The line that is seen first. It is the same for all who registered: a glance over a shoulder must not tell either.
    pub const fn subject(&self) -> &'static str {
        match self {
            Self::Verify { .. } | Self::HasAccount => "Your registration with DataMesh",
            Self::NewPassword { .. } => "Your password for DataMesh",
        }
    }

    /// The text.
    pub fn text(&self, links: &Links) -> String {
        match self {
            Self::Verify { token } => format!(
                "Somebody, probably you, registered with this address.\n\n{}\n\
                 It works once. If it was not you, do nothing: there will be no account.\n",
                way("makes your account", links.registration.as_deref(), token)
            ),
            Self::HasAccount => "Somebody, probably you, registered with this address.\n\n\
                There is an account with it already, and nothing has changed: log in as before.\n\
                If it was not you, do nothing.\n"
                .to_owned(),
            Self::NewPassword { token } => format!(
                "Somebody, probably you, asked for a new password of the account with this address.\n\n{}\n\
                 It works once, and logs everybody out. If it was not you, do nothing: the password stays.\n",
                way("sets a new password", links.password.as_deref(), token)
            ),
        }
    }
}

/// The token, or a link with it, and what it does.
fn way(does: &str, link: Option<&str>, token: &str) -> String {
    match link {
        None => format!("This token {does}:\n\n{token}\n"),
        Some(link) => format!("This page {does}:\n\n{}\n", link.replace(TOKEN_PLACE, token)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_has_the_token_or_a_link_with_it() {
        let links = |registration: &str, password: &str| Links {
            registration: Some(registration.to_owned()),
            password: Some(password.to_owned()),
        };
        let linked =
            links("https://example.org/verify?token={token}", "https://example.org/password/{token}");
        for (letter, link) in [
            (Letter::Verify { token: "t0k3n" }, "https://example.org/verify?token=t0k3n"),
            (Letter::NewPassword { token: "t0k3n" }, "https://example.org/password/t0k3n"),
        ] {
            assert!(letter.text(&Links::default()).contains("\nt0k3n\n"));
            let text = letter.text(&linked);
            assert!(text.contains(&format!("\n{link}\n")), "{text}");
        }
        assert!(!Letter::HasAccount.text(&linked).contains("example.org"));
        assert_eq!(Letter::Verify { token: "t0k3n" }.subject(), Letter::HasAccount.subject());
    }
}
