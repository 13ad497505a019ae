//! The audit log of a real gateway, and the flags that go with every change.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::gateway::{Gateway, admin, admin_access, admin_json, code, http, mode};

const AUDITOR: &str = "0123456789abcdef0123456789abcdef";

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// The entries after a number.
fn entries(data_dir: &Path, after: u64) -> Vec<Value> {
    let all = admin_json(data_dir, &["audit", "list"])["entries"].as_array().unwrap().clone();
    all.into_iter().filter(|entry| entry["sequence"].as_u64().unwrap() > after).collect()
}

fn last(data_dir: &Path) -> u64 {
    entries(data_dir, 0).last().map_or(0, |entry| entry["sequence"].as_u64().unwrap())
}

#[test]
fn every_change_and_every_denial_leaves_an_entry_and_no_entry_has_a_secret() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let file = temporary.path().join("alice.token");
    fs::write(&file, AUDITOR).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let tokens = format!("tokens = [{{ name = \"alice\", role = \"auditor\", file = {file:?} }}]");
    let gateway = Gateway::on_one_disk(&data_dir, &tokens);
    let (address, token) = admin_access(&data_dir);

    // The table of routes says what there is, so a new route cannot be left out.
    let actions = admin_json(&data_dir, &["audit", "actions"])["actions"].as_array().unwrap().clone();
    assert!(actions.len() > 30, "{}", actions.len());
    for action in &actions {
        let text = |name: &str| action[name].as_str().unwrap();
        let (method, template, effect) = (text("method"), text("path"), text("effect"));
        let path = template.replace(['{', '}'], "x");
        let told = |after: u64| {
            let entries = entries(&data_dir, after);
            assert!(entries.iter().all(|entry| entry["action"] == action["action"]), "{action}: {entries:?}");
            let field = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
            entries.iter().map(|entry| (field(entry, "actor"), field(entry, "outcome"))).collect::<Vec<_>>()
        };
        let denied = |who: &str| vec![(who.to_owned(), "denied".to_owned())];

        let before = last(&data_dir);
        assert_eq!(http(&address, method, &path, "", "{}").0, 401, "{action}");
        assert_eq!(told(before), denied("nobody"), "{action}");

        let before = last(&data_dir);
        let (status, answer) = http(&address, method, &path, &bearer(AUDITOR), "{\"unknown\": 1}");
        if effect == "read" {
            assert!(![401, 403].contains(&status), "{action}: {answer}");
            assert_eq!(told(before), [], "{action}: reading leaves no entry");
        } else {
            assert_eq!(status, 403, "{action}: an auditor changes nothing");
            assert_eq!(told(before), denied("alice"), "{action}");
            let before = last(&data_dir);
            let headers = format!("{}datamesh-reason: test\r\n", bearer(&token));
            let (status, answer) = http(&address, method, &path, &headers, "{\"unknown\": 1}");
            let told = told(before);
            assert!(![401, 403].contains(&status), "{action}: {answer}");
            assert!(told.iter().all(|(who, _)| who == "operator"), "{action}: {told:?}");
            let outcomes: Vec<_> = told.iter().map(|(_, outcome)| outcome.as_str()).collect();
            let end = if status < 400 {
                "done"
            } else if status < 500 {
                "refused"
            } else {
                "failed"
            };
            let expected = if effect == "work" { vec!["begun", end] } else { vec![end] };
            assert_eq!(outcomes, expected, "{action}: {answer}");
        }
    }

    // Nothing secret, and nobody's address, whatever was sent and answered.
    let secret = "an-imported-secret-of-40-characters-0000";
    let user =
        admin_json(&data_dir, &["user", "create", "carol@example.org", "--plan", "free", "--reason", "new"]);
    let import = ["--access-key-id", "IMPORTEDKEY000000001", "--secret-access-key", secret];
    admin_json(&data_dir, &[&["key", "create", "carol@example.org"], &import[..]].concat());
    let log = admin(&data_dir, &["audit", "export"]).stdout;
    let log = String::from_utf8(log).unwrap();
    let made = user["secret_access_key"].as_str().unwrap();
    for hidden in [secret, made, &token, AUDITOR, "carol@example.org"] {
        assert!(!log.contains(hidden), "{hidden} is in the log");
    }
    assert!(log.contains(&format!("user:{}", user["user_id"].as_str().unwrap())), "accounts are named by id");
    let created = entries(&data_dir, 0).into_iter().rfind(|entry| entry["action"] == "user.create").unwrap();
    assert_eq!((&created["reason"], &created["outcome"]), (&json!("new"), &json!("done")));
    assert_eq!(admin_json(&data_dir, &["audit", "verify"])["intact"], true);
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn tampering_with_the_log_is_exit_code_6_online_and_in_an_export() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let gateway = Gateway::on_one_disk(&data_dir, "");
    for number in 0..6 {
        let email = format!("{number}@example.org");
        admin_json(&data_dir, &["user", "create", &email, "--plan", "free"]);
    }
    let export = temporary.path().join("log.jsonl");
    let file = export.to_str().unwrap();
    assert_eq!(code(&data_dir, &["audit", "export", "--out", file]), Some(0));
    let verify = |more: &[&str]| {
        let arguments = [&["audit", "verify", "--file", file, "--output", "json"], more].concat();
        let output = admin(temporary.path(), &arguments);
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default())
    };
    let seen = data_dir.join("audit-head.json");
    assert_eq!(mode(&seen), 0o600);
    let seen = ["--seen", seen.to_str().unwrap()];
    let (exit, verdict) = verify(&seen);
    assert_eq!((exit, &verdict["entries"]), (Some(0), &json!(6)), "{verdict}");
    let key = verdict["public_key"].as_str().unwrap().to_owned();
    assert_eq!(verify(&["--public-key", &key]).0, Some(0));
    assert_eq!(verify(&["--public-key", &"ab".repeat(32)]).0, Some(6), "another key has not signed it");

    let whole = fs::read_to_string(&export).unwrap();
    let lines: Vec<_> = whole.lines().collect();
    let edited = whole.replacen("\"outcome\":\"done\"", "\"outcome\":\"refused\"", 1);
    let attacks = [
        (edited.lines().collect::<Vec<_>>(), 1),
        ([&lines[..3], &lines[4..]].concat(), 3),
        (lines[..6].to_vec(), 6),
        ([&lines[..2], &[lines[3], lines[2]], &lines[4..]].concat(), 2),
    ];
    for (attack, first_bad) in attacks {
        assert_ne!(attack, lines);
        fs::write(&export, attack.join("\n")).unwrap();
        let (exit, verdict) = verify(&[]);
        assert_eq!((exit, &verdict["first_bad"]), (Some(6), &json!(first_bad)), "{verdict}");
    }
    fs::write(&export, "nonsense").unwrap();
    assert_eq!(verify(&[]).0, Some(2));

    // The same in the database, where the file beside the keys tells of a log that was set back whole.
    assert_eq!(gateway.terminate(), Some(0));
    let kept = temporary.path().join("kept.db");
    fs::copy(data_dir.join("catalog.db"), &kept).unwrap();
    let gateway = Gateway::on_one_disk(&data_dir, "");
    admin_json(&data_dir, &["user", "create", "late@example.org", "--plan", "free"]);
    assert_eq!(code(&data_dir, &["audit", "verify"]), Some(0));
    assert_eq!(gateway.terminate(), Some(0));
    for left in ["catalog.db-wal", "catalog.db-shm"] {
        let _ = fs::remove_file(data_dir.join(left));
    }
    fs::copy(&kept, data_dir.join("catalog.db")).unwrap();
    let gateway = Gateway::on_one_disk(&data_dir, "");
    let output = admin(&data_dir, &["audit", "verify", "--output", "json"]);
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &verdict["first_bad"]), (Some(6), &json!(7)), "{verdict}");
    assert_eq!(gateway.terminate(), Some(0));
}

/// A reason that says nothing is none.
fn nothing_is_revoked_without_a_reason(data_dir: &Path, key: &str) {
    for reason in [&[][..], &["--reason", "  "], &["--reason", " ", "--idempotency-key", "k3"]] {
        let refused = admin(data_dir, &[&["key", "revoke", key, "--yes"][..], reason].concat());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains("key.revoke needs a reason (--reason)"), "{said}");
        assert_eq!(entries(data_dir, 0).pop().unwrap()["outcome"], "refused");
    }
}

#[test]
fn flags_repeat_preview_and_confirm_changes() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let gateway = Gateway::on_one_disk(&data_dir, "");

    // Repeated: the same answer, secret and all, and one account.
    let create = ["user", "create", "a@example.org", "--plan", "free", "--idempotency-key", "k1"];
    let user = admin_json(&data_dir, &create);
    assert_eq!(admin_json(&data_dir, &create), user);
    let other = ["user", "create", "b@example.org", "--plan", "free", "--idempotency-key", "k1"];
    assert_eq!(code(&data_dir, &other), Some(4), "the key belongs to another request");
    assert_eq!(admin_json(&data_dir, &["user", "list"])["users"].as_array().unwrap().len(), 1);
    let refused = ["user", "create", "c@example.org", "--plan", "gold", "--idempotency-key", "k2"];
    assert_eq!((code(&data_dir, &refused), code(&data_dir, &refused)), (Some(2), Some(2)));

    // Tried out: a difference, an entry that says so, and nothing else.
    let user = user["user_id"].as_str().unwrap();
    let plans = temporary.path().join("plans.toml");
    fs::write(&plans, "[premium]\nbytes = { maximum = 5 }\n").unwrap();
    let prices = temporary.path().join("prices.toml");
    fs::write(&prices, "[premium]\ncurrency = \"USD\"\nmonth = 7\n").unwrap();
    let hold = admin_json(&data_dir, &["user", "hold", user, "--scope", "read"])["hold_id"].clone();
    let hold = hold.as_str().unwrap();
    let state = || {
        let verbs: [&[&str]; 5] = [
            &["quota", "show", user],
            &["user", "holds", user],
            &["plan", "list"],
            &["price", "list"],
            &["user", "list"],
        ];
        verbs.map(|verb| admin_json(&data_dir, verb))
    };
    let before = state();
    let previews: [(&[&str], &str, Value); 7] = [
        (&["user", "plan", user, "--plan", "premium"], "/bytes/limit", json!(100_000_000_000_u64)),
        (&["quota", "set", user, "--bytes", "7"], "/bytes/limit", json!(7)),
        (&["user", "limits", user, "--bytes", "8"], "/bytes_limit", json!(8)),
        (&["plan", "apply", plans.to_str().unwrap()], "/premium/version", json!(2)),
        (&["price", "apply", prices.to_str().unwrap()], "/premium/prices/month", json!(7)),
        (&["user", "hold", user, "--scope", "all"], "/hold/scope", json!("all")),
        (&["user", "lift", hold, "--reason", "over"], "/lifted", Value::Null),
    ];
    for (verb, place, after) in previews {
        let preview = admin_json(&data_dir, &[verb, &["--dry-run"]].concat());
        assert_eq!(preview["dry_run"], true, "{preview}");
        // What is compared whole, as a new hold is, has its fields under one place.
        let changes = preview["changes"].as_array().unwrap();
        let change = changes.iter().find_map(|change| {
            let below = place.strip_prefix(change["place"].as_str().unwrap())?;
            change["after"].pointer(below).cloned()
        });
        let change = change.unwrap_or_else(|| panic!("{place} in {preview}"));
        assert!(change == after || after.is_null() && !change.is_null(), "{place} in {preview}");
        assert_eq!(state(), before, "{verb:?} changed something");
        let told = entries(&data_dir, 0).pop().unwrap();
        assert_eq!(told["outcome"], "previewed", "{told}");
    }
    let negative = ["quota", "set", user, "--requests", "0", "--dry-run"];
    assert_eq!(code(&data_dir, &negative), Some(2), "it fails as it would");
    for verb in [&["key", "create", user][..], &["gc", "run"], &["operator", "create", "--key", "x"]] {
        assert_eq!(code(&data_dir, &[verb, &["--dry-run"]].concat()), Some(2), "{verb:?} has no preview");
    }

    // Destroyed: only when asked for expressly.
    let key = admin_json(&data_dir, &["key", "create", user])["access_key_id"].clone();
    let key = key.as_str().unwrap();
    let status = || admin_json(&data_dir, &["key", "list", user])["keys"].clone();
    let revoke = ["key", "revoke", key, "--reason", "lost"];
    assert_eq!(code(&data_dir, &revoke), Some(2), "nobody can be asked");
    nothing_is_revoked_without_a_reason(&data_dir, key);
    assert!(!status().to_string().contains("revoked"));
    assert_eq!(code(&data_dir, &[&revoke[..], &["--yes"]].concat()), Some(0));
    assert!(status().to_string().contains("revoked"));
    assert_eq!(gateway.terminate(), Some(0));
}
