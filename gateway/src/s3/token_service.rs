//! The security token service (STS), on the same address as S3: `GetSessionToken`, `AssumeRole`, `GetCallerIdentity`.
//!
//! Temporary credentials never do more than the key that they were made with. A role is no more than a name here: an
//! account may assume any role of its own, and the session's policy is what narrows it down.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use datamesh_accounts::{Accounts, AccountsError, NewSession, TemporaryKey};
use datamesh_policy::{Action, ResourceName};
use http::header::CONTENT_TYPE;
use http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri};
use s3s::route::S3Route;
use s3s::{Body, S3Error, S3Request, S3Response, S3Result, s3_error};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::admission::{TOKEN_SERVICE, admit};
use super::auth::identify;
use super::caller::Caller;
use super::errors;
use crate::http::RequestTrace;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const FORM: &str = "application/x-www-form-urlencoded";
/// The longest request, in bytes: S3's clients send a policy of 2 KiB at most, escaped.
const FORM_LEN_MAX: usize = 64 << 10;

const MINIMUM: Duration = Duration::from_mins(15);
const HOUR: Duration = Duration::from_hours(1);

/// Makes temporary credentials.
pub(super) struct TokenService {
    pub accounts: Accounts,
}

/// Why a request is refused: a code of STS's and what to do about it.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }

    fn denied(message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, code: "AccessDenied", message: message.into() }
    }
}

impl From<S3Error> for Refusal {
    fn from(error: S3Error) -> Self {
        let status = error.status_code().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            let message = "The request could not be served.".to_owned();
            return Self { status, code: "InternalFailure", message };
        }
        Self { status, code: "AccessDenied", message: error.message().unwrap_or("Access denied.").to_owned() }
    }
}

impl From<AccountsError> for Refusal {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::InvalidPolicy(error) => {
                Self::invalid("MalformedPolicyDocument", error.to_string())
            }
            error => errors::accounts(error).into(),
        }
    }
}

#[async_trait]
impl S3Route for TokenService {
    fn is_match(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        _extensions: &mut Extensions,
    ) -> bool {
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        *method == Method::POST && uri.path() == "/" && media_type.is_some_and(|text| text.starts_with(FORM))
    }

    async fn check_access(&self, req: &mut S3Request<Body>) -> S3Result<()> {
        let access_key = req.credentials.as_ref().map(|credentials| credentials.access_key.as_str());
        let identity = identify(&self.accounts, access_key, &req.headers, &req.uri).await?;
        if let Some(trace) = req.extensions.get::<Arc<RequestTrace>>() {
            // Before the form is read: which operation it asks for makes no difference.
            admit(&self.accounts, trace, &identity, (TOKEN_SERVICE, &req.method)).await?;
        }
        req.extensions.insert(identity);
        Ok(())
    }

    async fn call(&self, mut req: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let form =
            req.input.store_all_limited(FORM_LEN_MAX).await.map_err(|error| {
                s3_error!(InvalidRequest, "The request's form could not be read: {error}")
            })?;
        let form = Form(form_urlencoded::parse(&form).into_owned().collect());
        let trace = req.extensions.get::<Arc<RequestTrace>>().cloned();
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let (action, answered) = match form.get("Action").unwrap_or_default() {
            "GetSessionToken" => ("GetSessionToken", self.get_session_token(&caller, &form).await),
            "AssumeRole" => ("AssumeRole", self.assume_role(&caller, &form).await),
            "GetCallerIdentity" => ("GetCallerIdentity", caller_identity(&caller)),
            other => {
                let message = format!("Could not find operation {other}");
                ("UnknownAction", Err(Refusal::invalid("InvalidAction", message)))
            }
        };
        let id = trace.as_ref().map_or("", |trace| trace.id());
        if let Some(trace) = &trace {
            trace.set_operation(action);
        }
        let (status, document) = match answered {
            Ok(result) => (StatusCode::OK, answer(action, &result, id)),
            Err(refusal) => (refusal.status, refuse(&refusal, id)),
        };
        let mut response = S3Response::with_status(Body::from(document), status);
        response.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
        Ok(response)
    }
}

/// A request's fields.
struct Form(Vec<(String, String)>);

impl Form {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a list has members: `NAME.member.1.arn=...`.
    fn has_list(&self, name: &str) -> bool {
        let is_member = |known: &str| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        self.0.iter().any(|(known, _)| is_member(known))
    }

    fn lifetime(&self, standard: Duration, longest: Duration) -> Result<Duration, Refusal> {
        let Some(text) = self.get("DurationSeconds") else { return Ok(standard) };
        let lifetime = text.parse().map(Duration::from_secs).ok();
        lifetime.filter(|lifetime| (MINIMUM..=longest).contains(lifetime)).ok_or_else(|| {
            let (least, most) = (MINIMUM.as_secs(), longest.as_secs());
            Refusal::invalid("ValidationError", format!("DurationSeconds: expected {least} to {most}"))
        })
    }
}

impl TokenService {
    async fn get_session_token(&self, caller: &Caller<'_>, form: &Form) -> Result<String, Refusal> {
        let key = caller.credential().filter(|_| caller.session().is_none());
        let key =
            key.ok_or_else(|| Refusal::denied("Cannot call GetSessionToken with session credentials"))?;
        let lifetime = form.lifetime(12 * HOUR, 36 * HOUR)?;
        let session = NewSession { lifetime, ..NewSession::default() };
        let made = self.accounts.create_session(key, session).await?;
        Ok(shown_credentials(&made))
    }

    async fn assume_role(&self, caller: &Caller<'_>, form: &Form) -> Result<String, Refusal> {
        if caller.session().is_some() {
            return Err(Refusal::denied("Roles may not be assumed with session credentials"));
        }
        let key = caller.on_own_account(Action::AssumeRole, ResourceName::Account)?;
        // Policies that were asked for and do not count would leave the session wider than whoever asked believes.
        if form.has_list("PolicyArns") {
            let message =
                "PolicyArns: there are no managed policies here; put the session's policy into Policy";
            return Err(Refusal::invalid("ValidationError", message));
        }
        let arn = form.get("RoleArn").unwrap_or_default();
        let role = role_of(arn, &key.account.to_string())?;
        let name = form.get("RoleSessionName").unwrap_or_default();
        if !is_session_name(name) {
            let message = "RoleSessionName: expected 2 to 64 letters, digits or any of =,.@-_+";
            return Err(Refusal::invalid("ValidationError", message));
        }
        let session = NewSession {
            role: Some((role.to_owned(), name.to_owned())),
            policy: form.get("Policy").map(str::to_owned),
            lifetime: form.lifetime(HOUR, 12 * HOUR)?,
        };
        let made = self.accounts.create_session(key, session).await?;
        let mut result = shown_credentials(&made);
        let arn = format!("arn:aws:sts::{}:assumed-role/{role}/{name}", key.account);
        let id = format!("{}:{name}", key.access_key_id);
        let _ = write!(
            result,
            "<AssumedRoleUser><Arn>{}</Arn><AssumedRoleId>{}</AssumedRoleId></AssumedRoleUser>",
            Escaped(&arn),
            Escaped(&id)
        );
        Ok(result)
    }
}

fn caller_identity(caller: &Caller<'_>) -> Result<String, Refusal> {
    let (Some(key), Some(arn)) = (caller.credential(), caller.arn()) else {
        return Err(Refusal::denied("The request is not signed."));
    };
    let account = key.account;
    Ok(format!("<Arn>{}</Arn><UserId>{account}</UserId><Account>{account}</Account>", Escaped(arn)))
}

/// The name in `arn:aws:iam::ACCOUNT:role/NAME`. The account may be left out; it may not be another.
fn role_of<'a>(arn: &'a str, account: &str) -> Result<&'a str, Refusal> {
    let invalid = || Refusal::invalid("ValidationError", "RoleArn: expected arn:aws:iam::ACCOUNT:role/NAME");
    let rest = arn.strip_prefix("arn:aws:iam::").ok_or_else(invalid)?;
    let (of, role) = rest.split_once(":role/").ok_or_else(invalid)?;
    if role.is_empty() || role.len() > 512 || !role.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid());
    }
    if !of.is_empty() && of != account {
        return Err(Refusal::denied(format!("Not authorized to perform sts:AssumeRole on {arn}")));
    }
    Ok(role)
}

fn is_session_name(name: &str) -> bool {
    (2..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=,.@-_+".contains(&byte))
}

fn shown_credentials(made: &TemporaryKey) -> String {
    let expires = OffsetDateTime::from(UNIX_EPOCH + Duration::from_millis(made.expires_at_ms));
    let expires = expires.replace_nanosecond(0).unwrap_or(expires).format(&Rfc3339).unwrap_or_default();
    format!(
        "<Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
         <SessionToken>{}</SessionToken><Expiration>{expires}</Expiration></Credentials>",
        made.access_key_id,
        made.secret_access_key.expose(),
        made.session_token.expose()
    )
}

fn answer(action: &str, result: &str, id: &str) -> String {
    format!(
        "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{result}</{action}Result>\
         <ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{action}Response>"
    )
}

fn refuse(refusal: &Refusal, id: &str) -> String {
    let kind = if refusal.status.is_server_error() { "Receiver" } else { "Sender" };
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{kind}</Type><Code>{}</Code>\
         <Message>{}</Message></Error><RequestId>{id}</RequestId></ErrorResponse>",
        refusal.code,
        Escaped(&refusal.message)
    )
}

/// A text inside a document.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_other_accounts_are_not_assumed() {
        let cases = [
            ("arn:aws:iam::me:role/reader", Some("reader")),
            ("arn:aws:iam:::role/a/b", Some("a/b")),
            ("arn:aws:iam::other:role/reader", None),
            ("arn:aws:iam::me:role/", None),
            ("arn:aws:iam::me:user/x", None),
            ("arn:aws:iam::me:role/a b", None),
            ("", None),
        ];
        for (arn, expected) in cases {
            assert_eq!(role_of(arn, "me").ok(), expected, "{arn}");
        }
    }

    #[test]
    fn a_refusal_carries_no_markup_of_the_client() {
        let refusal = Refusal::invalid("InvalidAction", "Could not find operation <a>&");
        assert!(refuse(&refusal, "1").contains("operation &lt;a&gt;&amp;"));
    }
}
