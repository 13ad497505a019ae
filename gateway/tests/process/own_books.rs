//! What people see of their own books: limits, usage, and invoices that they can recompute.

use std::fs;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::accounts::{MANY, PASSWORD, People, mail_server, token, with_people};
use super::billing::{backdate, last_period};
use super::gateway::{admin, admin_json};

const PAYS: &str = "pays@example.org";
const OTHER: &str = "other@example.org";

/// Makes two accounts that log in with [`PASSWORD`].
fn with_passwords(data_dir: &Path, people: &People, letters: &Receiver<(String, String)>) {
    for (email, plan) in [(PAYS, "premium"), (OTHER, "free")] {
        admin_json(data_dir, &["user", "create", email, "--plan", plan]);
        people.send("POST", "password/forgotten", "", &json!({ "email": email }));
        let (_, letter) = letters.recv_timeout(Duration::from_mins(1)).expect("a letter arrives");
        let body = json!({ "token": token(&letter).unwrap(), "password": PASSWORD });
        assert_eq!(people.send("POST", "password", "", &body).0, 204);
    }
}

#[test]
fn people_see_their_own_books_and_nobody_elses() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let (port, letters) = mail_server();
    let mail = format!("host = \"127.0.0.1\"\nport = {port}\nsecurity = \"none\"");
    let (gateway, people) = with_people(&data_dir, MANY, &mail);
    with_passwords(&data_dir, &people, &letters);
    assert_eq!(gateway.terminate(), Some(0));
    backdate(&data_dir);
    let (gateway, people) = with_people(&data_dir, MANY, "");
    let period = last_period(&data_dir);
    admin_json(&data_dir, &["invoice", "run", "--period", &period]);

    let (session, other) = (people.session(PAYS), people.session(OTHER));
    let ask = |path: &str, session: &str| people.send("GET", path, session, &json!({}));
    let (status, listed) = ask("invoices", &session);
    assert_eq!(status, 200, "{listed}");
    let listed = listed["invoices"].as_array().unwrap();
    let invoice = listed.iter().find(|invoice| invoice["period"] == json!(period)).expect("an invoice");
    let id = invoice["id"].as_str().unwrap();
    let shown = ask(&format!("invoices/{id}"), &session);
    assert_eq!((shown.0, &shown.1["total"]), (200, &json!(9_000_000)), "{}", shown.1);
    assert_eq!(shown.1, admin_json(&data_dir, &["invoice", "show", id]), "operators see the same");

    let file = data_dir.join("invoice.json");
    fs::write(&file, people.download(&format!("invoices/{id}/export"), &session)).unwrap();
    let verified = admin(Path::new("/nowhere"), &["invoice", "verify", file.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));

    for path in [format!("invoices/{id}"), format!("invoices/{id}/export")] {
        let (status, answer) = ask(&path, &other);
        assert_eq!(status, 404, "{path}: {answer}");
    }
    let listed = ask("invoices", &other).1;
    assert!(!listed.to_string().contains(id), "{listed}");

    assert_eq!(ask("limits", &session).1, admin_json(&data_dir, &["quota", "show", PAYS]));
    let usage = ask(&format!("usage?period={period}"), &session);
    assert_eq!((usage.0, &usage.1["period"]), (200, &json!(period)), "{}", usage.1);
    assert_eq!(ask(&format!("usage/hours?period={period}&bucket=0"), &session).0, 200);
    assert_eq!(ask(&format!("service-level?period={period}"), &session).0, 200);
    for path in ["usage?period=soon", "usage?perid=2026-01", "usage/hours", "service-level?period=1"] {
        assert_eq!(ask(path, &session).0, 400, "{path}");
    }
    assert_eq!(ask("usage?bucket=missing", &session).0, 404);
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn an_account_asks_so_often_with_all_its_sessions_and_bounds_no_other() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let (port, letters) = mail_server();
    let mail = format!("host = \"127.0.0.1\"\nport = {port}\nsecurity = \"none\"");
    let few = format!("{MANY}session_requests_per_hour = 1\nsession_requests_burst = 3\n");
    let (gateway, people) = with_people(&data_dir, &few, &mail);
    with_passwords(&data_dir, &people, &letters);
    let sessions = [people.session(PAYS), people.session(PAYS)];
    let other = people.session(OTHER);
    let ask = |path: &str, session: &str| people.send("GET", path, session, &json!({})).0;
    assert_eq!(
        [ask("limits", &sessions[0]), ask("usage", &sessions[1]), ask("me", &sessions[0])],
        [200, 200, 200]
    );
    for session in &sessions {
        assert_eq!(ask("limits", session), 429);
        assert_eq!(ask("usage", session), 429);
    }
    assert_eq!(ask("usage", &other), 200);
    assert_eq!(gateway.terminate(), Some(0));
}
