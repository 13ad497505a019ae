//! What is counted is compared with what is there: a difference is exit code 6.

use std::path::Path;
use std::time::{Duration, Instant};

use datamesh_db::{Db, DbConfig, DbError};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::gateway::{Gateway, admin, admin_access, admin_json, http};

/// Changes the database of a stopped gateway.
fn tamper(data_dir: &Path, sql: &'static str) {
    let config = DbConfig::new(format!("sqlite:{}", data_dir.join("catalog.db").display()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let changed: Result<u64, DbError> = runtime.block_on(async {
        let db = Db::open(&config).await?;
        db.write(move |tx| Box::pin(async move { tx.execute(sql, &[]).await })).await
    });
    assert_eq!(changed.unwrap(), 1, "{sql}");
}

/// The exit code, and the drift that was told.
fn drift(data_dir: &Path, verb: &[&str]) -> (Option<i32>, Value) {
    let output = admin(data_dir, &[verb, &["--output", "json"]].concat());
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), found["drift"].clone())
}

#[test]
fn books_that_are_not_what_is_stored_are_exit_code_6_until_they_are_mended() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let gateway = Gateway::on_one_disk(&data_dir, "");
    admin_json(&data_dir, &["user", "create", "ann@example.org", "--plan", "free"]);
    let (reconcile, verify) = (["quota", "reconcile"], ["usage", "verify"]);
    assert_eq!(drift(&data_dir, &reconcile), (Some(0), json!(0)));
    assert_eq!(drift(&data_dir, &verify), (Some(0), json!(0)));
    assert_eq!(gateway.terminate(), Some(0));

    tamper(&data_dir, "UPDATE quota SET used = used + 7 WHERE dimension = 1");
    let gateway = Gateway::on_one_disk(&data_dir, "");
    let used = || admin_json(&data_dir, &["quota", "show", "ann@example.org"])["bytes"]["used"].clone();
    assert_eq!(drift(&data_dir, &reconcile), (Some(6), json!(1)));
    assert_eq!(used(), 7, "looking mends nothing");
    assert_eq!(drift(&data_dir, &["quota", "reconcile", "--mend"]).0, Some(6));
    assert_eq!(drift(&data_dir, &reconcile), (Some(0), json!(0)));
    assert_eq!(used(), 0);
    assert_eq!(gateway.terminate(), Some(0));

    // Five bytes that nobody stored.
    tamper(
        &data_dir,
        "INSERT INTO usage_event (source, sequence, account, bucket, at_ms, bytes, objects)
         SELECT id, 1, id, 1, 1, 5, 1 FROM account",
    );
    let gateway = Gateway::on_one_disk(&data_dir, "");
    let (code, found) = drift(&data_dir, &verify);
    assert_eq!(code, Some(6), "{found}");
    assert_ne!(found, 0);
    assert_eq!(gateway.terminate(), Some(0));
}

/// The value of a gauge that counts, once the gateway shows it.
fn metric(data_dir: &Path, name: &str) -> Option<u64> {
    let (address, _) = admin_access(data_dir);
    let (_, metrics) = http(&address, "GET", "/metrics", "", "");
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(|value| value.trim().parse().unwrap())
}

/// Waits until the verification of a gateway has shown what it found: drift of quotas and of usage, and whether the audit
/// log is intact.
fn verified(data_dir: &Path) -> [u64; 3] {
    const NAMES: [&str; 3] = ["datamesh_quota_drift", "datamesh_usage_drift", "datamesh_audit_intact"];
    let give_up = Instant::now() + Duration::from_mins(1);
    // It is set last.
    while metric(data_dir, "datamesh_usage_verified_timestamp_seconds").is_none() {
        assert!(Instant::now() < give_up, "nothing was verified");
    }
    NAMES.map(|name| metric(data_dir, name).unwrap())
}

#[test]
fn the_job_that_verifies_shows_what_was_tampered_with_as_metrics() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let start = || {
        Gateway::on_one_disk(
            &data_dir,
            "[jobs]\nverification_interval = \"100ms\"\nrollup_interval = \"100ms\"\n",
        )
    };
    let gateway = start();
    admin_json(&data_dir, &["user", "create", "ann@example.org", "--plan", "free"]);
    assert_eq!(verified(&data_dir), [0, 0, 1]);
    assert_eq!(gateway.terminate(), Some(0));

    for (sql, shown) in [
        ("UPDATE quota SET used = used + 7 WHERE dimension = 1", [1, 0, 1]),
        ("UPDATE quota SET used = used - 7, reserved = reserved - 3 WHERE dimension = 1", [1, 0, 1]),
        ("UPDATE quota SET reserved = reserved + 3 WHERE dimension = 1", [0, 0, 1]),
        ("UPDATE audit_entry SET actor = 'somebody' WHERE sequence = 1", [0, 0, 0]),
    ] {
        tamper(&data_dir, sql);
        let gateway = start();
        assert_eq!(verified(&data_dir), shown, "{sql}");
        assert_eq!(gateway.terminate(), Some(0));
    }
    // Five bytes that nobody stored.
    tamper(
        &data_dir,
        "INSERT INTO usage_event (source, sequence, account, bucket, at_ms, bytes, objects)
         SELECT id, 1, id, 1, 1, 5, 1 FROM account",
    );
    let gateway = start();
    let give_up = Instant::now() + Duration::from_mins(1);
    // Once it has been rolled up.
    while metric(&data_dir, "datamesh_usage_drift").is_none_or(|drift| drift == 0) {
        assert!(Instant::now() < give_up, "no drift of usage is shown");
    }
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn a_gateway_that_meters_nothing_says_so_and_tells_no_zeros() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let gateway = Gateway::on_one_disk(&data_dir, "");
    admin_json(&data_dir, &["user", "create", "ann@example.org", "--plan", "free"]);
    assert_eq!(admin_json(&data_dir, &["usage", "show", "ann@example.org"])["unmetered"], Value::Null);
    assert_eq!(gateway.terminate(), Some(0));

    let unmetered = "[accounts]\nmetering = false\n[jobs]\nautomatic_invoices = false";
    let gateway = Gateway::on_one_disk(&data_dir, unmetered);
    for arguments in [&["usage", "show", "ann@example.org"][..], &["usage", "verify"]] {
        let refused = admin(&data_dir, arguments);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(4), "{arguments:?}: {said}");
        assert!(said.contains("usage is not metered here"), "{said}");
    }
    assert_eq!(gateway.terminate(), Some(0));

    let gateway = Gateway::on_one_disk(&data_dir, "");
    let shown = admin_json(&data_dir, &["usage", "show", "ann@example.org"]);
    assert!(shown["unmetered"]["from"].is_string() && shown["unmetered"]["until"].is_string(), "{shown}");
    assert_eq!(drift(&data_dir, &["usage", "verify"]), (Some(0), json!(0)));
    assert_eq!(gateway.terminate(), Some(0));
}
