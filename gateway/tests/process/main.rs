//! The real binaries, as processes: start, serve, administer, stop, start again; and every way not to start.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

use std::fs;
use std::net::TcpListener;

use serde_json::Value;
use tempfile::TempDir;

mod accounts;
mod audit;
mod billing;
mod books;
mod gateway;
mod migrations;
mod operators;
mod own_books;
mod privacy;

use gateway::{Gateway, admin, admin_json, mode, refused};

#[test]
fn a_dev_gateway_keeps_its_account_and_data_over_restarts() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let gateway = Gateway::dev(&data_dir);
    let credentials = data_dir.join("credentials.env");
    let first = fs::read_to_string(&credentials).unwrap();
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL"] {
        assert!(first.lines().any(|line| line.starts_with(&format!("export {name}="))), "{name} in {first}");
    }
    for file in ["credentials.env", "admin.json", "kek", "operator.key", "gateway.key"] {
        assert_eq!(mode(&data_dir.join(file)), 0o600, "{file}");
    }
    let nodes = admin_json(&data_dir, &["node", "list"]);
    let nodes = nodes["nodes"].as_array().unwrap().clone();
    assert_eq!(nodes.len(), 8);
    assert!(nodes.iter().all(|node| node["connected"] == true), "{nodes:?}");
    let users = admin_json(&data_dir, &["user", "list"]);
    assert_eq!(gateway.terminate(), Some(0), "SIGTERM drains and exits with 0");

    let gateway = Gateway::dev(&data_dir);
    let second = fs::read_to_string(&credentials).unwrap();
    let without_port =
        |text: &str| text.lines().filter(|line| !line.contains("ENDPOINT")).collect::<String>();
    assert_eq!(without_port(&first), without_port(&second));
    assert_eq!(admin_json(&data_dir, &["user", "list"])["users"], users["users"]);
    let ids = |nodes: &[Value]| nodes.iter().map(|node| node["node"].to_string()).collect::<Vec<_>>();
    let again = admin_json(&data_dir, &["node", "list"]);
    assert_eq!(ids(again["nodes"].as_array().unwrap()), ids(&nodes));
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn a_gateway_that_cannot_start_says_why_in_one_line() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let dev = |extra: &[&str]| {
        let fixed = ["dev", "--data-dir", data_dir.to_str().unwrap(), "--admin-listen", "127.0.0.1:0"];
        refused(&[&fixed[..], extra].concat())
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, line) = dev(&["--listen", &address]);
    assert_eq!(code, 1);
    assert!(line.contains(&format!("the S3 listener cannot listen on {address}")), "{line}");

    let (code, line) = dev(&["--listen", "127.0.0.1:0", "--database", "postgres://nobody@127.0.0.1:1/none"]);
    assert_eq!(code, 1);
    assert!(line.contains("database"), "{line}");

    assert_eq!(Gateway::dev(&data_dir).terminate(), Some(0));
    let (code, line) = dev(&["--listen", "127.0.0.1:0", "--nodes", "6"]);
    assert_eq!(code, 1);
    assert!(line.contains("--nodes must be at least that, not 6"), "{line}");

    let kek = data_dir.join("kek");
    let right = fs::read(&kek).unwrap();
    fs::remove_file(&kek).unwrap();
    let (code, line) = dev(&["--listen", "127.0.0.1:0"]);
    assert_eq!(code, 1);
    assert!(line.to_lowercase().contains("key"), "{line}");
    fs::write(&kek, &right).unwrap();

    let catalog = data_dir.join("catalog.db");
    fs::rename(&catalog, data_dir.join("hidden.db")).unwrap();
    let (code, line) = dev(&["--listen", "127.0.0.1:0"]);
    assert_eq!(code, 1);
    assert!(line.contains("there is no database at"), "{line}");
    fs::write(
        &catalog,
        "this is no database, and long enough to be read as the header of one, which it is not: 0123456789",
    )
    .unwrap();
    let (code, line) = dev(&["--listen", "127.0.0.1:0"]);
    assert_eq!(code, 1);
    assert!(line.contains("is not a SQLite database"), "{line}");
}

#[test]
fn a_wrong_configuration_is_exit_code_2() {
    let temporary = TempDir::new().unwrap();
    let file = temporary.path().join("gateway.toml");
    fs::write(&file, "data_dir = 7").unwrap();
    let (code, line) = refused(&["serve", "--config", file.to_str().unwrap()]);
    assert_eq!(code, 2);
    let expected = format!("{}:1: key `data_dir`: invalid type: integer `7`, expected", file.display());
    assert!(line.contains(&expected), "{line}");
    let (code, line) = refused(&["serve", "--config", "/nonexistent/gateway.toml"]);
    assert_eq!(code, 2);
    assert!(line.contains("cannot read /nonexistent/gateway.toml: No such file"), "{line}");
}

#[test]
fn a_gateway_without_a_mesh_serves_from_one_disk() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let gateway = Gateway::on_one_disk(&data_dir, "");
    let user = admin_json(&data_dir, &["user", "create", "a@example.org", "--plan", "free"]);
    assert!(user["access_key_id"].is_string());
    assert_eq!(admin(&data_dir, &["repair", "run"]).status.code(), Some(2), "there is no mesh to repair");
    assert_eq!(admin_json(&data_dir, &["doctor"])["healthy"], true);
    assert_eq!(gateway.terminate(), Some(0));
}
