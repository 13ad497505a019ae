//! Plan migrations of a real gateway: from the command line, and by themselves.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::gateway::{Gateway, admin, admin_json, code};

/// Makes a version of the plan `team` with this limit on objects.
fn team(data_dir: &Path, objects: u64, stage: &str) {
    let file = data_dir.with_extension("plans");
    fs::write(&file, format!("[team]\nobjects = {{ maximum = {objects}, stage = \"{stage}\" }}\n")).unwrap();
    admin_json(data_dir, &["plan", "apply", file.to_str().unwrap()]);
}

fn objects(data_dir: &Path, user: &str) -> Value {
    let shown = admin_json(data_dir, &["quota", "show", user]);
    json!([shown["plan"]["version"], shown["objects"]["limit"], shown["objects"]["stage"]])
}

/// What is refused leaves nothing, says why, and has its exit code.
fn bad_input_is_refused(data_dir: &Path) {
    let schedule = |more: &[&str]| -> Vec<String> {
        ["migration", "schedule"].iter().chain(more).map(|argument| (*argument).to_owned()).collect()
    };
    let refusals = [
        (schedule(&["--from", "gold", "--to", "team", "--at", "now"]), "no plan \"gold\""),
        (schedule(&["--from", "team", "--to", "gold", "--at", "now"]), "no plan \"gold\""),
        (schedule(&["--from", "team", "--from-version", "7", "--to", "team", "--at", "now"]), "version 7"),
        (schedule(&["--from", "team", "--to", "team", "--to-version", "7", "--at", "now"]), "version 7"),
        (schedule(&["--from", "team", "--from-version", "2", "--to", "team", "--at", "now"]), "already"),
        (schedule(&["--from", "team", "--to", "team", "--to-version", "1", "--at", "now"]), "older than 1"),
        (schedule(&["--from", "team", "--to", "team", "--at", "2020-01-01T00:00:00Z"]), "a time to come"),
        (schedule(&["--from", "team", "--to", "team", "--at", "tomorrow"]), "\"tomorrow\" is no time"),
        (schedule(&["--from", "team", "--to", "team"]), "--at"),
        (
            schedule(&["--from", "team", "--to", "team", "--at", "now", "--subscribed-before", "once"]),
            "\"once\" is no time",
        ),
        (vec!["migration".to_owned(), "show".to_owned(), "none".to_owned()], "no plan migration none"),
        (["migration", "cancel", "none", "--yes"].map(str::to_owned).to_vec(), "no plan migration none"),
    ];
    for (arguments, reason) in refusals {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let refused = admin(data_dir, &arguments);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(reason), "{arguments:?}: {told}");
    }
    assert_eq!(admin_json(data_dir, &["migration", "list"])["migrations"], json!([]));
}

#[test]
fn operators_migrate_a_cohort_at_a_date_and_see_it_coming() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let gateway = Gateway::on_one_disk(&data_dir, "");
    team(&data_dir, 9, "observe");
    admin_json(&data_dir, &["user", "create", "ann@example.org", "--plan", "team"]);
    team(&data_dir, 5, "enforce");
    bad_input_is_refused(&data_dir);

    let schedule = ["migration", "schedule", "--from", "team", "--to", "team"];
    let later = [&schedule[..], &["--at", "2099-01-31T12:00:00Z"]].concat();
    let preview = admin_json(&data_dir, &[&later[..], &["--dry-run"]].concat());
    let [change] = preview["changes"].as_array().unwrap().as_slice() else { panic!("{preview}") };
    assert_eq!((&change["place"], &change["before"]), (&json!("/migration"), &Value::Null));
    let cohort = json!({ "accounts": 1, "over_quota": 0, "first_over_quota": [] });
    assert_eq!((&change["after"]["cohort"], &change["after"]["to_version"]), (&cohort, &json!(2)));
    assert_eq!(admin_json(&data_dir, &["migration", "list"])["migrations"], json!([]));

    let first =
        admin_json(&data_dir, &[&later[..], &["--idempotency-key", "m1", "--reason", "fewer"]].concat());
    assert_eq!(admin_json(&data_dir, &[&later[..], &["--idempotency-key", "m1"]].concat()), first);
    assert_eq!(code(&data_dir, &later), Some(4), "another one is due at that time");
    let id = first["migration_id"].as_str().unwrap();
    assert_eq!((&first["state"], &first["due"]), (&json!("scheduled"), &json!("2099-01-31T12:00:00Z")));
    assert_eq!(admin_json(&data_dir, &["migration", "show", id]), first);
    assert_eq!(admin_json(&data_dir, &["migration", "run"]), json!({ "done": 0, "moved": 0 }));
    assert_eq!(objects(&data_dir, "ann@example.org"), json!([1, 9, "observe"]), "it is not due");
    assert_eq!(code(&data_dir, &["migration", "cancel", id]), Some(2), "it asks first");
    let tried = admin_json(&data_dir, &["migration", "cancel", id, "--dry-run"]);
    assert!(tried["changes"].to_string().contains("cancelled"), "{tried}");
    assert_eq!(admin_json(&data_dir, &["migration", "cancel", id, "--yes"])["state"], "cancelled");
    assert_eq!(code(&data_dir, &["migration", "cancel", id, "--yes"]), Some(4), "it has ended");

    let none = [&schedule[..], &["--at", "now", "--subscribed-before", "2020-01-01T00:00:00Z"]].concat();
    assert_eq!(admin_json(&data_dir, &none)["cohort"]["accounts"], 0);
    assert_eq!(admin_json(&data_dir, &["migration", "run"]), json!({ "done": 1, "moved": 0 }));
    let now = admin_json(&data_dir, &[&schedule[..], &["--at", "now"]].concat());
    assert_eq!(admin_json(&data_dir, &["migration", "run"]), json!({ "done": 1, "moved": 1 }));
    assert_eq!(objects(&data_dir, "ann@example.org"), json!([2, 5, "enforce"]));
    let listed = admin_json(&data_dir, &["migration", "list"])["migrations"].as_array().unwrap().clone();
    let states: Vec<_> = listed.iter().map(|one| json!([one["state"], one["moved"]])).collect();
    assert_eq!(states, [json!(["done", 1]), json!(["done", 0]), json!(["cancelled", 0])]);
    assert_eq!(listed[0]["migration_id"], now["migration_id"]);
    let table = String::from_utf8(admin(&data_dir, &["migration", "list"]).stdout).unwrap();
    assert!(table.contains("SUBSCRIBED BEFORE") && table.contains(id), "{table}");

    let log = admin_json(&data_dir, &["audit", "list"])["entries"].as_array().unwrap().clone();
    let told = |action: &str| {
        let named = log.iter().filter(|entry| entry["action"] == action);
        named.map(|entry| json!([entry["actor"], entry["outcome"]])).collect::<Vec<_>>()
    };
    let done = json!(["operator", "done"]);
    let refused_or_previewed = told("migration.schedule").into_iter().filter(|entry| *entry != done).count();
    assert_eq!(told("migration.schedule").len() - refused_or_previewed, 3);
    assert_eq!(told("migration.cancel").last(), Some(&json!(["operator", "refused"])));
    assert_eq!(told("migration.move"), [json!(["gateway", "done"]), json!(["gateway", "done"])]);
    let reason = log.iter().find(|entry| entry["reason"] == "fewer").map(|entry| entry["action"].clone());
    assert_eq!(reason, Some(json!("migration.schedule")));
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn a_gateway_carries_out_what_is_due_by_itself() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let gateway = Gateway::on_one_disk(&data_dir, "[jobs]\nplan_migration_interval = \"50ms\"");
    team(&data_dir, 9, "observe");
    admin_json(&data_dir, &["user", "create", "ann@example.org", "--plan", "team"]);
    team(&data_dir, 9, "warn");
    let soon = ["migration", "schedule", "--from", "team", "--to", "team", "--at", "200ms"];
    let scheduled = admin_json(&data_dir, &soon);
    let id = scheduled["migration_id"].as_str().unwrap();
    let give_up = Instant::now() + Duration::from_mins(1);
    while admin_json(&data_dir, &["migration", "show", id])["state"] != "done" {
        assert!(Instant::now() < give_up, "it was not carried out");
    }
    assert_eq!(objects(&data_dir, "ann@example.org"), json!([2, 9, "warn"]));
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn dry_runs_of_plans_and_prices_name_whom_they_are_about() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let gateway = Gateway::on_one_disk(&data_dir, "");
    let create = |name: &str, plan| {
        let email = format!("{name}@example.org");
        admin_json(&data_dir, &["user", "create", &email, "--plan", plan])["user_id"].clone()
    };
    let mut premium = [create("ann", "premium"), create("bob", "premium")];
    premium.sort_by_key(Value::to_string);
    create("cleo", "free");
    let file = |name: &str, text: &str| {
        let path = temporary.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };

    let plans = file("plans", "[premium]\nbytes = { maximum = 5 }\n[team]\nbytes = { maximum = 6 }\n");
    let preview = admin_json(&data_dir, &["plan", "apply", &plans, "--dry-run"]);
    let affected = json!({ "accounts": 2, "plans": { "premium": 2, "team": 0 }, "first_accounts": premium });
    assert_eq!(preview["affected"], affected, "{preview}");

    let unchanged = "[enterprise]\ncurrency = \"USD\"\nstorage = { price = 100000 }\n\
        egress = { price = 50000 }\nclass_a = { price = 10000 }\nclass_b = { price = 10000 }\n\
        sla = [{ below = 999000, credit = 10 }, { below = 990000, credit = 25 }, { below = 950000, credit = 100 }]\n";
    let prices = file("prices", &format!("{unchanged}[premium]\ncurrency = \"USD\"\nmonth = 7000000\n"));
    let preview = admin_json(&data_dir, &["price", "apply", &prices, "--dry-run"]);
    let affected = json!({
        "accounts": 2, "plans": { "premium": 2 }, "first_accounts": premium,
        "month_fees": [{ "currency": "USD", "before": "18000000", "after": "14000000" }],
    });
    assert_eq!(preview["affected"], affected, "{preview}");
    let table = admin(&data_dir, &["price", "apply", &prices, "--dry-run"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("/premium/prices/month") && table.contains("affected:"), "{table}");
    assert_eq!(gateway.terminate(), Some(0));
}
