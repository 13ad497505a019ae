//! Money and promises of a real gateway: an invoice's way through a payment provider, and windows of an outage.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use datamesh_db::{Db, DbConfig, DbError};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::gateway::{Gateway, admin, admin_json, code, http, refused};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// 62 days.
const TWO_MONTHS_MS: u64 = 62 * 86_400_000;

/// Makes every account a customer for two months already.
pub fn backdate(data_dir: &Path) {
    const BACKDATE: &str = "UPDATE subscription_term SET since_ms = since_ms - $1";
    let url = format!("sqlite:{}", data_dir.join("catalog.db").display());
    tokio::runtime::Runtime::new().unwrap().block_on(async move {
        let db = Db::open(&DbConfig { create: false, ..DbConfig::new(url) }).await.unwrap();
        let changed = db.write::<_, DbError, _>(|tx| {
            Box::pin(async move { tx.execute(BACKDATE, &[TWO_MONTHS_MS.into()]).await })
        });
        assert!(changed.await.unwrap() > 0);
    });
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The month before this one.
pub fn last_period(data_dir: &Path) -> String {
    let period = admin_json(data_dir, &["usage", "show", "pays@example.org"])["period"].clone();
    let (year, month) = period.as_str().unwrap().split_once('-').unwrap();
    let (year, month): (u32, u32) = (year.parse().unwrap(), month.parse().unwrap());
    if month == 1 { format!("{:04}-12", year - 1) } else { format!("{year:04}-{:02}", month - 1) }
}

/// The gateway's listener for payment providers.
struct Listener(String);

impl Listener {
    fn of(gateway: &Gateway) -> Self {
        let line = gateway.said.iter().find_map(|line| line.strip_prefix("payments on http://"));
        Self(line.expect("the gateway says where").to_owned())
    }

    /// Sends a message as a provider does that signs it with that secret at that time.
    fn send(&self, provider: &str, body: &str, secret: &str, at: u64) -> u16 {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, format!("{at}.{body}").as_bytes());
        let signature = format!("datamesh-signature: t={at},v1={}\r\n", hex::encode(tag));
        http(&self.0, "POST", &format!("/payments/v1/notices/{provider}"), &signature, body).0
    }
}

#[test]
fn an_invoice_is_paid_and_taken_back_through_the_sandbox() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let file = temporary.path().join("secret");
    fs::write(&file, SECRET).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let sections = format!(
        "[payments]\nlisten = \"127.0.0.1:0\"\nunproven_burst = 6\n[payments.sandbox]\nsecret_file = {file:?}\n"
    );
    let gateway = Gateway::on_one_disk(&data_dir, &sections);
    admin_json(&data_dir, &["user", "create", "pays@example.org", "--plan", "premium"]);
    assert_eq!(gateway.terminate(), Some(0));
    backdate(&data_dir);
    let gateway = Gateway::on_one_disk(&data_dir, &sections);
    let listener = Listener::of(&gateway);
    let run = admin_json(&data_dir, &["invoice", "run", "--period", &last_period(&data_dir)]);
    let id = run["invoices"][0]["id"].as_str().unwrap();
    assert_eq!(code(&data_dir, &["invoice", "charge", id]), Some(4), "nothing is owed for a draft");
    let total = admin_json(&data_dir, &["invoice", "finalize", id])["total"].clone();
    assert_eq!(total, 9_000_000);
    let state = || {
        let shown = admin_json(&data_dir, &["invoice", "show", id]);
        (shown["status"].as_str().unwrap().to_owned(), shown["owed"].as_i64().unwrap())
    };
    let owed = ("final".to_owned(), 9_000_000);
    let tries: [&[&str]; 3] = [
        &["invoice", "pay", id, "--amount", "9000000", "--reference", "RF18", "--reason", "a transfer"],
        &["invoice", "credit", id, "--amount", "9000000", "--reason", "an outage"],
        &["invoice", "write-off", id, "--reason", "gone"],
    ];
    for verb in tries {
        let preview = admin_json(&data_dir, &[verb, &["--dry-run"]].concat());
        let place = preview["changes"].as_array().unwrap().iter().find(|change| change["place"] == "/status");
        assert_eq!(place.unwrap()["before"], "final", "{preview}");
        assert_eq!(state(), owed, "{verb:?} changed something");
    }

    let charge = || admin_json(&data_dir, &["invoice", "charge", id]);
    let intent = charge();
    assert_eq!((&intent["status"], &intent["amount"], &intent), (&json!("pending"), &total, &charge()));
    let answer = |intent: &Value, more: &[&str]| {
        let intent = intent["id"].as_str().unwrap();
        let verb = ["sandbox", "answer", intent, "--output", "json", "--outcome"];
        let output = admin(&data_dir, &[&verb[..], more].concat());
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["accepted"], output.status.success(), "{told}");
        told["status"].as_u64().unwrap()
    };
    assert_eq!(answer(&intent, &["failed"]), 200);
    let second = charge();
    assert_ne!(second["id"], intent["id"], "one that failed is over");
    assert_eq!(state(), owed);
    for _ in 0..2 {
        assert_eq!(answer(&second, &["succeeded"]), 200);
        assert_eq!(state(), ("paid".to_owned(), 0));
    }
    assert_eq!(answer(&second, &["succeeded", "--amount", "1"]), 409, "the same payment of another amount");
    assert_eq!(answer(&second, &["refunded", "--amount", "4000000"]), 200);
    assert_eq!(state(), ("final".to_owned(), 4_000_000));

    strangers_are_not_believed(&listener, id);
    assert_eq!(state(), ("final".to_owned(), 4_000_000));
    assert_eq!(code(&data_dir, &["sandbox", "answer", "nosuchintent", "--outcome", "failed"]), Some(2));
    assert_eq!(code(&data_dir, &["invoice", "charge", id, "--provider", "nobody"]), Some(2));
    let log = admin_json(&data_dir, &["audit", "list"])["entries"].as_array().unwrap().clone();
    assert!(log.iter().any(|entry| entry["action"] == "invoice.charge" && entry["outcome"] == "done"));
    let unanswered = charge();
    fail_without_a_provider(&data_dir, gateway, unanswered["id"].as_str().unwrap());
}

/// A payment whose provider is gone from the configuration is failed by whoever says how they know.
fn fail_without_a_provider(data_dir: &Path, gateway: Gateway, intent: &str) {
    let fail = ["invoice", "fail-intent", intent, "--yes"];
    let reasoned = [&fail[..], &["--reason", "it has no such payment"]].concat();
    assert_eq!(code(data_dir, &reasoned), Some(4), "its provider will tell");
    assert_eq!(gateway.terminate(), Some(0));
    let gateway = Gateway::on_one_disk(data_dir, "");
    assert_eq!(code(data_dir, &fail), Some(2), "nobody says why");
    let preview = admin_json(data_dir, &[&reasoned[..], &["--dry-run"]].concat());
    let status = preview["changes"].as_array().unwrap().iter().find(|change| change["place"] == "/status");
    assert_eq!(status.unwrap()["after"], "failed", "{preview}");
    let failed = admin_json(data_dir, &reasoned);
    assert_eq!((&failed["status"], &failed["failure"]), (&json!("failed"), &json!("it has no such payment")));
    assert_eq!(code(data_dir, &reasoned), Some(4), "it is over");
    assert_eq!(gateway.terminate(), Some(0));
}

fn strangers_are_not_believed(listener: &Listener, invoice: &str) {
    let body =
        json!({ "type": "payment.succeeded", "payment": "p", "invoice": invoice, "amount": 4_000_000 });
    let body = body.to_string();
    let other = "fedcba9876543210fedcba9876543210";
    assert_eq!(listener.send("sandbox", &body, other, now()), 401);
    assert_eq!(listener.send("sandbox", &body, SECRET, now() - 360), 401);
    assert_eq!(listener.send("sandbox", &body, SECRET, now() + 360), 401);
    let unsigned = http(&listener.0, "POST", "/payments/v1/notices/sandbox", "", &body).0;
    assert_eq!(unsigned, 401);
    assert_eq!(listener.send("nobody", &body, SECRET, now()), 404);
    assert_eq!(listener.send("sandbox", &"x".repeat(20_000), SECRET, now()), 413);
    let unknown = body.replace(invoice, "2026-11-000000");
    assert_eq!(listener.send("sandbox", &unknown, SECRET, now()), 404);
    assert_eq!(listener.send("sandbox", "{}", SECRET, now()), 400);
    assert_eq!(http(&listener.0, "GET", "/payments/v1/notices/sandbox", "", "").0, 405);
    assert_eq!(http(&listener.0, "POST", "/v1/users", "", "").0, 404);
    // Who proves nothing is told to wait, and nobody else is.
    let tries = (0..20).map(|_| listener.send("sandbox", &body, other, now())).collect::<Vec<_>>();
    assert_eq!(tries.last(), Some(&429), "{tries:?}");
    assert_eq!(listener.send("sandbox", &unknown, SECRET, now()), 404);
}

#[test]
fn a_secret_that_others_may_read_is_none() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let file = temporary.path().join("gateway.toml");
    let secret = temporary.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let payments = format!("[payments.sandbox]\nsecret_file = {secret:?}\n");
    let disk = "[storage.backends.disk]\ntype = \"memory\"\ncapacity = \"1 GiB\"\n[storage.classes]\nSTANDARD = \"disk\"\n";
    let ports = "[s3]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";
    let start = |listen: &str| {
        let text = format!("data_dir = {data_dir:?}\n{ports}{disk}{listen}{payments}");
        fs::write(&file, text).unwrap();
        refused(&["serve", "--config", file.to_str().unwrap()])
    };
    let (code, line) = start("");
    assert_eq!(code, 2);
    assert!(line.contains("payments.listen"), "{line}");
    let (code, line) = start("[payments]\nlisten = \"127.0.0.1:0\"\n");
    assert_eq!(code, 1);
    assert!(line.contains("0644") && line.contains("chmod 600"), "{line}");
}

#[test]
fn a_gateway_whose_backend_is_gone_counts_windows_as_bad() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let folder = temporary.path().join("store");
    let backend = format!("type = \"object-store\"\nurl = \"file://{}\"", folder.display());
    let gateway = Gateway::on_backend(&data_dir, &backend, "[jobs]\nprobe_interval = \"100ms\"\n");
    admin_json(&data_dir, &["user", "create", "a@example.org", "--plan", "enterprise"]);
    let until = |what: &str, is_so: &dyn Fn() -> bool| {
        let give_up = Instant::now() + Duration::from_mins(1);
        while !is_so() {
            assert!(Instant::now() < give_up, "{what}");
        }
    };
    let show = || admin_json(&data_dir, &["sla", "show", "a@example.org"]);
    let windows = || admin_json(&data_dir, &["sla", "windows", "a@example.org"])["windows"].clone();
    until("a probe succeeds", &|| show()["availability_ppm"] == 1_000_000);
    assert_eq!((&show()["missed"], windows()), (&Value::Null, json!([])));

    // A file in its place: nothing can be stored there any more.
    while fs::write(&folder, "").is_err() {
        // A probe under way may put its folder back.
        let _ = fs::remove_dir_all(&folder);
    }
    until("a probe fails", &|| windows()[0]["probes_bad"].as_u64().is_some_and(|bad| bad > 0));
    assert!(show()["availability_ppm"].as_u64().unwrap() < 1_000_000);
    let promised = show()["promised"].as_array().unwrap().len();
    assert_eq!(promised, 3, "the plan promises something");
    let refused = admin(&data_dir, &["sla", "show", "a@example.org", "--period", "9000-01"]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(gateway.terminate(), Some(0));
}
