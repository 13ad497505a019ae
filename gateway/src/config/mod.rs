//! A gateway's configuration: one TOML file, typed, unknown keys refused.
//!
//! Every default is in these files or, for `[cluster]`, in [`ClusterConfig::default`]. Secrets are in files of their
//! own. A relative path is relative to the working directory.

mod accounts;
mod admin;
mod backends;
mod jobs;
mod payments;
mod registration;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use datamesh_cluster::ClusterConfig;
use datamesh_node::config::{Invalid, LogSection, MeshSection};
use datamesh_types::{ByteSize, GIB, KIB, MIB, TimeSpan};
use serde::Deserialize;

use crate::events::Network;
use crate::http::HttpConfig;
use crate::ingest::IngestConfig;

pub use accounts::AccountsSection;
pub use admin::{AdminSection, TokenSection};
pub use backends::{BackendSection, StorageSection};
pub use jobs::JobsSection;
pub use payments::{PaymentsSection, SandboxSection};
pub use registration::{MailSection, RegistrationSection, SmtpSecurity};

/// What `datamesh-gateway serve --config F` reads.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where keys, tokens, the DHT's records and, by default, the catalog live. Created with mode 0700 when absent.
    pub data_dir: PathBuf,
    /// The region that S3 clients are told. Default: us-east-1.
    #[serde(default = "default_region")]
    pub region: String,
    /// The S3 listener. Default: as [`S3Section::default`].
    #[serde(default)]
    pub s3: S3Section,
    /// The admin listener. Default: as [`AdminSection::default`].
    #[serde(default)]
    pub admin: AdminSection,
    /// The database. Default: as [`DatabaseSection::default`].
    #[serde(default)]
    pub database: DatabaseSection,
    /// The key that encrypts all other keys. Default: as [`KeysSection::default`].
    #[serde(default)]
    pub keys: KeysSection,
    /// Plans and limits. Default: as [`AccountsSection::default`].
    #[serde(default)]
    pub accounts: AccountsSection,
    /// People who register by themselves. Default: as [`RegistrationSection::default`].
    #[serde(default)]
    pub registration: RegistrationSection,
    /// Letters to them. Default: as [`MailSection::default`].
    #[serde(default)]
    pub mail: MailSection,
    /// Payment providers. Default: as [`PaymentsSection::default`].
    #[serde(default)]
    pub payments: PaymentsSection,
    /// The mesh; needed when a backend is of type `mesh`. Default: none.
    pub mesh: Option<MeshSection>,
    /// Placement, reads and repair on the mesh.
    #[serde(default)]
    pub cluster: ClusterConfig,
    /// Where sealed chunks go, and which storage class goes where. Default: as [`StorageSection::default`].
    #[serde(default)]
    pub storage: StorageSection,
    /// Writing. Default: as [`IngestSection::default`].
    #[serde(default)]
    pub ingest: IngestSection,
    /// Background jobs. Default: as [`JobsSection::default`].
    #[serde(default)]
    pub jobs: JobsSection,
    /// Buckets as web sites. Default: as [`WebsiteSection::default`].
    #[serde(default)]
    pub website: WebsiteSection,
    /// Event notifications. Default: as [`EventsSection::default`].
    #[serde(default)]
    pub events: EventsSection,
    /// What is logged, and how.
    #[serde(default)]
    pub log: LogSection,
}

/// `[website]`: buckets as web sites.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebsiteSection {
    /// Where to listen, with the certificate and the limits of `[s3]`. Default: nowhere.
    pub listen: Option<SocketAddr>,
    /// Domains under which buckets are sites: `bucket.DOMAIN`. Any other host is a bucket's name. Default: none.
    pub domains: Vec<String>,
}

/// `[events]`: what messages about changes may do.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsSection {
    /// Networks that webhooks may be in beside the public internet, such as `10.0.0.0/8`. Default: none.
    pub allowed_networks: Vec<Network>,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

/// `[s3]`: the S3 listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Section {
    /// Where to listen. Default: 127.0.0.1:9000.
    pub listen: SocketAddr,
    /// Domains under which buckets are virtual hosts: `bucket.DOMAIN`. Default: none.
    pub domains: Vec<String>,
    /// Whether requests may carry signatures of version 2, which are weaker, for clients that know no other.
    /// Default: false.
    pub signature_v2: bool,
    /// PEM certificate chain; with it only HTTPS is spoken. Default: none.
    pub tls_certificate: Option<PathBuf>,
    /// PEM private key of the certificate. Default: none.
    pub tls_key: Option<PathBuf>,
    /// Open connections; further ones wait. Default: 4096.
    pub connections_max: usize,
    /// Requests under way; further ones are answered 503. Default: 512.
    pub requests_max: usize,
    /// How long headers may take, and a connection may idle. Default: 60s.
    pub header_timeout: TimeSpan,
    /// How long a body may stand still. Default: 60s.
    pub body_idle_timeout: TimeSpan,
    /// How long requests may take to finish after SIGTERM. Default: 30s.
    pub drain_timeout: TimeSpan,
}

impl Default for S3Section {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9000)),
            domains: Vec::new(),
            signature_v2: false,
            tls_certificate: None,
            tls_key: None,
            connections_max: 4096,
            requests_max: 512,
            header_timeout: TimeSpan::seconds(60),
            body_idle_timeout: TimeSpan::seconds(60),
            drain_timeout: TimeSpan::seconds(30),
        }
    }
}

impl S3Section {
    /// The listener's limits.
    pub fn http(&self) -> HttpConfig {
        HttpConfig {
            connections_max: self.connections_max,
            requests_max: self.requests_max,
            header_timeout: self.header_timeout.duration(),
            body_idle_timeout: self.body_idle_timeout.duration(),
            drain_timeout: self.drain_timeout.duration(),
        }
    }
}

/// `[database]`: catalog and accounts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSection {
    /// `sqlite:PATH` or `postgres://USER@HOST/DATABASE`. Default: `catalog.db` in `data_dir`.
    pub url: Option<String>,
    /// A file that holds the URL instead, for one with a password. Default: none.
    pub url_file: Option<PathBuf>,
    /// Connections. Default: 16.
    pub connections: Option<usize>,
}

/// `[keys]`: the key encryption key.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeysSection {
    /// The file of the key encryption key, created with mode 0600 when absent. Whoever loses it loses all data.
    /// Default: `kek` in `data_dir`.
    pub kek_file: Option<PathBuf>,
}

/// `[ingest]`: writing objects.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestSection {
    /// Objects up to this size are kept in the catalog. Default: 8 KiB.
    pub inline_max: ByteSize,
    /// Chunks of one upload under way at a time. Default: 4.
    pub chunks_in_flight: usize,
    /// Their plaintext. Default: 4 MiB.
    pub in_flight: ByteSize,
    /// The same for all uploads together. Default: 128 MiB.
    pub in_flight_total: ByteSize,
}

impl Default for IngestSection {
    fn default() -> Self {
        Self {
            inline_max: ByteSize(8 * KIB),
            chunks_in_flight: 4,
            in_flight: ByteSize(4 * MIB),
            in_flight_total: ByteSize(128 * MIB),
        }
    }
}

impl IngestSection {
    /// The limits of writing.
    pub fn ingest(&self) -> IngestConfig {
        IngestConfig {
            inline_max: self.inline_max.bytes() as usize,
            chunks_in_flight: self.chunks_in_flight,
            in_flight_bytes: self.in_flight.bytes() as usize,
            in_flight_bytes_total: self.in_flight_total.bytes() as usize,
            ..IngestConfig::default()
        }
    }
}

impl GatewayConfig {
    /// A configuration with every default.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            region: default_region(),
            s3: S3Section::default(),
            admin: AdminSection::default(),
            database: DatabaseSection::default(),
            keys: KeysSection::default(),
            accounts: AccountsSection::default(),
            registration: RegistrationSection::default(),
            mail: MailSection::default(),
            payments: PaymentsSection::default(),
            mesh: None,
            cluster: ClusterConfig::default(),
            storage: StorageSection::default(),
            ingest: IngestSection::default(),
            jobs: JobsSection::default(),
            website: WebsiteSection::default(),
            events: EventsSection::default(),
            log: LogSection::default(),
        }
    }

    /// Checks what types can't.
    ///
    /// # Errors
    /// The first key whose value is out of range, with what was expected.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.s3.tls_certificate.is_some() != self.s3.tls_key.is_some() {
            return Err(Invalid::new("s3.tls_key", "tls_certificate and tls_key together"));
        }
        if self.s3.connections_max == 0 || self.s3.requests_max == 0 {
            return Err(Invalid::new("s3.connections_max", "connections_max and requests_max of at least 1"));
        }
        if self.s3.listen == self.admin.listen && self.s3.listen.port() != 0 {
            return Err(Invalid::new("admin.listen", "another address than s3.listen"));
        }
        if self.database.url.is_some() && self.database.url_file.is_some() {
            return Err(Invalid::new("database.url_file", "either url or url_file"));
        }
        if self.database.connections == Some(0) {
            return Err(Invalid::new("database.connections", "at least 1"));
        }
        if self.ingest.inline_max.bytes() > MIB {
            return Err(Invalid::new("ingest.inline_max", "at most 1 MiB"));
        }
        if self.ingest.chunks_in_flight == 0 || self.ingest.in_flight_total.bytes() > 64 * GIB {
            return Err(Invalid::new(
                "ingest.chunks_in_flight",
                "at least 1, and in_flight_total of at most 64 GiB",
            ));
        }
        self.accounts.validate()?;
        self.validate_metering()?;
        self.admin.validate()?;
        self.mail.validate()?;
        self.payments.validate()?;
        self.jobs.validate()?;
        self.storage.validate(self.mesh.is_some())?;
        self.mesh.as_ref().map_or(Ok(()), MeshSection::validate)
    }

    /// Invoices are made of what was metered, and payments are for invoices.
    fn validate_metering(&self) -> Result<(), Invalid> {
        if self.accounts.metering {
            return Ok(());
        }
        if self.jobs.automatic_invoices {
            return Err(Invalid::new("accounts.metering", "true, or jobs.automatic_invoices = false"));
        }
        if self.payments.listen.is_some() {
            return Err(Invalid::new("accounts.metering", "true, or no payments.listen"));
        }
        Ok(())
    }

    /// Where the key encryption key is kept.
    pub fn kek_file(&self) -> PathBuf {
        self.in_data_dir(self.keys.kek_file.as_deref(), "kek")
    }

    /// Where the newest head of the audit log that this gateway has signed is kept.
    pub fn audit_head_file(&self) -> PathBuf {
        self.kek_file().with_file_name("audit-head.json")
    }

    /// Where this gateway's identity in the mesh is kept.
    pub fn key_file(&self) -> PathBuf {
        self.in_data_dir(self.mesh.as_ref().and_then(|mesh| mesh.key_file.as_deref()), "gateway.key")
    }

    fn in_data_dir(&self, configured: Option<&Path>, name: &str) -> PathBuf {
        configured.map_or_else(|| self.data_dir.join(name), Path::to_owned)
    }

    /// The database's URL.
    ///
    /// # Errors
    /// `url_file` cannot be read.
    pub fn database_url(&self) -> std::io::Result<String> {
        match (&self.database.url, &self.database.url_file) {
            (Some(url), _) => Ok(url.clone()),
            (None, Some(file)) => Ok(std::fs::read_to_string(file)?.trim().to_owned()),
            (None, None) => Ok(format!("sqlite:{}", self.data_dir.join("catalog.db").display())),
        }
    }
}

#[cfg(test)]
mod tests;
