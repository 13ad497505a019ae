//! Dossiers: everything that is known about an account, and nothing of anybody else or secret.

use datamesh_accounts::{Act, Digest, Dossier, HoldKind, HoldScope, NewHold};
use datamesh_db::Engine;
use serde_json::Value;

use super::identity::{PASSWORD, password, register, registration};
use super::*;

async fn rows(dossier: &Dossier, name: &str) -> Vec<Value> {
    let part = Dossier::parts().iter().find(|part| part.name == name).unwrap();
    let (rows, next) = dossier.page(part, None).await.unwrap();
    assert!(next.is_none());
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dossier_has_what_is_known_about_its_account_and_no_secret() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = register(&accounts, registration("ann@example.org", "free")).await;
        let other = register(&accounts, registration("bob@example.org", "free")).await;
        let key = accounts.create_key(user.id, None).await.unwrap();
        let theirs = accounts.create_key(other.id, None).await.unwrap();
        let login = accounts.login("ann@example.org", password(PASSWORD)).await.unwrap();
        accounts.forget_password("ann@example.org").await.unwrap();
        accounts.keyring().create_named_key(user.id, "photos").await.unwrap();
        for account in [user.id, other.id] {
            let target = format!("user:{account}");
            let act = Act::new("operator", "user.hold", target, "asked", Digest::NONE, false);
            let hold = NewHold {
                kind: HoldKind::Dispute,
                scope: HoldScope::Read,
                reason: format!("about {account}"),
                until_ms: None,
            };
            accounts.acting(Arc::new(act)).hold(account, hold).await.unwrap();
        }
        let act =
            Act::new("operator", "key.revoke", format!("key:{}", key.access_key_id), "", Digest::NONE, false);
        accounts.acting(Arc::new(act)).revoke_key(&key.access_key_id).await.unwrap();

        let dossier = accounts.dossier(user.id);
        let account = &rows(&dossier, "account").await[0];
        assert_eq!((&account["email"], &account["name"]), (&"ann@example.org".into(), &"Ann".into()));
        assert_eq!((&account["has_password"], &account["public_key"]), (&true.into(), &Value::Null));
        assert_eq!(account["created"], "2027-01-15T08:00:00Z");
        let keys = rows(&dossier, "access-keys").await;
        assert_eq!((keys.len(), &keys[0]["access_key_id"]), (1, &key.access_key_id.as_str().into()));
        assert_eq!(rows(&dossier, "registrations").await[0]["email"], "ann@example.org");
        assert_eq!(rows(&dossier, "sessions").await.len(), 1);
        assert_eq!(rows(&dossier, "subscription").await[0]["plan"], "free");
        assert_eq!(dossier.encryption_keys().await.unwrap()[0]["name"], "photos");
        let log = dossier.audit_entries().await.unwrap();
        let actions: Vec<_> = log.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(actions, ["user.hold", "key.revoke"], "of the account and of its keys alone");

        let mut all = format!("{log:?}");
        for part in Dossier::parts() {
            all.push_str(&serde_json::to_string(&rows(&dossier, part.name).await).unwrap());
        }
        assert!(all.contains(&format!("about {}", user.id)));
        for secret in [key.secret_access_key.expose(), login.token.expose(), PASSWORD, "argon2"] {
            assert!(!all.contains(secret), "{secret}");
        }
        for foreign in [other.id.to_string().as_str(), "bob@example.org", &theirs.access_key_id] {
            assert!(!all.contains(foreign), "{foreign}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_many_pages_is_told_whole_also_while_it_shrinks() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let account = user(&accounts, "free").await.id;
        // Many at the same time, so that time alone is no place to go on from.
        fixture
            .execute(
                "INSERT INTO hold (id, account, kind, scope, reason, created_at_ms)
                    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4500)
                    SELECT 'h' || CAST(i AS TEXT), a.id, 'dispute', 'read', '', i / 700 FROM n, account a",
            )
            .await;
        let dossier = accounts.dossier(account);
        let part = Dossier::parts().iter().find(|part| part.name == "holds").unwrap();
        let (mut told, mut pages, mut after) = (std::collections::BTreeSet::new(), Vec::new(), None);
        loop {
            let (rows, next) = dossier.page(part, after.as_ref()).await.unwrap();
            pages.push(rows.len());
            told.extend(rows.iter().map(|row| row["hold_id"].as_str().unwrap().to_owned()));
            // What was told already goes; nothing that was not told moves into its place.
            fixture.execute("DELETE FROM hold WHERE created_at_ms = 0").await;
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((told.len(), pages), (4_500, vec![2_000, 2_000, 500]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_that_names_an_account_is_in_a_dossier() {
    // What a table has of an account beside its dossier, and why that is not told.
    const OTHERWISE: [&str; 4] = [
        "usage_event", // the same as usage_history, before it is rolled up
        "rate_share",  // which gateways serve it
        "reservation", // quota under way
        "bucket",      // the catalog's: told with its versions
    ];
    for_each_engine(|db| async move {
        const TABLES: &str = "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
            WHERE m.type = 'table' AND c.name IN ('account', 'owner') ORDER BY m.name";
        let engine = db.read::<_, DbError, _>(|tx| Box::pin(async move { Ok(tx.engine()) })).await.unwrap();
        if engine != Engine::Sqlite {
            return;
        }
        let fixture = Fixture::new(db);
        fixture.gateway().await;
        let told = format!("{:?}", Dossier::parts()).replace("\\n", " ");
        for row in fixture.rows(TABLES).await {
            let table = row.text(0).unwrap();
            let is_told =
                told.contains(&format!("FROM {table} ")) || told.contains(&format!("JOIN {table} "));
            assert!(is_told || OTHERWISE.contains(&table), "{table} is not in a dossier");
        }
    })
    .await;
}
