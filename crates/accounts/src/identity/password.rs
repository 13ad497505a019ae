//! Passwords: Argon2id (RFC 9106) with the parameters that OWASP recommends, and a secret of the key ring, so that the
//! database alone does not let anybody guess.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::SaltString;
use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::IdentityError;
use crate::{AccountsError, Secret};

/// 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Hashes computed at once: what they need of memory is bounded with this.
const AT_ONCE: usize = 4;
/// How long a hash waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(5);
const LEN: std::ops::RangeInclusive<usize> = 10..=256;

/// Hashes passwords and checks them.
#[derive(Clone)]
pub(crate) struct Passwords {
    shared: Arc<Shared>,
}

struct Shared {
    secret: Zeroizing<[u8; 32]>,
    turns: Arc<Semaphore>,
    /// What is checked where there is no password, for the same work.
    nobodys: String,
}

impl Passwords {
    pub fn new(secret: Zeroizing<[u8; 32]>) -> Result<Self, AccountsError> {
        let mut random = [0; 48];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| AccountsError::Random)?;
        let (salt, hash) = random.split_at(16);
        let text = |bytes| STANDARD_NO_PAD.encode(bytes);
        let (salt, hash) = (text(salt), text(hash));
        let nobodys = format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${hash}");
        Ok(Self { shared: Arc::new(Shared { secret, turns: Arc::new(Semaphore::new(AT_ONCE)), nobodys }) })
    }

    /// The hash of a new password, in PHC's form.
    pub async fn hash(&self, password: Secret) -> Result<String, IdentityError> {
        if !LEN.contains(&password.expose().len()) {
            return Err(IdentityError::Invalid { field: "password", expected: "10 to 256 bytes" });
        }
        let hashed = self.in_turn(move |shared| hash(&shared.secret, password.expose().as_bytes())).await?;
        Ok(hashed?)
    }

    /// Whether a password is the one that was hashed. Without a hash it takes as long, and is not.
    pub async fn verify(&self, password: Secret, stored: Option<String>) -> Result<bool, IdentityError> {
        self.in_turn(move |shared| {
            let text = stored.as_deref().unwrap_or(&shared.nobodys);
            let Ok(parsed) = PasswordHash::new(text) else { return false };
            let hasher = hasher(&shared.secret);
            let matches = hasher.verify_password(password.expose().as_bytes(), &parsed).is_ok();
            matches && stored.is_some()
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, IdentityError> {
        let shared = Arc::clone(&self.shared);
        let turn = tokio::time::timeout(WAIT_MAX, Arc::clone(&shared.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(IdentityError::Busy) };
        // The turn ends with the work: a request that is given up does not stop it.
        let working = tokio::task::spawn_blocking(move || {
            let done = work(&shared);
            drop(turn);
            done
        });
        working.await.map_err(|_| IdentityError::Busy)
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords(..)")
    }
}

fn hasher(secret: &[u8; 32]) -> Argon2<'_> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are within Argon2's bounds");
    Argon2::new_with_secret(secret, Algorithm::Argon2id, Version::V0x13, params)
        .expect("32 bytes are no longer than a secret may be")
}

fn hash(secret: &[u8; 32], password: &[u8]) -> Result<String, AccountsError> {
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| AccountsError::Random)?;
    let salt = SaltString::encode_b64(&salt).expect("16 bytes are a salt");
    let hashed = hasher(secret).hash_password(password, &salt);
    Ok(hashed.expect("password and salt are within Argon2's bounds").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_opens_its_own_hash_under_the_same_key_alone() {
        let passwords = Passwords::new(Zeroizing::new([1; 32])).unwrap();
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash(secret("correct horse")).await.unwrap(), "each has its own salt");
        let verify = async |password: &str, stored: Option<&str>| {
            passwords.verify(secret(password), stored.map(str::to_owned)).await.unwrap()
        };
        assert!(verify("correct horse", Some(&hash)).await);
        assert!(!verify("correct horsf", Some(&hash)).await);
        assert!(!verify("correct horse", None).await);
        assert!(!verify("correct horse", Some("nonsense")).await);
        let other = Passwords::new(Zeroizing::new([2; 32])).unwrap();
        assert!(!other.verify(secret("correct horse"), Some(hash)).await.unwrap());
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_keeps_its_turn_until_its_work_is_done() {
        let passwords = Passwords::new(Zeroizing::new([1; 32])).unwrap();
        let (started, mut has_started) = tokio::sync::mpsc::channel(AT_ONCE);
        let (finish, may_finish) = std::sync::mpsc::channel::<()>();
        let may_finish = Arc::new(std::sync::Mutex::new(may_finish));
        for _ in 0..AT_ONCE {
            let (started, may_finish) = (started.clone(), Arc::clone(&may_finish));
            let request = passwords.in_turn(move |_| {
                started.try_send(()).unwrap();
                may_finish.lock().unwrap().recv().unwrap();
            });
            tokio::select! {
                biased;
                ended = request => panic!("{ended:?} before it could"),
                begun = has_started.recv() => begun.unwrap(),
            }
        }
        let turns = &passwords.shared.turns;
        assert_eq!(turns.available_permits(), 0, "all are given up, and all still work");
        for _ in 0..AT_ONCE {
            finish.send(()).unwrap();
        }
        drop(turns.acquire_many(AT_ONCE as u32).await.unwrap());
    }

    #[tokio::test]
    async fn short_and_endless_passwords_are_refused() {
        let passwords = Passwords::new(Zeroizing::new([1; 32])).unwrap();
        for bad in ["", "123456789", &"x".repeat(257)] {
            let refused = passwords.hash(secret(bad)).await;
            assert!(matches!(refused, Err(IdentityError::Invalid { field: "password", .. })), "{bad}");
        }
        passwords.hash(secret("1234567890")).await.unwrap();
    }
}
