//! Sends what is due, again and again until it is taken or too old. Any number of gateways may: each takes a letter for
//! itself. Beside that, asks the verification provider, and forgets what is over.

use std::time::Duration;

use datamesh_accounts::{AccountMail, Accounts, AccountsError, BillLetter, MailText};
use futures::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{Letter, Mailer};

const LOOK_EVERY: Duration = Duration::from_secs(1);
const LETTERS_AT_ONCE: usize = 8;
/// Between a first failure and the next try; it doubles each time.
const DELAY: Duration = Duration::from_secs(10);
const DELAY_MAX: Duration = Duration::from_hours(1);
/// Turns between looks at cases and at what is over.
const UPKEEP_TURNS: u64 = 60;
const CASES_AT_ONCE: usize = 100;

/// Sends a gateway's letters.
pub struct Postman {
    accounts: Accounts,
    mailer: Mailer,
}

impl Postman {
    /// One that has not sent anything.
    pub const fn new(accounts: Accounts, mailer: Mailer) -> Self {
        Self { accounts, mailer }
    }

    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            for turn in 0_u64.. {
                tokio::time::sleep(LOOK_EVERY).await;
                if let Err(error) = self.deliver().await {
                    tracing::warn!(error = %datamesh_node::one_line(&error), "letters could not be looked up");
                }
                if turn % UPKEEP_TURNS == 0 {
                    self.upkeep().await;
                }
            }
        };
        stop.run_until_cancelled(work).await;
    }

    async fn deliver(&self) -> Result<(), AccountsError> {
        loop {
            let mails = self.accounts.take_mails(LETTERS_AT_ONCE).await?;
            let bills = self.accounts.take_bill_letters(LETTERS_AT_ONCE).await?;
            if mails.is_empty() && bills.is_empty() {
                return Ok(());
            }
            let mails: Vec<_> = mails.iter().map(|mail| self.send_mail(mail)).collect();
            let sent: Vec<_> = stream::iter(mails).buffer_unordered(LETTERS_AT_ONCE).collect().await;
            sent.into_iter().collect::<Result<(), _>>()?;
            let bills: Vec<_> = bills.iter().map(|bill| self.send_bill(bill)).collect();
            let sent: Vec<_> = stream::iter(bills).buffer_unordered(LETTERS_AT_ONCE).collect().await;
            sent.into_iter().collect::<Result<(), _>>()?;
        }
    }

    async fn send_mail(&self, mail: &AccountMail) -> Result<(), AccountsError> {
        let letter = match &mail.text {
            MailText::MakesAccount(token) => Letter::Verify { token: token.expose() },
            MailText::HasAccount => Letter::HasAccount,
            MailText::SetsPassword(token) => Letter::NewPassword { token: token.expose() },
            MailText::Nothing => return self.accounts.mailed(&mail.id).await,
        };
        match self.send(&mail.email, &letter, mail.attempts).await {
            None => self.accounts.mailed(&mail.id).await,
            Some(delay) => self.accounts.postpone_mail(&mail.id, delay).await,
        }
    }

    async fn send_bill(&self, bill: &BillLetter) -> Result<(), AccountsError> {
        let later = match &bill.text {
            Some(text) => self.send(&bill.email, &Letter::Bill(text), bill.attempts).await,
            None => None,
        };
        match later {
            None => self.accounts.bill_letter_sent(&bill.id).await,
            Some(delay) => self.accounts.postpone_bill_letter(&bill.id, delay).await,
        }
    }

    /// Sends a letter; how long to wait before the next try, if it failed.
    async fn send(&self, email: &str, letter: &Letter<'_>, attempts: u32) -> Option<Duration> {
        let result = self.mailer.send(email, letter).await;
        let label = if result.is_ok() { "ok" } else { "failed" };
        metrics::counter!("datamesh_letters", "result" => label).increment(1);
        let error = result.err()?;
        // Neither the address nor the token belongs into a log.
        tracing::warn!(
            error = %datamesh_node::one_line(&error), attempts = attempts + 1, "a letter could not be sent"
        );
        Some(DELAY.saturating_mul(1 << attempts.min(16)).min(DELAY_MAX))
    }

    async fn upkeep(&self) {
        if let Err(error) = self.accounts.judge_cases(CASES_AT_ONCE).await {
            tracing::warn!(error = %datamesh_node::one_line(&error), "verifications could not be looked after");
        }
        if let Err(error) = self.accounts.forget_logins().await {
            tracing::warn!(error = %datamesh_node::one_line(&error), "what is over could not be forgotten");
        }
        if let Err(error) = self.accounts.forget_bill_letters().await {
            tracing::warn!(error = %datamesh_node::one_line(&error), "letters could not be given up");
        }
    }
}
