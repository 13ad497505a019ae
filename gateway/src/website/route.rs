//! Where a request leads: pure decisions.

use http::uri::Authority;

use super::site::{RoutingRule, Scheme, Website};

/// What percent-encoding a key needs in a path.
fn encode(key: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut path = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                path.push(char::from(byte));
            }
            byte => {
                path.push('%');
                path.push(char::from(DIGITS[usize::from(byte >> 4)]));
                path.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
    path
}

/// The key that a path names, decoded; `None` when that is no UTF-8.
pub(super) fn key_of(path: &str) -> Option<String> {
    let raw = path.strip_prefix('/').unwrap_or(path);
    let mut key = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            key.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        key.push((high * 16 + low) as u8);
    }
    String::from_utf8(key).ok()
}

/// The bucket's name in a host: what stands before one of the domains, else all of it.
pub(super) fn bucket_of(host: &str, domains: &[String]) -> Option<String> {
    let authority: Authority = host.parse().ok()?;
    let host = authority.host().to_ascii_lowercase();
    let label = |domain: &String| host.strip_suffix(domain.as_str())?.strip_suffix('.').map(str::to_owned);
    domains.iter().find_map(label).or(Some(host)).filter(|name| !name.is_empty())
}

/// The key to show for a key that is asked for: that of a folder is its index page's.
pub(super) fn page_of(site: &Website, key: &str) -> String {
    match &site.index {
        Some(index) if key.is_empty() || key.ends_with('/') => format!("{key}{index}"),
        _ => key.to_owned(),
    }
}

/// Where every request of the site is sent, if it is.
pub(super) fn redirect_all(site: &Website, raw_path_and_query: &str, asked: Scheme) -> Option<String> {
    let all = site.redirect_all.as_ref()?;
    let scheme = all.scheme.unwrap_or(asked).name();
    Some(format!("{scheme}://{}{raw_path_and_query}", all.host))
}

/// Where the first rule that matches sends the request, with the status of the answer.
///
/// `error` is the status that the request would be answered with; `None` before that is known: then only rules
/// without a condition on it match, and after that only those with one.
pub(super) fn redirect(
    site: &Website,
    key: &str,
    error: Option<u16>,
    (host, asked): (&str, Scheme),
) -> Option<(u16, String)> {
    let matches = |rule: &&RoutingRule| {
        rule.condition.error == error
            && rule.condition.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix.as_str()))
    };
    let RoutingRule { condition, redirect } = site.rules.iter().find(matches)?;
    let target = match (&redirect.replace_key, &redirect.replace_prefix) {
        (Some(whole), _) => whole.clone(),
        (None, Some(start)) => {
            let rest = condition.prefix.as_deref().and_then(|prefix| key.strip_prefix(prefix));
            format!("{start}{}", rest.unwrap_or(key))
        }
        (None, None) => key.to_owned(),
    };
    let scheme = redirect.scheme.unwrap_or(asked).name();
    let host = redirect.host.as_deref().unwrap_or(host);
    Some((redirect.status.unwrap_or(301), format!("{scheme}://{host}/{}", encode(&target))))
}

/// The path of a key below its bucket, for the S3 service.
pub(super) fn object_path(bucket: &str, key: &str) -> String {
    format!("/{bucket}/{}", encode(key))
}

#[cfg(test)]
mod tests {
    use super::super::site::{Redirect, RedirectAll, RoutingCondition};
    use super::*;

    #[test]
    fn a_host_names_a_bucket_with_or_without_a_domain() {
        let domains = ["site.example".to_owned()];
        for (host, bucket) in [
            ("b.site.example", Some("b")),
            ("B.Site.Example:8080", Some("b")),
            ("a.b.site.example", Some("a.b")),
            ("www.other.org", Some("www.other.org")),
            ("", None),
            ("a b", None),
        ] {
            assert_eq!(bucket_of(host, &domains).as_deref(), bucket, "{host}");
        }
    }

    #[test]
    fn keys_survive_their_path() {
        for key in ["", "a", "a/b", "a b", "\u{e9}%/?#", "a+b"] {
            assert_eq!(key_of(&format!("/{}", encode(key))).as_deref(), Some(key), "{key}");
        }
        for path in ["/%", "/%4", "/%zz", "/%ff"] {
            assert_eq!(key_of(path), None, "{path}");
        }
    }

    #[test]
    fn a_folder_is_its_index_page() {
        let site = Website { index: Some("index.html".into()), ..Website::default() };
        for (key, page) in [("", "index.html"), ("a/", "a/index.html"), ("a", "a")] {
            assert_eq!(page_of(&site, key), page);
        }
    }

    fn rule(prefix: Option<&str>, error: Option<u16>, redirect: Redirect) -> RoutingRule {
        RoutingRule { condition: RoutingCondition { prefix: prefix.map(str::to_owned), error }, redirect }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let replace = Redirect { replace_prefix: Some("new/".into()), ..Redirect::default() };
        let lost = Redirect {
            host: Some("o.example".into()),
            scheme: Some(Scheme::Https),
            status: Some(302),
            replace_key: Some("lost page".into()),
            ..Redirect::default()
        };
        let rules = vec![rule(Some("old/"), None, replace), rule(None, Some(404), lost)];
        let site = Website { rules, ..Website::default() };
        let from = ("h.example:80", Scheme::Http);
        let to = |status, url: &str| Some((status, url.to_owned()));
        assert_eq!(redirect(&site, "old/a b", None, from), to(301, "http://h.example:80/new/a%20b"));
        assert_eq!(redirect(&site, "x", None, from), None);
        assert_eq!(redirect(&site, "x", Some(404), from), to(302, "https://o.example/lost%20page"));
        assert_eq!(redirect(&site, "x", Some(403), from), None);
    }

    #[test]
    fn a_site_can_send_everything_elsewhere() {
        let all = RedirectAll { host: "o.example".into(), scheme: None };
        let site = Website { redirect_all: Some(all), ..Website::default() };
        assert_eq!(
            redirect_all(&site, "/a%20b?x=1", Scheme::Https).as_deref(),
            Some("https://o.example/a%20b?x=1")
        );
        assert_eq!(redirect_all(&Website::default(), "/", Scheme::Http), None);
    }
}
