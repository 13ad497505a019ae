//! Every part on both engines, whether it has rows or not.

use datamesh_testkit::for_each_engine;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_part_can_be_gone_on_with_whatever_its_keys_are() {
    for_each_engine(|db| async move {
        let accounts = Accounts::in_scratch(db.clone()).await;
        let account = accounts.create_user("a@example.org", "A", "free").await.unwrap().id;
        let dossier = accounts.dossier(account);
        for part in PARTS {
            let params = [account.into(), 1.into()];
            let rows = db.rows(part.first, params.into()).await.unwrap();
            // Nothing follows the last of the few rows that there are, nor a row that is not there.
            let cursor = match rows.last() {
                Some(row) => part.cursor(row).unwrap(),
                None => DossierCursor(vec![Sql::Null; part.keys]),
            };
            assert_eq!(cursor.0.len(), part.keys, "{}", part.name);
            let (told, _) = dossier.page(part, None).await.unwrap();
            let (rest, next) = dossier.page(part, Some(&cursor)).await.unwrap();
            assert_eq!(rest, told.get(1..).unwrap_or_default(), "{}", part.name);
            assert!(next.is_none(), "{}", part.name);
        }
    })
    .await;
}
