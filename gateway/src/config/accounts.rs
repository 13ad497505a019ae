//! `[accounts]`: plans, limits, and what abuse leads to.

use std::path::PathBuf;

use datamesh_accounts::AbuseSettings;
use datamesh_node::config::Invalid;
use datamesh_types::TimeSpan;
use serde::Deserialize;

/// A reservation is renewed three times as often as it would end.
const RESERVATION_TTL_MIN: TimeSpan = TimeSpan::seconds(1);

/// `[accounts]`: plans, limits, and what abuse leads to.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountsSection {
    /// A file with plans, applied at each start: a plan that says something new gets a new version. Default: none,
    /// beside those that ship.
    pub plans_file: Option<PathBuf>,
    /// Whether usage is metered. Without, writes and requests cost a little less and nobody can be billed: for networks that
    /// bill nobody. The same on all gateways. Default: true.
    pub metering: bool,
    /// How long a request waits for its turn when its owner is over a rate, before it is refused. Default: 5s.
    pub queue_time: TimeSpan,
    /// After how long the quota that a gateway held comes free when the gateway is gone; at least a second.
    /// Default: 1m.
    pub reservation_ttl: TimeSpan,
    /// By how many basis points of 10,000 an upheld case of abuse lowers a reputation; a new one is 5,000, and below
    /// 1,000 nobody may upload. Default: 1000.
    pub abuse_penalty: u16,
    /// How long an upheld case of abuse counts. Default: 365d.
    pub abuse_lifetime: TimeSpan,
}

impl Default for AccountsSection {
    fn default() -> Self {
        let abuse = AbuseSettings::default();
        Self {
            plans_file: None,
            metering: true,
            queue_time: TimeSpan::seconds(5),
            reservation_ttl: TimeSpan::seconds(60),
            abuse_penalty: abuse.penalty,
            abuse_lifetime: TimeSpan::seconds(abuse.lifetime.as_secs()),
        }
    }
}

impl AccountsSection {
    /// # Errors
    /// The first setting that makes no sense.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if self.reservation_ttl < RESERVATION_TTL_MIN {
            return Err(Invalid::new("accounts.reservation_ttl", "at least 1s"));
        }
        Ok(())
    }

    /// What abuse leads to.
    pub fn abuse(&self) -> AbuseSettings {
        let (penalty, lifetime) = (self.abuse_penalty, self.abuse_lifetime.duration());
        AbuseSettings { penalty, lifetime, ..AbuseSettings::default() }
    }
}
