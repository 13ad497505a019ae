//! Virtual hosts: `BUCKET.DOMAIN` for the configured domains. Any other host means paths.

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

#[derive(Clone)]
pub(super) struct VirtualHosts {
    pub domains: Vec<String>,
}

impl S3Host for VirtualHosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        for domain in &self.domains {
            let bucket = name.len().checked_sub(domain.len()).and_then(|len| {
                let (bucket, suffix) = name.split_at_checked(len)?;
                suffix.eq_ignore_ascii_case(domain).then_some(bucket)
            });
            match bucket.map(|bucket| bucket.strip_suffix('.').ok_or(bucket)) {
                Some(Ok(bucket)) if !bucket.is_empty() => {
                    return Ok(VirtualHost::new(domain).with_bucket(bucket.to_ascii_lowercase()));
                }
                Some(Err("")) => return Ok(VirtualHost::new(domain)),
                _ => {}
            }
        }
        Ok(VirtualHost::new(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_below_a_domain_carry_a_bucket() {
        let hosts = VirtualHosts { domains: vec!["s3.example.com".into(), "localhost".into()] };
        let bucket = |host: &str| hosts.parse_host_header(host).unwrap().bucket().map(str::to_owned);
        assert_eq!(bucket("b.s3.example.com:9000").as_deref(), Some("b"));
        assert_eq!(bucket("a.b.S3.example.com").as_deref(), Some("a.b"));
        assert_eq!(bucket("b.localhost").as_deref(), Some("b"));
        for host in [
            "s3.example.com",
            "xs3.example.com",
            ".s3.example.com",
            "localhost:9000",
            "127.0.0.1:9000",
            "[::1]:9000",
            "other.org",
        ] {
            assert_eq!(bucket(host), None, "{host}");
        }
    }
}
