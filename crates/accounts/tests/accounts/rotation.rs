//! Replacing the key-encryption key, and named keys.

use super::*;
use datamesh_accounts::KekRole;
use datamesh_pipeline::chunk_id;
use datamesh_types::{AccountId, DomainId};

/// What must stay the same whatever secrets are sealed under.
async fn secrets(accounts: &Accounts, ring: &Keyring, user: &User, key_ids: &[String]) -> Vec<String> {
    let mut secrets = vec![accounts.user(user.id).await.unwrap().unwrap().email];
    for id in key_ids {
        secrets.push(accounts.lookup(id).await.unwrap().unwrap().secret.expose().to_owned());
    }
    for domain in 1..5 {
        let key = ring.domain_key(DomainId([domain; 16])).await.unwrap();
        secrets.push(chunk_id(&key, b"x").to_string());
    }
    let key = ring.named_key(user.id, "archive").await.unwrap().unwrap();
    secrets.push(chunk_id(&key, b"x").to_string());
    secrets
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_kek_seals_every_secret_and_the_old_one_can_be_destroyed() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = user(&accounts, "free").await;
        let mut key_ids = Vec::new();
        // More than one page of them.
        for _ in 0..300 {
            key_ids.push(accounts.create_key(user.id, None).await.unwrap().access_key_id);
        }
        let ring = fixture.keyring().await.unwrap();
        ring.create_named_key(user.id, "archive").await.unwrap();
        let before = secrets(&accounts, &ring, &user, &key_ids).await;

        let path = fixture.folder.path().join("kek");
        let old_file = std::fs::read_to_string(&path).unwrap();
        let total: u64 = accounts.kek_keys().await.unwrap().iter().map(|key| key.secrets).sum();
        let next = accounts.add_kek().unwrap();
        let stored = accounts.create_key(user.id, None).await.unwrap();
        assert!(matches!(accounts.retire_kek().await, Ok(retired) if retired.is_empty()));
        assert_eq!(accounts.rotate_kek().await.unwrap(), total + 1);
        assert_eq!(accounts.rotate_kek().await.unwrap(), 0, "a second rotation found something to do");
        let keys = accounts.kek_keys().await.unwrap();
        assert_eq!(keys.iter().map(|key| key.secrets).collect::<Vec<_>>(), [0, total + 1]);
        assert_eq!((keys[1].id, keys[1].role), (Some(next), Some(KekRole::Sealing)));
        assert_eq!(accounts.retire_kek().await.unwrap(), [keys[0].id.unwrap()]);

        // A gateway that starts now has the new key only.
        let ring = fixture.keyring().await.unwrap();
        let accounts = fixture.gateway().await;
        assert_eq!(secrets(&accounts, &ring, &user, &key_ids).await, before);
        let found = accounts.lookup(&stored.access_key_id).await.unwrap().unwrap();
        assert_eq!(found.secret, stored.secret_access_key);
        // The old one alone opens nothing.
        let old = fixture.folder.path().join("old");
        std::fs::write(&old, old_file).unwrap();
        std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let opened = Keyring::open(fixture.db.clone(), Kek::load_or_create(&old).unwrap()).await;
        assert!(matches!(opened, Err(AccountsError::WrongKek)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_not_retired_while_another_gateway_still_seals_under_it() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let rotating = fixture.gateway().await;
        let user = user(&rotating, "free").await;
        // Its file is a copy that nobody has replaced yet.
        let copy = fixture.folder.path().join("copy");
        rotating.add_kek().unwrap();
        std::fs::copy(fixture.folder.path().join("kek"), &copy).unwrap();
        let ring = Keyring::open(fixture.db.clone(), Kek::load_or_create(&copy).unwrap()).await.unwrap();
        let late = Accounts::open(fixture.db.clone(), ring, AccountsConfig::default()).await.unwrap();
        rotating.rotate_kek().await.unwrap();

        let sealed_late = late.create_key(user.id, None).await.unwrap();
        assert!(matches!(rotating.retire_kek().await, Err(AccountsError::KekInUse { secrets: 1 })));
        let sealed_now = rotating.create_key(user.id, None).await.unwrap();
        for (accounts, key) in [(&rotating, &sealed_late), (&late, &sealed_now)] {
            let found = accounts.lookup(&key.access_key_id).await.unwrap().unwrap();
            assert_eq!(found.secret, key.secret_access_key);
        }
        assert_eq!(rotating.rotate_kek().await.unwrap(), 1);
        assert_eq!(rotating.retire_kek().await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_key_belongs_to_one_account_and_is_a_domain_of_its_own() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let ring = fixture.keyring().await.unwrap();
        let (one, other) = (AccountId([1; 16]), AccountId([2; 16]));
        for name in ["b", "a/b", "arn:aws:kms:eu-1:0:key/x"] {
            ring.create_named_key(one, name).await.unwrap();
        }
        ring.create_named_key(other, "b").await.unwrap();
        assert_eq!(ring.list_named_keys(one).await.unwrap(), ["a/b", "arn:aws:kms:eu-1:0:key/x", "b"]);
        assert_eq!(ring.list_named_keys(AccountId([3; 16])).await.unwrap(), [""; 0]);
        assert!(ring.named_key(other, "a/b").await.unwrap().is_none());
        let taken = ring.create_named_key(one, "b").await;
        assert!(matches!(taken, Err(AccountsError::KeyNameTaken { .. })));
        for name in ["", "a b", "ä", &"x".repeat(257)] {
            assert!(matches!(ring.create_named_key(one, name).await, Err(AccountsError::InvalidKeyName)));
            assert!(ring.named_key(one, name).await.unwrap().is_none());
        }

        let ours = ring.named_key(one, "b").await.unwrap().unwrap();
        let theirs = ring.named_key(other, "b").await.unwrap().unwrap();
        assert_ne!(ours.own_domain(), theirs.own_domain());
        let again = fixture.keyring().await.unwrap().named_key(one, "b").await.unwrap().unwrap();
        assert_eq!(ours.own_domain(), again.own_domain());
        assert_eq!(chunk_id(&ours, b"x"), chunk_id(&again, b"x"));
    })
    .await;
}
