//! Versions that are restored for a while.

use datamesh_testkit::for_each_engine;

use super::Fixture;

/// 30,000 days.
const FAR_MS: u64 = 2_592_000_000_000;

#[tokio::test]
async fn what_is_restored_is_forgotten_when_its_time_is_over_and_when_its_version_is_gone() {
    for_each_engine(|db| async move {
        // As clients would leave them that restore and remove: every other one for long.
        const REMOVED: &str = "INSERT INTO restored_version (version, until_ms)
            WITH RECURSIVE removed (version) AS
                (SELECT 1000001 UNION ALL SELECT version + 1 FROM removed WHERE version < 1002400)
            SELECT version, CASE WHEN version % 2 = 0 THEN 5 ELSE 2592000000000 END FROM removed";
        let fixture = Fixture::new(&db).await;
        let catalog = &fixture.catalog;
        let mut restored = Vec::new();
        for (key, until_ms) in [("kept", FAR_MS), ("removed", FAR_MS), ("written", FAR_MS), ("over", 10)] {
            fixture.put_inline(key.as_bytes()).await.unwrap();
            let version = fixture.newest(key.as_bytes()).await.unwrap();
            assert!(!catalog.restore_version(&version, until_ms, 0).await.unwrap(), "it is the first time");
            restored.push(version);
        }
        assert_eq!(catalog.forget_restored(9).await.unwrap(), 0);
        fixture.delete(b"removed").await;
        fixture.put_inline(b"written").await.unwrap();
        assert_eq!(fixture.db.execute(REMOVED, [].into()).await.unwrap(), 2_400);
        assert_eq!(catalog.forget_restored(10).await.unwrap(), 2_403);
        assert_eq!(catalog.forget_restored(10).await.unwrap(), 0);
        let mut left = Vec::new();
        for version in &restored {
            left.push(catalog.restored_until(version, 0).await.unwrap());
        }
        assert_eq!(left, [Some(FAR_MS), None, None, None]);
    })
    .await;
}
