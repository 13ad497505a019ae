//! `[registration]` and `[mail]`: people who register by themselves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use datamesh_accounts::{RegistrationSettings, VerificationLevel};
use datamesh_node::config::Invalid;
use datamesh_types::TimeSpan;
use serde::Deserialize;

use crate::account_api::{Limiter, Pace};

/// `[registration]`: the listener for people.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistrationSection {
    /// Where to listen, with the certificate and the limits of `[s3]`. Default: nowhere.
    pub listen: Option<SocketAddr>,
    /// The plans that people may register for, and how far they must be verified: email, identity or organisation.
    /// Default: free (email), premium (identity), enterprise (organisation).
    pub plans: BTreeMap<String, VerificationLevel>,
    /// How long the token of a letter is good. Default: 24h.
    pub token_lifetime: TimeSpan,
    /// How long a session lasts. Default: 1h.
    pub session_lifetime: TimeSpan,
    /// What one address, or one IPv6 network of 64 bits, may ask without a session in an hour. Default: 100.
    pub requests_per_hour: NonZeroU32,
    /// So many of them at once. Default: 20.
    pub requests_burst: NonZeroU32,
    /// How often one name may be logged in with in an hour. Default: 20.
    pub logins_per_hour: NonZeroU32,
    /// So many of them at once. Default: 10.
    pub logins_burst: NonZeroU32,
    /// What one account may ask with its sessions in an hour. Default: 3600.
    pub session_requests_per_hour: NonZeroU32,
    /// So many of them at once. Default: 100.
    pub session_requests_burst: NonZeroU32,
}

impl Default for RegistrationSection {
    fn default() -> Self {
        let settings = RegistrationSettings::default();
        let number = |number| NonZeroU32::new(number).expect("the defaults are positive");
        Self {
            listen: None,
            plans: settings.plans,
            token_lifetime: TimeSpan::seconds(settings.token_lifetime.as_secs()),
            session_lifetime: TimeSpan::seconds(settings.session_lifetime.as_secs()),
            requests_per_hour: number(100),
            requests_burst: number(20),
            logins_per_hour: number(20),
            logins_burst: number(10),
            session_requests_per_hour: number(3600),
            session_requests_burst: number(100),
        }
    }
}

impl RegistrationSection {
    /// Who may register.
    pub fn settings(&self) -> RegistrationSettings {
        RegistrationSettings {
            plans: self.plans.clone(),
            token_lifetime: self.token_lifetime.duration(),
            session_lifetime: self.session_lifetime.duration(),
        }
    }

    /// How often people may ask.
    pub fn limiter(&self) -> Limiter {
        Limiter::new(
            Pace { per_hour: self.requests_per_hour, burst: self.requests_burst },
            Pace { per_hour: self.logins_per_hour, burst: self.logins_burst },
            Pace { per_hour: self.session_requests_per_hour, burst: self.session_requests_burst },
        )
    }
}

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpSecurity {
    /// It begins in the clear and must change to TLS before anything is sent.
    #[default]
    Starttls,
    /// TLS from the start.
    Tls,
    /// Not at all: for a server on this machine.
    None,
}

/// `[mail]`: letters to people.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailSection {
    /// Who letters are from. Default: DataMesh <datamesh@localhost>.
    pub from: String,
    /// The SMTP server. Default: none, letters go into the folder `mail` in `data_dir`.
    pub host: Option<String>,
    /// Its port. Default: 587 for starttls, 465 for tls, 25 for none.
    pub port: Option<u16>,
    /// How the connection is protected: starttls, tls or none. Default: starttls.
    pub security: SmtpSecurity,
    /// Who logs in to the server. Default: nobody.
    pub user: Option<String>,
    /// The file with the password. Default: none.
    pub password_file: Option<PathBuf>,
    /// The page that makes an account of a token, with `{token}` where it goes. Default: none, letters have the token
    /// itself.
    pub link: Option<String>,
    /// The page that sets a password with a token, likewise. Default: none.
    pub password_link: Option<String>,
}

impl Default for MailSection {
    fn default() -> Self {
        Self {
            from: "DataMesh <datamesh@localhost>".to_owned(),
            host: None,
            port: None,
            security: SmtpSecurity::default(),
            user: None,
            password_file: None,
            link: None,
            password_link: None,
        }
    }
}

impl MailSection {
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if self.from.parse::<lettre::message::Mailbox>().is_err() {
            return Err(Invalid::new("mail.from", "an address such as DataMesh <datamesh@example.org>"));
        }
        if self.user.is_some() != self.password_file.is_some() {
            return Err(Invalid::new("mail.password_file", "user and password_file together"));
        }
        if self.user.is_some() && self.security == SmtpSecurity::None {
            return Err(Invalid::new(
                "mail.security",
                "starttls or tls, so that the password is not sent in the clear",
            ));
        }
        for (key, link) in [("mail.link", &self.link), ("mail.password_link", &self.password_link)] {
            if link.as_ref().is_some_and(|link| !link.contains("{token}")) {
                return Err(Invalid::new(key, "an address of a page with {token} in it"));
            }
        }
        Ok(())
    }
}
