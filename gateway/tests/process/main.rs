//! The real binaries, as processes: start, serve, administer, stop, start again; and every way not to start.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tempfile::TempDir;

mod accounts;
mod audit;
mod billing;
mod privacy;

const GATEWAY: &str = env!("CARGO_BIN_EXE_datamesh-gateway");

/// `datamesh-admin` is another package's: `make test` builds it first; a test run on its own builds what is missing.
fn admin_binary() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = Path::new(GATEWAY).with_file_name("datamesh-admin");
        if path.exists() {
            return path;
        }
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--ignore-rust-version", "-p", "datamesh-admin"]);
        if GATEWAY.contains("/release/") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "datamesh-admin does not build");
        path
    })
}

/// A running `datamesh-gateway`, killed when dropped.
struct Gateway {
    child: Child,
    stdout: Option<BufReader<std::process::ChildStdout>>,
    /// What it printed before it was ready.
    said: Vec<String>,
}

impl Gateway {
    fn spawn(arguments: &[&str]) -> Self {
        let mut child = Command::new(GATEWAY)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout: Some(stdout), said: Vec::new() }
    }

    fn dev(data_dir: &Path) -> Self {
        let data_dir = data_dir.to_str().unwrap();
        let mut gateway = Self::spawn(&[
            "dev",
            "--data-dir",
            data_dir,
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ]);
        gateway.await_ready();
        gateway
    }

    /// One that `serve`s from a folder, without a mesh. `admin` goes into its `[admin]` section.
    fn on_one_disk(data_dir: &Path, admin: &str) -> Self {
        let disk = format!("type = \"local\"\ndir = \"{}/disk\"\ncapacity = \"1 GiB\"", data_dir.display());
        Self::on_backend(data_dir, &disk, admin)
    }

    /// One that `serve`s from that backend, without a mesh.
    fn on_backend(data_dir: &Path, backend: &str, admin: &str) -> Self {
        let text = format!(
            r#"
data_dir = "{}"
[s3]
listen = "127.0.0.1:0"
[storage.backends.disk]
{backend}
[storage.classes]
STANDARD = "disk"
[admin]
listen = "127.0.0.1:0"
{admin}
"#,
            data_dir.display()
        );
        let file = data_dir.with_extension("toml");
        fs::write(&file, text).unwrap();
        let mut gateway = Self::spawn(&["serve", "--config", file.to_str().unwrap()]);
        gateway.await_ready();
        gateway
    }

    fn await_ready(&mut self) {
        let lines = self.stdout.as_mut().unwrap().lines().map(Result::unwrap);
        let seen: Vec<_> = lines.take_while(|line| line != "ready").collect();
        if self.child.try_wait().unwrap().is_some() {
            let mut errors = String::new();
            self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
            panic!("the gateway ended before it was ready: {seen:?} {errors}");
        }
        self.said = seen;
        // Somebody must go on reading, or it would block on a full pipe.
        let stderr = self.child.stderr.take().unwrap();
        std::thread::spawn(move || BufReader::new(stderr).lines().for_each(drop));
        let stdout = self.stdout.take().unwrap();
        std::thread::spawn(move || stdout.lines().for_each(drop));
    }

    fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a gateway that must not start: its exit code and its one line.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(GATEWAY).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("datamesh-gateway: ")).collect();
    assert_eq!(lines.len(), 1, "one line says why: {text}");
    (output.status.code().unwrap(), lines[0].to_owned())
}

fn admin(data_dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(admin_binary());
    command.args(arguments).arg("--data-dir").arg(data_dir).stdin(Stdio::null());
    command.output().unwrap()
}

fn admin_json(data_dir: &Path, arguments: &[&str]) -> Value {
    let arguments: Vec<_> = arguments.iter().chain(&["--output", "json"]).copied().collect();
    let output = admin(data_dir, &arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn code(data_dir: &Path, arguments: &[&str]) -> Option<i32> {
    admin(data_dir, arguments).status.code()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn admin_access(data_dir: &Path) -> (String, String) {
    let access: Value = serde_json::from_slice(&fs::read(data_dir.join("admin.json")).unwrap()).unwrap();
    let text = |name: &str| access[name].as_str().unwrap().to_owned();
    (text("endpoint").trim_start_matches("http://").to_owned(), text("token"))
}

/// One HTTP request over a connection of its own: the status and everything that came back.
fn http(address: &str, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let len = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

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
    assert!(admin_json(data_dir, &["user", "lift", &hold])["lifted"].is_string());
    assert_eq!(admin(data_dir, &["user", "lift", &hold]).status.code(), Some(2));
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
        (&["invoice", "pay", id, "--amount", "0", "--reference", "r"], "at least one"),
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
    let draft = admin(data_dir, &["invoice", "pay", id, "--amount", "1", "--reference", "r"]);
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
    admin_json(&data_dir, &["key", "revoke", "IMPORTEDKEY000000001", "--yes"]);
    let unknown = admin(&data_dir, &["key", "revoke", "NOSUCHKEY00000000000", "--yes"]);
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
    let table = admin(&data_dir, &["user", "list"]);
    assert!(String::from_utf8(table.stdout).unwrap().contains("a@example.org"));
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
    let resealed = admin_json(&data_dir, &["kek", "rotate"])["resealed"].as_u64();
    assert_eq!(resealed, first["secrets"].as_u64());
    assert_eq!((&keys("sealing")[0]["id"], &keys("old")[0]["id"]), (&added, &first["id"]));
    let retired = admin_json(&data_dir, &["kek", "retire", "--yes"])["retired"].clone();
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
