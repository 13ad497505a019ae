//! What is written to people.

use datamesh_accounts::{BillText, DunningStage};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

const DAY: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]");

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
    /// An invoice is to be paid, or was not.
    Bill(&'a BillText),
}

impl Letter<'_> {
    /// The line that is seen first. It is the same for all who registered: a glance over a shoulder must not tell either.
    pub const fn subject(&self) -> &'static str {
        match self {
            Self::Verify { .. } | Self::HasAccount => "Your registration with DataMesh",
            Self::NewPassword { .. } => "Your password for DataMesh",
            Self::Bill(BillText { stage: None, .. }) => "Your invoice from DataMesh",
            Self::Bill(_) => "Your invoice from DataMesh is overdue",
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
            Self::Bill(bill) => bill_text(bill),
        }
    }
}

fn bill_text(bill: &BillText) -> String {
    let BillText { invoice, month, currency, .. } = bill;
    let due = day(bill.due_at_ms);
    let owes = format!("invoice {invoice} for {month}: {} {currency}", amount(bill.owed));
    let follows = match bill.stage {
        None => return format!("This is to be paid until {due}, {owes}.\n"),
        Some(DunningStage::Warned) => "If it stays so, first writing and then reading will stop.",
        Some(DunningStage::WritesFrozen) => {
            "Until it is paid nothing can be written; what is stored can be read and deleted."
        }
        Some(DunningStage::Frozen) => "Until it is paid nothing can be written or read.",
        Some(DunningStage::DeletionPending) => {
            "Until it is paid nothing can be written or read, and what is stored may be deleted at any time."
        }
    };
    format!("This was to be paid until {due}, {owes}.\n\n{follows}\n")
}

/// `12.34` of 12,340,000 micro-units: at least two digits after the point, and as many as there are.
fn amount(micro: u64) -> String {
    let digits = format!("{:06}", micro % 1_000_000);
    let rest = digits[2..].trim_end_matches('0');
    format!("{}.{}{rest}", micro / 1_000_000, &digits[..2])
}

fn day(ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp((ms / 1000).cast_signed());
    time.ok().and_then(|time| time.format(DAY).ok()).unwrap_or_default()
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
    fn a_letter_about_a_bill_says_what_is_owed_since_when_and_what_follows() {
        let bill = |stage| BillText {
            stage,
            invoice: "2026-01-abc".to_owned(),
            month: datamesh_accounts::Month::of(1_767_225_600_000),
            owed: 12_340_500,
            currency: "USD".to_owned(),
            due_at_ms: 1_771_200_000_000,
        };
        let new = bill(None);
        let text = Letter::Bill(&new).text(&Links::default());
        assert_eq!(
            text,
            "This is to be paid until 2026-02-16, invoice 2026-01-abc for 2026-01: 12.3405 USD.\n"
        );
        for (stage, word) in [
            (DunningStage::Warned, "will stop"),
            (DunningStage::WritesFrozen, "can be read and deleted"),
            (DunningStage::Frozen, "nothing can be written or read."),
            (DunningStage::DeletionPending, "deleted at any time"),
        ] {
            let overdue = bill(Some(stage));
            let text = Letter::Bill(&overdue).text(&Links::default());
            assert!(
                text.starts_with("This was to be paid until 2026-02-16, ") && text.contains(word),
                "{text}"
            );
            assert_ne!(Letter::Bill(&overdue).subject(), Letter::Bill(&new).subject());
        }
        for (micro, text) in [(0, "0.00"), (1, "0.000001"), (10_000_000, "10.00"), (10_100_000, "10.10")] {
            assert_eq!(amount(micro), text);
        }
    }

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
