//! Requests that may be repeated: the first one with a key is carried out, every later one gets its answer.

use std::sync::Arc;
use std::time::Duration;

use datamesh_db::Tx;

use crate::{Accounts, AccountsError, Digest};

/// How long an answer is remembered.
const KEPT_FOR: Duration = Duration::from_hours(24);

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body. It may hold a secret, so it is stored sealed.
    pub body: Vec<u8>,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nothing: whoever asked carries the request out, and must tell the answer.
    Granted,
    /// The same request was answered.
    Answered(Answer),
    /// The same request is being carried out, or was cut off: what became of it is not known.
    Unfinished,
    /// The key belongs to another request.
    Taken,
}

impl Accounts {
    /// Claims a key for a request of `actor`'s. Of any number of claims at once, one is granted.
    pub async fn claim_request(
        &self,
        actor: &str,
        key: &str,
        request: Digest,
    ) -> Result<Claim, AccountsError> {
        let id = Arc::<str>::from(id_of(actor, key));
        let stored = {
            let (id, now_ms) = (Arc::clone(&id), self.now_ms());
            self.db()
                .write(move |tx| {
                    let id = Arc::clone(&id);
                    Box::pin(async move { claim(tx, &id, request, now_ms).await })
                })
                .await?
        };
        match stored {
            Stored::Nothing => Ok(Claim::Granted),
            Stored::Another => Ok(Claim::Taken),
            Stored::Same(None) => Ok(Claim::Unfinished),
            Stored::Same(Some((status, sealed))) => {
                let body = self.keyring().kek().open(&answer_name(&id), &sealed)?.to_vec();
                Ok(Claim::Answered(Answer { status, body }))
            }
        }
    }

    /// Remembers the answer to a request whose claim was granted.
    pub async fn answer_request(&self, actor: &str, key: &str, answer: Answer) -> Result<(), AccountsError> {
        const ANSWER: &str = "UPDATE answered_request SET status = $2, answer = $3 WHERE id = $1";
        let id = id_of(actor, key);
        let sealed = self.keyring().kek().seal(&answer_name(&id), &answer.body)?;
        self.db().execute(ANSWER, [id.into(), answer.status.into(), sealed.into()].into()).await?;
        Ok(())
    }

    /// Gives a claim back: the request changed nothing, so a repetition shall be carried out.
    pub async fn release_request(&self, actor: &str, key: &str) -> Result<(), AccountsError> {
        const RELEASE: &str = "DELETE FROM answered_request WHERE id = $1 AND answer IS NULL";
        self.db().execute(RELEASE, [id_of(actor, key).into()].into()).await?;
        Ok(())
    }

    /// Forgets answers that are older than a day; how many they were.
    pub async fn forget_answers(&self) -> Result<u64, AccountsError> {
        const FORGET: &str = "DELETE FROM answered_request WHERE created_at_ms < $1";
        Ok(self.db().execute(FORGET, [oldest_ms(self.now_ms()).into()].into()).await?)
    }
}

/// What the database has of a key.
enum Stored {
    Nothing,
    Another,
    /// The status and the sealed answer, once there is one.
    Same(Option<(u16, Vec<u8>)>),
}

async fn claim(tx: &mut Tx, id: &str, request: Digest, now_ms: u64) -> Result<Stored, AccountsError> {
    const EXPIRE: &str = "DELETE FROM answered_request WHERE id = $1 AND created_at_ms < $2";
    const CLAIM: &str = "INSERT INTO answered_request (id, request, created_at_ms) VALUES ($1, $2, $3)
        ON CONFLICT (id) DO NOTHING";
    const FIND: &str = "SELECT request, status, answer FROM answered_request WHERE id = $1";
    tx.execute(EXPIRE, &[id.into(), oldest_ms(now_ms).into()]).await?;
    if tx.execute(CLAIM, &[id.into(), (&request.0).into(), now_ms.into()]).await? == 1 {
        return Ok(Stored::Nothing);
    }
    // One that was given back between the two statements is as good as unfinished.
    let Some(mut row) = tx.query_opt(FIND, &[id.into()]).await? else { return Ok(Stored::Same(None)) };
    if row.bytes::<32>(0)? != request.0 {
        return Ok(Stored::Another);
    }
    match row.opt_int(1)? {
        Some(status) => Ok(Stored::Same(Some((status as u16, row.take_blob(2)?)))),
        None => Ok(Stored::Same(None)),
    }
}

fn oldest_ms(now_ms: u64) -> u64 {
    now_ms.saturating_sub(KEPT_FOR.as_millis() as u64)
}

/// Names of actors have no slash.
fn id_of(actor: &str, key: &str) -> String {
    format!("{actor}/{key}")
}

/// What an answer is sealed under.
pub(crate) fn answer_name(id: &str) -> String {
    format!("answer/{id}")
}
