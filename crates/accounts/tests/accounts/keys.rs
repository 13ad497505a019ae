//! The key ring and access keys.

use super::*;
use datamesh_accounts::{KeyStatus, NewKey};
use datamesh_db::Engine;
use datamesh_pipeline::chunk_id;
use datamesh_types::{AccountId, DomainId};
use tokio::sync::Notify;

#[tokio::test(flavor = "multi_thread")]
async fn another_kek_is_refused_when_the_ring_is_opened() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let ring = fixture.keyring().await.unwrap();
        let other = Kek::load_or_create(fixture.folder.path().join("other")).unwrap();
        assert!(matches!(Keyring::open(db, other).await, Err(AccountsError::WrongKek)));
        fixture.keyring().await.unwrap();
        assert_eq!(format!("{ring:?}"), "Keyring(..)");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_gateway_has_the_same_keys_and_every_domain_its_own() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let domains = [DomainId::random(), DomainId::random()];
        let rings = (0..8).map(|_| {
            let ring = fixture.keyring();
            async move {
                let ring = ring.await.unwrap();
                let mut ids = Vec::new();
                for domain in domains {
                    ids.push(chunk_id(&ring.domain_key(domain).await.unwrap(), b"plaintext"));
                    assert_eq!(
                        chunk_id(&ring.domain_key(domain).await.unwrap(), b"plaintext"),
                        ids[ids.len() - 1]
                    );
                }
                ring.shard_auth_key().await.unwrap();
                ids
            }
        });
        let ids = futures::future::join_all(rings).await;
        assert!(ids.iter().all(|other| *other == ids[0]));
        assert_ne!(ids[0][0], ids[0][1]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_looked_up_with_its_secret_account_and_domain() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = user(&accounts, "free").await;
        let key = accounts.create_key(user.id, None).await.unwrap();
        assert!(key.access_key_id.starts_with("AKIA") && key.access_key_id.len() == 20, "{key:?}");
        assert_eq!(key.secret_access_key.expose().len(), 40);
        for _ in 0..2 {
            let found = accounts.lookup(&key.access_key_id).await.unwrap().unwrap();
            assert_eq!((found.account, found.domain), (user.id, user.domain));
            assert_eq!(found.secret, key.secret_access_key);
            assert!(!format!("{found:?}{key:?}").contains(key.secret_access_key.expose()));
        }
        assert!(accounts.lookup("AKIANOBODY").await.unwrap().is_none());
        assert!(accounts.lookup("' OR 1=1 --").await.unwrap().is_none());
        let nobody = AccountId::random();
        let error = accounts.create_key(nobody, None).await.unwrap_err();
        assert!(matches!(error, AccountsError::NoSuchAccount { account } if account == nobody));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explicit_key_is_checked_and_its_id_is_never_given_twice() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = user(&accounts, "free").await;
        let explicit =
            |id: &str, secret: &str| accounts.create_key(user.id, Some((id.to_owned(), secret.to_owned())));
        for id in ["", "ab", "a/b/c", "a b c", "k\u{e9}y-id", &"x".repeat(129)] {
            let error = explicit(id, "long enough".replace(' ', "-").as_str()).await.unwrap_err();
            assert!(matches!(error, AccountsError::InvalidAccessKeyId), "{id:?}: {error}");
        }
        for secret in ["", "short", "with a space", "gr\u{fc}\u{df}lich", &"x".repeat(129)] {
            let error = explicit("my-key", secret).await.unwrap_err();
            assert!(matches!(error, AccountsError::InvalidSecret), "{secret:?}: {error}");
        }
        // Looked up before it exists: what is remembered of that must not outlive its creation here.
        assert!(accounts.lookup("my-key").await.unwrap().is_none());
        explicit("my-key", "long-enough").await.unwrap();
        assert_eq!(accounts.lookup("my-key").await.unwrap().unwrap().secret.expose(), "long-enough");
        accounts.revoke_key("my-key").await.unwrap();
        let error = explicit("my-key", "long-enough").await.unwrap_err();
        assert!(
            matches!(error, AccountsError::AccessKeyExists { access_key_id } if access_key_id == "my-key")
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_reaches_its_gateway_at_once_and_the_others_within_five_seconds() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let [here, there] = [fixture.gateway().await, fixture.gateway().await];
        let user = user(&here, "free").await;
        let id = here.create_key(user.id, None).await.unwrap().access_key_id;
        let kept = here.create_key(user.id, None).await.unwrap().access_key_id;
        assert!(there.lookup(&id).await.unwrap().is_some());
        here.revoke_key(&id).await.unwrap();
        assert!(here.lookup(&id).await.unwrap().is_none());
        assert!(there.lookup(&id).await.unwrap().is_some(), "this is the cache, not a promise");
        fixture.clock.advance(Duration::from_secs(5));
        assert!(there.lookup(&id).await.unwrap().is_none());
        assert!(there.lookup(&kept).await.unwrap().is_some());

        here.revoke_key(&id).await.unwrap();
        let error = here.revoke_key("nobody").await.unwrap_err();
        assert!(
            matches!(error, AccountsError::NoSuchAccessKey { access_key_id } if access_key_id == "nobody")
        );
        let listed = here.list_keys(user.id).await.unwrap();
        let mut statuses: Vec<_> = listed.iter().map(|key| (&key.access_key_id, key.status)).collect();
        statuses.sort_by_key(|(_, status)| *status == KeyStatus::Revoked);
        assert_eq!(statuses, [(&kept, KeyStatus::Active), (&id, KeyStatus::Revoked)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_made_for_a_time_ends_with_it_and_so_does_what_replaces_it() {
    for_each_engine(|db| async move {
        const HOUR: Duration = Duration::from_hours(1);
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = user(&accounts, "free").await;
        let now_ms = fixture.clock.now_ms();
        for past_ms in [now_ms, now_ms - 1, 0, u64::MAX] {
            let new = NewKey { expires_at_ms: Some(past_ms), ..NewKey::default() };
            let refused = accounts.create_limited_key(user.id, new).await.unwrap_err();
            assert!(matches!(refused, AccountsError::InvalidPeriod { .. }), "{past_ms}: {refused}");
        }
        let end_ms = now_ms + 2 * HOUR.as_millis() as u64;
        let new = NewKey { expires_at_ms: Some(end_ms), ..NewKey::default() };
        let old = accounts.create_limited_key(user.id, new).await.unwrap();
        assert_eq!(old.expires_at_ms, Some(end_ms));
        let states = async || {
            let keys = accounts.list_keys(user.id).await.unwrap();
            let mut states: Vec<_> =
                keys.iter().map(|key| (key.access_key_id != old.access_key_id, key.status)).collect();
            states.sort_by_key(|(is_new, _)| *is_new);
            states
        };
        assert_eq!(states().await, [(false, KeyStatus::Active)], "it is in nobody's place");

        fixture.clock.advance(HOUR);
        let new = accounts.rotate_key(&old.access_key_id, 2 * HOUR).await.unwrap();
        assert_eq!(new.expires_at_ms, Some(end_ms), "no key outlives itself by being replaced");
        assert_eq!(states().await, [(false, KeyStatus::Rotating), (true, KeyStatus::Active)]);
        assert!(accounts.rotate_key(&old.access_key_id, HOUR).await.is_err(), "it was replaced before");
        for key in [&old, &new] {
            assert!(accounts.lookup(&key.access_key_id).await.unwrap().is_some());
        }
        fixture.clock.advance(HOUR + Duration::from_secs(5));
        for key in [&old, &new] {
            assert!(accounts.lookup(&key.access_key_id).await.unwrap().is_none());
        }
        assert!(states().await.iter().all(|(_, status)| *status == KeyStatus::Revoked));
        assert!(accounts.rotate_key(&new.access_key_id, HOUR).await.is_err(), "its time is over");
    })
    .await;
}

/// Narrows every key down, tells when it has, and commits once somebody waits for it. SQLite has one writer at a time:
/// whoever comes meanwhile waits without more ado.
async fn narrow_down_while_somebody_waits(tx: &mut Tx, is_done: &Notify) -> Result<(), DbError> {
    const NARROW: &str = "UPDATE access_key SET policy = '{\"Version\": \"2012-10-17\", \"Statement\": []}'";
    const WAITING: &str =
        "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))";
    tx.execute(NARROW, &[]).await?;
    is_done.notify_one();
    if tx.engine() == Engine::Sqlite {
        return Ok(());
    }
    for _ in 0..100_000 {
        if tx.query_opt(WAITING, &[]).await?.is_some() {
            return Ok(());
        }
    }
    panic!("nobody waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_narrowed_down_while_it_is_replaced_has_no_wider_replacement() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = user(&accounts, "free").await;
        let old = accounts.create_key(user.id, None).await.unwrap().access_key_id;
        let is_done = Arc::new(Notify::new());
        let done = Arc::clone(&is_done);
        let narrowing = fixture.db.write::<_, DbError, _>(move |tx| {
            let is_done = Arc::clone(&is_done);
            Box::pin(async move { narrow_down_while_somebody_waits(tx, &is_done).await })
        });
        let replacing = async {
            done.notified().await;
            accounts.rotate_key(&old, Duration::from_hours(1)).await
        };
        let (narrowed, replaced) = tokio::join!(narrowing, replacing);
        narrowed.unwrap();
        let new = replaced.unwrap().access_key_id;
        let keys = accounts.list_keys(user.id).await.unwrap();
        let policies: Vec<_> = keys.iter().map(|key| (&key.access_key_id, key.policy.is_some())).collect();
        assert_eq!(policies.len(), 2);
        assert!(policies.contains(&(&old, true)) && policies.contains(&(&new, true)), "{policies:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_made_on_another_gateway_works_soon() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let [here, there] = [fixture.gateway().await, fixture.gateway().await];
        let user = user(&here, "free").await;
        assert!(there.lookup("my-key").await.unwrap().is_none());
        let explicit = ("my-key".to_owned(), "long-enough".to_owned());
        here.create_key(user.id, Some(explicit)).await.unwrap();
        fixture.clock.advance(Duration::from_secs(1));
        assert!(there.lookup("my-key").await.unwrap().is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_moved_to_another_key_does_not_open() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let accounts = fixture.gateway().await;
        let user = user(&accounts, "free").await;
        for id in ["key-one", "key-two"] {
            let explicit = (id.to_owned(), format!("secret-of-{id}"));
            accounts.create_key(user.id, Some(explicit)).await.unwrap();
        }
        let moved = db.write::<_, DbError, _>(|tx| {
            let sql = "UPDATE access_key SET sealed = (SELECT sealed FROM access_key WHERE id = 'key-two')
                WHERE id = 'key-one'";
            Box::pin(tx.execute(sql, &[]))
        });
        assert_eq!(moved.await.unwrap(), 1);
        let error = accounts.lookup("key-one").await.unwrap_err();
        assert!(matches!(error, AccountsError::Damaged { name } if name == "access-key/key-one"));
        assert!(accounts.lookup("key-two").await.unwrap().is_some());
    })
    .await;
}
