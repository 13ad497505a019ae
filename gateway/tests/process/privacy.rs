//! Exports, erasures and cases of abuse of a real gateway, by operators and by people themselves.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::accounts::{MANY, PASSWORD, mail_server, token, with_people};
use super::gateway::{Gateway, admin_json, code, mode};

/// The actions in the audit log that begin like this.
fn told(data_dir: &Path, noun: &str) -> Vec<(String, String)> {
    let log = admin_json(data_dir, &["audit", "list"]);
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_owned();
    let entries = log["entries"].as_array().unwrap().iter();
    let named = entries.filter(|entry| text(entry, "action").starts_with(noun));
    named.map(|entry| (text(entry, "actor"), text(entry, "action"))).collect()
}

/// A file of an archive.
fn unpack(archive: &[u8], name: &str) -> Value {
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let mut entry = entries.find(|entry| entry.path().unwrap().ends_with(name)).unwrap();
    let mut text = String::new();
    entry.read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn operators_export_and_erase_accounts_unless_a_legal_hold_forbids_it() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let gateway = Gateway::on_one_disk(&data_dir, "");
    let user =
        admin_json(&data_dir, &["user", "create", "ann@example.org", "--plan", "free", "--name", "Ann"]);
    let id = user["user_id"].as_str().unwrap();

    let file = temporary.path().join("ann.tar.gz");
    let out = file.to_str().unwrap();
    assert_eq!(code(&data_dir, &["privacy", "export", "ann@example.org", "--out", out]), Some(0));
    assert_eq!(mode(&file), 0o600);
    let archive = fs::read(&file).unwrap();
    assert_eq!(unpack(&archive, "account.json")[0]["email"], "ann@example.org");
    assert_eq!(unpack(&archive, "access-keys.json")[0]["access_key_id"], user["access_key_id"]);
    assert_eq!(code(&data_dir, &["privacy", "export", "ann@example.org", "--out", out]), Some(2));
    assert_eq!(told(&data_dir, "privacy"), [("operator".to_owned(), "privacy.export".to_owned())]);

    let erase = ["privacy", "erase", "ann@example.org", "--due", "1s", "--reason", "asked"];
    assert_eq!(code(&data_dir, &erase), Some(2), "it asks first");
    assert_eq!(
        code(&data_dir, &["privacy", "erase", id, "--due", "yesterday", "--yes", "--reason", "asked"]),
        Some(2)
    );
    let tried = admin_json(&data_dir, &[&erase[..], &["--dry-run"]].concat());
    assert!(tried["changes"].to_string().contains("closing"), "{tried}");
    assert_eq!(admin_json(&data_dir, &["privacy", "list"])["erasures"], json!([]));
    let opened = admin_json(&data_dir, &["privacy", "erase", id, "--yes", "--reason", "asked"]);
    assert_eq!((&opened["status"], &opened["user_id"]), (&json!("open"), &json!(id)));
    assert_eq!(code(&data_dir, &[&erase[..], &["--yes"]].concat()), Some(4), "one is open");
    assert_eq!(admin_json(&data_dir, &["user", "show", id])["status"], "closing");
    assert_eq!(
        admin_json(&data_dir, &["privacy", "withdraw", id, "--reason", "stays"])["status"],
        "withdrawn"
    );
    assert_eq!(code(&data_dir, &["privacy", "withdraw", id, "--reason", "stays"]), Some(2));
    assert_eq!(admin_json(&data_dir, &["user", "show", id])["status"], "active");

    let hold = admin_json(&data_dir, &["user", "hold", id, "--scope", "write", "--kind", "legal"]);
    admin_json(&data_dir, &[&erase[..], &["--yes"]].concat());
    let run_until = |field: &str| {
        let ran = (0..100).find(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            admin_json(&data_dir, &["privacy", "run", "--yes"])[field] == 1
        });
        assert!(ran.is_some(), "nothing was {field}");
    };
    run_until("stopped");
    let listed = admin_json(&data_dir, &["privacy", "list"])["erasures"][0].clone();
    let hold = hold["hold_id"].as_str().unwrap();
    assert!(listed["obstacle"].as_str().unwrap().contains(hold), "{listed}");
    assert_eq!(unpack(&archive, "holds.json"), json!([]));
    admin_json(&data_dir, &["user", "lift", hold, "--reason", "settled"]);
    run_until("erased");
    let left = admin_json(&data_dir, &["user", "show", id]);
    assert_eq!((&left["status"], &left["email"], &left["name"]), (&json!("erased"), &json!(""), &json!("")));
    assert_eq!(code(&data_dir, &["user", "show", "ann@example.org"]), Some(2));
    assert_eq!(code(&data_dir, &["key", "create", id]), Some(2), "an erased account gets no key");
    let log = told(&data_dir, "privacy");
    for action in ["privacy.begin", "privacy.erased"] {
        assert!(log.contains(&("gateway".to_owned(), action.to_owned())), "{action} in {log:?}");
    }
    assert_eq!(admin_json(&data_dir, &["audit", "verify"])["intact"], true);
    assert_eq!(admin_json(&data_dir, &["quota", "reconcile"])["drift"], 0);
    admin_json(&data_dir, &["user", "create", "ann@example.org", "--plan", "free"]);
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn people_take_their_data_and_leave_by_themselves() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let (port, letters) = mail_server();
    let mail = format!("host = \"127.0.0.1\"\nport = {port}\nsecurity = \"none\"");
    let (gateway, people) = with_people(&data_dir, MANY, &mail);
    let user = admin_json(&data_dir, &["user", "create", "ann@example.org", "--plan", "free"]);
    people.send("POST", "password/forgotten", "", &json!({ "email": "ann@example.org" }));
    let (_, letter) = letters.recv_timeout(std::time::Duration::from_mins(1)).expect("a letter arrives");
    let body = json!({ "token": token(&letter).unwrap(), "password": PASSWORD });
    assert_eq!(people.send("POST", "password", "", &body).0, 204);
    let session = people.session("ann@example.org");
    for (method, path) in [("GET", "export"), ("POST", "erasure"), ("DELETE", "erasure")] {
        assert_eq!(people.send(method, &format!("privacy/{path}"), "", &json!({})).0, 401);
    }
    let archive = people.download("privacy/export", &session);
    assert_eq!(unpack(&archive, "account.json")[0]["user_id"], user["user_id"]);
    assert_eq!(unpack(&archive, "sessions.json").as_array().unwrap().len(), 1);

    let (status, opened) = people.send("POST", "privacy/erasure", &session, &json!({}));
    assert_eq!((status, &opened["status"]), (201, &json!("open")), "{opened}");
    assert_eq!(people.send("POST", "privacy/erasure", &session, &json!({})).0, 409);
    assert_eq!(people.send("GET", "me", &session, &json!({})).1["status"], "closing");
    assert_eq!(people.send("DELETE", "privacy/erasure", &session, &json!({})).1["status"], "withdrawn");
    assert_eq!(people.send("DELETE", "privacy/erasure", &session, &json!({})).0, 404);
    assert_eq!(people.send("GET", "me", &session, &json!({})).1["status"], "active");
    let own = ["privacy.erase", "privacy.withdraw"].map(|action| ("owner".to_owned(), action.to_owned()));
    assert_eq!(told(&data_dir, "privacy"), own);
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn five_upheld_cases_hold_an_account_and_a_reversal_lifts_the_hold() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let gateway = Gateway::on_one_disk(&data_dir, "[accounts]\nabuse_penalty = 100");
    admin_json(&data_dir, &["user", "create", "ann@example.org", "--plan", "free"]);
    let show = || admin_json(&data_dir, &["user", "show", "ann@example.org"]);
    assert_eq!((&show()["reputation"], &show()["cases"]), (&json!(5_000), &json!(0)));
    let report = ["abuse", "report", "ann@example.org", "--kind", "spam", "--evidence", "letters"];
    assert_eq!(
        code(&data_dir, &["abuse", "report", "ann@example.org", "--kind", "noise", "--evidence", "x"]),
        Some(2)
    );
    assert_eq!(code(&data_dir, &["abuse", "decide", "none", "upheld"]), Some(2));
    let tried = admin_json(&data_dir, &[&report[..], &["--dry-run"]].concat());
    assert_eq!(tried["dry_run"], true);
    assert_eq!(show()["cases"], 0, "nothing was opened");
    let cases: Vec<_> =
        (0..5).map(|_| admin_json(&data_dir, &report)["case_id"].as_str().unwrap().to_owned()).collect();
    let holds = || {
        let holds = admin_json(&data_dir, &["user", "holds", "ann@example.org"])["holds"].clone();
        let holds = holds.as_array().unwrap().clone();
        holds.into_iter().filter(|hold| hold["lifted"].is_null()).collect::<Vec<_>>()
    };
    for case in &cases {
        assert_eq!(holds(), [] as [Value; 0]);
        admin_json(&data_dir, &["abuse", "decide", case, "upheld", "--reason", "seen"]);
    }
    assert_eq!((&show()["reputation"], &show()["cases_counting"]), (&json!(4_500), &json!(5)));
    let held = holds();
    assert_eq!((held.len(), &held[0]["kind"], &held[0]["scope"]), (1, &json!("abuse"), &json!("write")));
    assert_eq!(
        code(&data_dir, &["user", "lift", held[0]["hold_id"].as_str().unwrap(), "--reason", "x"]),
        Some(2)
    );
    let preview = admin_json(&data_dir, &["abuse", "decide", &cases[0], "rejected", "--dry-run"]);
    assert!(preview["changes"].to_string().contains("/conduct/reputation"), "{preview}");
    assert_eq!(holds().len(), 1);
    admin_json(&data_dir, &["abuse", "decide", &cases[0], "rejected"]);
    assert_eq!(holds(), [] as [Value; 0]);
    let listed = admin_json(&data_dir, &["abuse", "list", "ann@example.org"]);
    assert_eq!(listed["cases"].as_array().unwrap().len(), 5);
    assert_eq!(show()["reputation"], 4_600);
    assert_eq!(gateway.terminate(), Some(0));
}
