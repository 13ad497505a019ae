//! Operators on the command line, and the listener that it talks to.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::gateway::{Gateway, admin, admin_access, admin_json, http};

/// Plans, limits and holds, from the command line.
fn limits_are_set_and_shown(data_dir: &Path, user: &str) {
    let before = admin_json(data_dir, &["quota", "show", user]);
    assert_eq!(
        before["bytes"],
        json!({"limit": 3 << 20, "used": 0, "reserved": 0, "stage": "enforce", "own": true})
    );
    let refused: [&[&str]; 12] = [
        &["quota", "set", user, "--bytes", "-1"],
        &["quota", "set", user, "--bytes", "ten"],
        &["quota", "set", user],
        &["quota", "set", user, "--requests", "0"],
        &["quota", "set", user, "--bytes", "1", "--bucket", "nosuchbucket"],
        &["quota", "set", "nobody@example.org", "--bytes", "1"],
        &["quota", "show", user, "--key", "NOSUCHKEY00000000000"],
        &["user", "plan", user, "--plan", "platinum"],
        &["user", "plan", user, "--plan", "premium", "--version", "7"],
        &["user", "hold", user, "--scope", "some"],
        &["user", "hold", user, "--scope", "write", "--until", "yesterday"],
        &["plan", "show", "platinum"],
    ];
    for arguments in refused {
        let output = admin(data_dir, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}: the reason is told");
    }
    assert_eq!(admin_json(data_dir, &["quota", "show", user]), before, "nothing has changed");

    let set =
        admin_json(data_dir, &["quota", "set", user, "--bytes", "10MiB", "--requests", "5", "--burst", "9"]);
    assert_eq!(set["bytes"]["limit"], 10 << 20);
    assert_eq!((&set["requests"]["limit"], &set["requests"]["burst"]), (&json!(5), &json!(9)));
    let key =
        ["quota", "set", user, "--key", "IMPORTEDKEY000000001", "--egress", "1 GB", "--stage", "observe"];
    assert_eq!(admin_json(data_dir, &key)["egress"]["stage"], "observe");
    admin_json(data_dir, &["user", "plan", user, "--plan", "premium"]);
    let shown = admin_json(data_dir, &["quota", "show", user]);
    assert_eq!((&shown["plan"]["name"], &shown["bytes"]["limit"]), (&json!("premium"), &json!(10 << 20)));
    assert_eq!(
        shown["egress"],
        json!({"limit": 1_000_000_000_000_u64, "used": 0, "reserved": 0, "stage": "enforce", "own": false})
    );
    let plan = admin_json(data_dir, &["quota", "set", user, "--bytes", "plan"]);
    assert_eq!(plan["bytes"]["limit"], 100_000_000_000_u64);

    let file = data_dir.join("plans.toml");
    fs::write(&file, "[premium]\nbytes = { maximum = \"200 GB\" }\n").unwrap();
    let applied = admin_json(data_dir, &["plan", "apply", file.to_str().unwrap()]);
    assert_eq!((&applied["plans"][0]["version"], &applied["plans"][0]["new"]), (&json!(2), &json!(true)));
    fs::write(&file, "[premium]\nbytes = { maximum = -200 }\n").unwrap();
    assert_eq!(admin(data_dir, &["plan", "apply", file.to_str().unwrap()]).status.code(), Some(2));
    assert_eq!(
        admin_json(data_dir, &["plan", "show", "premium"])["limits"]["bytes"]["maximum"],
        200_000_000_000_u64
    );

    let hold = admin_json(
        data_dir,
        &["user", "hold", user, "--scope", "write", "--kind", "billing", "--until", "7d"],
    );
    let hold = hold["hold_id"].as_str().unwrap().to_owned();
    assert!(admin_json(data_dir, &["user", "lift", &hold, "--reason", "over"])["lifted"].is_string());
    assert_eq!(admin(data_dir, &["user", "lift", &hold, "--reason", "over"]).status.code(), Some(2));
    let reconciled = admin_json(data_dir, &["quota", "reconcile"]);
    assert_eq!((&reconciled["drift"], &reconciled["owners_checked"]), (&json!(0), &json!(2)));
}

fn usage_is_shown_exported_and_verified(data_dir: &Path, user: &str) {
    let shown = admin_json(data_dir, &["usage", "show", user]);
    assert_eq!((&shown["complete"], &shown["total"]["byte_milliseconds"]), (&json!(false), &json!("0")));
    assert_eq!(shown["total"]["requests"]["class_a"], 0);
    let period = shown["period"].as_str().unwrap().to_owned();
    let refusals: [(&[&str], &str); 6] = [
        (&["usage", "show", user, "--period", "2026-13"], "2026-13"),
        (&["usage", "show", user, "--period", "yesterday"], "yesterday"),
        (&["usage", "show", user, "--period", "9000-01"], "has not begun"),
        (&["usage", "export", user, "--period", "9000-01", "--format", "csv"], "has not begun"),
        (&["usage", "show", user, "--bucket", "nosuchbucket"], "nosuchbucket"),
        (&["usage", "verify", "nobody@example.org"], "nobody@example.org"),
    ];
    for (arguments, reason) in refusals {
        let refused = admin(data_dir, arguments);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(reason) && refused.stdout.is_empty(), "{arguments:?}: {told}");
    }
    let csv = admin(data_dir, &["usage", "export", user, "--period", &period, "--format", "csv"]);
    let csv = String::from_utf8(csv.stdout).unwrap();
    assert!(csv.starts_with("start,bucket,bucket_number,access_key_id,bytes_stored,"), "{csv}");
    let exported = admin_json(data_dir, &["usage", "export", user, "--period", &period, "--format", "json"]);
    assert_eq!(exported, json!([]));
    let verified = admin_json(data_dir, &["usage", "verify", user]);
    assert_eq!((&verified["drift"], &verified["accounts_checked"]), (&json!(0), &json!(1)));
}

fn invoices_are_made_shown_and_verified_offline(data_dir: &Path) {
    admin_json(data_dir, &["user", "create", "pays@example.org", "--plan", "premium"]);
    let period = admin_json(data_dir, &["usage", "show", "pays@example.org"])["period"].clone();
    let period = period.as_str().unwrap();
    let run = admin_json(data_dir, &["invoice", "run", "--period", period]);
    let listed = admin_json(data_dir, &["invoice", "list", "pays@example.org"]);
    let [invoice] = listed["invoices"].as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert!(run["invoices"].as_array().unwrap().contains(invoice), "{run}");
    let totals = run["invoices"].as_array().unwrap().iter().map(|invoice| invoice["total"].as_i64().unwrap());
    assert_eq!(run["totals"], json!({ "USD": totals.sum::<i64>() }), "{run}");
    assert_eq!((&invoice["status"], &invoice["period"]), (&json!("draft"), &json!(period)));
    let id = invoice["id"].as_str().unwrap();
    let shown = admin_json(data_dir, &["invoice", "show", id]);
    assert_eq!((&shown["id"], &shown["currency"]), (&json!(id), &json!("USD")));
    assert_eq!(shown["usage_root"].as_str().unwrap().len(), 64);

    let file = data_dir.join("invoice.json");
    fs::write(&file, admin(data_dir, &["invoice", "export", id]).stdout).unwrap();
    let nowhere = data_dir.join("no-gateway-here");
    let verify = || admin(&nowhere, &["invoice", "verify", file.to_str().unwrap()]);
    assert_eq!(verify().status.code(), Some(0), "{:?}", verify());
    let mut export: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    export["invoice"]["total"] = json!(export["invoice"]["total"].as_i64().unwrap() + 1);
    fs::write(&file, export.to_string()).unwrap();
    let found = verify();
    assert_eq!(found.status.code(), Some(6), "{found:?}");
    assert!(String::from_utf8_lossy(&found.stdout).contains("total"), "{found:?}");
    fs::write(&file, "{}").unwrap();
    assert_eq!(verify().status.code(), Some(2));

    let sheet = data_dir.join("prices.toml");
    fs::write(&sheet, "[premium]\ncurrency = \"USD\"\nmonth = 0.5\n").unwrap();
    let file = sheet.to_str().unwrap();
    let refusals: [(&[&str], &str); 8] = [
        (&["invoice", "run", "--period", "9000-01"], "has not begun"),
        (&["invoice", "run", "--period", "soon"], "soon"),
        (&["invoice", "show", "2026-11-0"], "no invoice"),
        (&["invoice", "finalize", id], "not over"),
        (&["invoice", "pay", id, "--amount", "0", "--reference", "r", "--reason", "came"], "at least one"),
        (&["invoice", "credit", id, "--amount", "1", "--reason", " "], "reason"),
        (&["price", "apply", file], "0.5"),
        (&["price", "apply", file, "--from", "1999-01"], "0.5"),
    ];
    for (arguments, reason) in refusals {
        let refused = admin(data_dir, arguments);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(reason), "{arguments:?}: {told}");
    }
    let draft =
        admin(data_dir, &["invoice", "pay", id, "--amount", "1", "--reference", "r", "--reason", "came"]);
    assert_eq!(draft.status.code(), Some(4), "nothing is owed for a draft: {draft:?}");
    fs::write(&sheet, "[premium]\ncurrency = \"USD\"\nmonth = 7\n").unwrap();
    let applied = admin_json(data_dir, &["price", "apply", file]);
    assert_eq!((&applied["prices"][0]["version"], &applied["prices"][0]["new"]), (&json!(2), &json!(true)));
}

#[test]
fn operators_administer_a_gateway_from_the_command_line() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let _gateway = Gateway::dev(&data_dir);

    let user = admin_json(&data_dir, &["user", "create", "a@example.org", "--plan", "free", "--name", "A"]);
    for field in ["user_id", "access_key_id", "secret_access_key"] {
        assert!(user[field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {user}");
    }
    let user_id = user["user_id"].as_str().unwrap();
    let taken = admin(&data_dir, &["user", "create", "A@example.org", "--plan", "free"]);
    assert_eq!(taken.status.code(), Some(4), "an address belongs to one account");
    let no_plan = admin(&data_dir, &["user", "create", "b@example.org", "--plan", "gold"]);
    assert_eq!(no_plan.status.code(), Some(2), "{no_plan:?}");

    let imported = [
        "--access-key-id",
        "IMPORTEDKEY000000001",
        "--secret-access-key",
        "an-imported-secret-of-40-characters-0000",
    ];
    let key = admin_json(&data_dir, &[&["key", "create", "a@example.org"], &imported[..]].concat());
    assert_eq!(key["access_key_id"], "IMPORTEDKEY000000001");
    assert_eq!(key["secret_access_key"], imported[3]);
    assert_eq!(key["user_id"], user_id);
    let again = admin(&data_dir, &[&["key", "create", user_id], &imported[..]].concat());
    assert_eq!(again.status.code(), Some(4), "{again:?}");
    let keys = admin_json(&data_dir, &["key", "list", user_id]);
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2, "{keys}");
    assert!(!keys.to_string().contains("an-imported-secret"), "secrets are shown once");
    admin_json(&data_dir, &["key", "revoke", "IMPORTEDKEY000000001", "--yes", "--reason", "lost"]);
    let unknown = admin(&data_dir, &["key", "revoke", "NOSUCHKEY00000000000", "--yes", "--reason", "lost"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");

    let limits = admin_json(&data_dir, &["user", "limits", user_id, "--bytes", "3 MiB", "--objects", "7"]);
    assert_eq!((limits["bytes_limit"].as_u64(), limits["objects_limit"].as_u64()), (Some(3 << 20), Some(7)));

    limits_are_set_and_shown(&data_dir, user_id);
    usage_is_shown_exported_and_verified(&data_dir, user_id);
    invoices_are_made_shown_and_verified_offline(&data_dir);

    let groups = admin_json(&data_dir, &["group", "list"]);
    assert_eq!(groups["groups"][0]["profile"], "4+4", "{groups}");
    assert_eq!(admin_json(&data_dir, &["repair", "run"])["complete"], true);
    assert_eq!(admin_json(&data_dir, &["repair", "status"])["groups_below_target"], 0);
    assert_eq!(admin_json(&data_dir, &["gc", "run", "--grace", "0s"])["chunks_remaining"], 0);
    assert_eq!(admin_json(&data_dir, &["lifecycle", "run"])["expired"], 0);
    assert_eq!(admin_json(&data_dir, &["inventory", "run"])["written"], 0);
    let missing = admin(&data_dir, &["inventory", "run", "no-such-bucket"]);
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
    let report = admin_json(&data_dir, &["doctor"]);
    assert_eq!((&report["healthy"], &report["findings_total"]), (&true.into(), &0.into()), "{report}");
    users_are_listed_by_pages(&data_dir);
    let table = admin(&data_dir, &["user", "list"]);
    assert!(String::from_utf8(table.stdout).unwrap().contains("a@example.org"));
}

/// Pages follow each other by key, and bad bounds are refused.
fn users_are_listed_by_pages(data_dir: &Path) {
    for name in ["p1", "p2", "p3"] {
        admin_json(data_dir, &["user", "create", &format!("{name}@example.org"), "--plan", "free"]);
    }
    let ids = |more: &[&str]| {
        let listed = admin_json(data_dir, &[&["user", "list"][..], more].concat());
        let users = listed["users"].as_array().unwrap().iter();
        let ids: Vec<_> = users.map(|user| user["user_id"].as_str().unwrap().to_owned()).collect();
        (ids, listed["next_after"].as_str().map(str::to_owned))
    };
    let (all, end) = ids(&[]);
    assert!(all.is_sorted() && all.len() > 3, "{all:?}");
    assert_eq!(end, None);
    let (first, next) = ids(&["--limit", "2"]);
    assert_eq!((&first[..], next.as_ref()), (&all[..2], Some(&all[1])));
    assert_eq!(ids(&["--after", &all[1]]), (all[2..].to_vec(), None));
    assert_eq!(ids(&["--after", all.last().unwrap()]), (vec![], None));
    for bad in [&["--limit", "0"][..], &["--after", "ann@example.org"]] {
        assert_eq!(admin(data_dir, &[&["user", "list"][..], bad].concat()).status.code(), Some(2), "{bad:?}");
    }
    let (address, token) = admin_access(data_dir);
    let bearer = format!("authorization: Bearer {token}\r\n");
    for (query, status) in [("limit=1", 200), ("limit=1001", 400), ("limit=x", 400), ("page=2", 400)] {
        let (answered, body) = http(&address, "GET", &format!("/v1/users?{query}"), &bearer, "");
        assert_eq!(answered, status, "{query}: {body}");
    }
}

#[test]
fn operators_replace_the_key_encryption_key_while_the_gateway_runs() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let gateway = Gateway::dev(&data_dir);
    admin_json(&data_dir, &["user", "create", "a@example.org", "--plan", "free"]);
    let keys = |role: &str| {
        let keys = admin_json(&data_dir, &["kek", "status"])["keys"].as_array().unwrap().clone();
        keys.into_iter().filter(|key| key["role"] == role).collect::<Vec<_>>()
    };
    let first = keys("sealing").remove(0);
    assert!(first["secrets"].as_u64().unwrap() >= 2, "{first}");
    let added = admin_json(&data_dir, &["kek", "add"])["id"].clone();
    assert_eq!(keys("next")[0]["id"], added);
    let resealed = admin_json(&data_dir, &["kek", "rotate", "--reason", "yearly"])["resealed"].as_u64();
    assert_eq!(resealed, first["secrets"].as_u64());
    assert_eq!((&keys("sealing")[0]["id"], &keys("old")[0]["id"]), (&added, &first["id"]));
    let retired = admin_json(&data_dir, &["kek", "retire", "--yes", "--reason", "yearly"])["retired"].clone();
    assert_eq!(retired, serde_json::json!([first["id"]]));
    assert_eq!(gateway.terminate(), Some(0));

    // What was sealed is read with the new key alone, also by the next process.
    let _gateway = Gateway::dev(&data_dir);
    assert_eq!(keys("sealing").len(), 1);
    assert_eq!(keys("old").len(), 0);
    assert_eq!(admin_json(&data_dir, &["doctor"])["healthy"], true);
}

#[test]
fn the_admin_listener_answers_nobody_without_the_token() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let gateway = Gateway::dev(&data_dir);
    let (address, token) = admin_access(&data_dir);
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
    let wrong = format!("{}0", &token[..token.len() - 1]);
    let wrong = if wrong == token { format!("{}1", &token[..token.len() - 1]) } else { wrong };
    let actions = admin_json(&data_dir, &["audit", "actions"])["actions"].as_array().unwrap().clone();
    let text = |action: &Value, name: &str| action[name].as_str().unwrap().replace(['{', '}'], "x");
    let mut routes: Vec<_> =
        actions.iter().map(|action| (text(action, "method"), text(action, "path"))).collect();
    // And some that are not there.
    let missing = [("GET", "/"), ("GET", "/v1/nothing"), ("PATCH", "/v1/users")];
    routes.extend(missing.map(|(method, path)| (method.to_owned(), path.to_owned())));
    for (method, path) in &routes {
        let credentials =
            [String::new(), bearer(&wrong), bearer(""), format!("authorization: Basic {token}\r\n")];
        for headers in credentials {
            let (status, answer) = http(&address, method, path, &headers, "{}");
            assert_eq!(status, 401, "{method} {path} {headers:?}");
            assert!(!answer.contains(&token));
        }
        let (status, _) = http(&address, method, path, &bearer(&token), "{\"unknown\": 1}");
        assert_ne!(status, 401, "{method} {path}");
    }
    let large = "x".repeat(100_000);
    assert_eq!(http(&address, "POST", "/v1/users", &bearer(&token), &large).0, 413);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(http(&address, "GET", path, "", "").0, 200, "{path}");
    }
    let (_, metrics) = http(&address, "GET", "/metrics", "", "");
    for name in
        ["datamesh_groups_below_target 0", "datamesh_nodes_connected 8", "datamesh_node_capacity_bytes{"]
    {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    let denied_dir = temporary.path().join("denied");
    fs::create_dir(&denied_dir).unwrap();
    let access = format!("{{\"endpoint\": \"http://{address}\", \"token\": \"{wrong}\"}}");
    fs::write(denied_dir.join("admin.json"), access).unwrap();
    assert_eq!(admin(&denied_dir, &["user", "list"]).status.code(), Some(3));
    assert_eq!(gateway.terminate(), Some(0));
}
