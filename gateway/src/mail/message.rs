//! What is written to people.

/// Where the token goes in a link.
pub(crate) const TOKEN_PLACE: &str = "{token}";

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
}

impl Letter<'_> {
    /// The line that is seen first. It is the same for all: a glance over a shoulder must not tell either.
    pub const fn subject(&self) -> &'static str {
        "Your registration with DataMesh"
    }

    /// The text. `link` is an address of a page, with `{token}` where the token goes.
    pub fn text(&self, link: Option<&str>) -> String {
        match self {
            Self::Verify { token } => {
                let way = link.map_or_else(
                    || format!("This token makes your account:\n\n{token}\n"),
                    |link| format!("This page makes your account:\n\n{}\n", link.replace(TOKEN_PLACE, token)),
                );
                format!(
                    "Somebody, probably you, registered with this address.\n\n{way}\n\
                     It works once. If it was not you, do nothing: there will be no account.\n"
                )
            }
            Self::HasAccount => "Somebody, probably you, registered with this address.\n\n\
                There is an account with it already, and nothing has changed: log in as before.\n\
                If it was not you, do nothing.\n"
                .to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_has_the_token_or_a_link_with_it() {
        let letter = Letter::Verify { token: "t0k3n" };
        assert!(letter.text(None).contains("\nt0k3n\n"));
        let linked = letter.text(Some("https://example.org/verify?token={token}"));
        assert!(linked.contains("\nhttps://example.org/verify?token=t0k3n\n"), "{linked}");
        assert!(!Letter::HasAccount.text(Some("https://example.org/{token}")).contains("example.org"));
        assert_eq!(letter.subject(), Letter::HasAccount.subject());
    }
}
