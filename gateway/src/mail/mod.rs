//! Mail to people: over SMTP, or into a folder where that is enough.

mod message;
mod postman;

use std::path::Path;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncFileTransport, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::config::{MailSection, SmtpSecurity};

pub use message::{Letter, Links};
pub use postman::Postman;

/// How long a server may take for an answer.
const SMTP_TIMEOUT: Duration = Duration::from_secs(30);

/// A message could not be sent, or mail cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// An address that a mail server would not take.
    #[error("an address is no address of a mailbox")]
    Address(#[from] lettre::address::AddressError),
    /// The text cannot be made into a message.
    #[error("a message cannot be composed")]
    Message(#[from] lettre::error::Error),
    /// The server, or the way to it, failed.
    #[error("the mail server failed")]
    Smtp(#[from] lettre::transport::smtp::Error),
    /// A file could not be written.
    #[error("a message could not be written to the folder")]
    Folder(#[from] lettre::transport::file::Error),
    /// The file with the password cannot be read.
    #[error("the password of the mail server cannot be read")]
    Password(#[from] std::io::Error),
}

/// Sends letters.
pub struct Mailer {
    from: Mailbox,
    links: Links,
    transport: Transport,
}

enum Transport {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Folder(AsyncFileTransport<Tokio1Executor>),
}

impl Mailer {
    /// Sends as the configuration says; nothing is connected to yet. Without a server, into `folder`, which is created.
    pub fn open(section: &MailSection, folder: &Path) -> Result<Self, MailError> {
        let transport = if let Some(host) = &section.host {
            Transport::Smtp(smtp(section, host)?)
        } else {
            std::fs::create_dir_all(folder)?;
            Transport::Folder(AsyncFileTransport::new(folder))
        };
        let links = Links { registration: section.link.clone(), password: section.password_link.clone() };
        Ok(Self { from: section.from.parse()?, links, transport })
    }

    /// Sends a letter.
    ///
    /// # Errors
    /// Also when the server may have taken the letter and did not say so: then it is sent twice.
    pub async fn send(&self, to: &str, letter: &Letter<'_>) -> Result<(), MailError> {
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.parse()?))
            .subject(letter.subject())
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text(&self.links))?;
        match &self.transport {
            Transport::Smtp(transport) => transport.send(message).await.map(drop)?,
            Transport::Folder(transport) => transport.send(message).await.map(drop)?,
        }
        Ok(())
    }
}

fn smtp(section: &MailSection, host: &str) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
    let builder = match section.security {
        SmtpSecurity::Starttls => AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(host)?,
        SmtpSecurity::Tls => AsyncSmtpTransport::<Tokio1Executor>::relay(host)?,
        SmtpSecurity::None => AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host),
    };
    let mut builder = builder.timeout(Some(SMTP_TIMEOUT));
    if let Some(port) = section.port {
        builder = builder.port(port);
    }
    if let (Some(user), Some(file)) = (&section.user, &section.password_file) {
        let password = std::fs::read_to_string(file)?.trim().to_owned();
        builder = builder.credentials(Credentials::new(user.clone(), password));
    }
    Ok(builder.build())
}
