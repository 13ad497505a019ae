//! People who register by themselves: letters over SMTP and into a folder, sessions, keys, and what strangers may not do.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::gateway::{Gateway, admin, admin_access, admin_json, http};

pub const PASSWORD: &str = "correct horse battery";

/// A mail server that takes everything: each letter's recipient and text.
pub fn mail_server() -> (u16, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            std::thread::spawn(move || take_letters(stream, |letter| sender.send(letter).is_ok()));
        }
    });
    (port, receiver)
}

/// SMTP (RFC 5321) as a server speaks it, for one connection.
fn take_letters(mut stream: TcpStream, mut take: impl FnMut((String, String)) -> bool) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut to = String::new();
    stream.write_all(b"220 sink\r\n").unwrap();
    while let Some(Ok(line)) = lines.next() {
        let command = line.to_ascii_uppercase();
        let answer = if command.starts_with("EHLO") {
            "250-sink\r\n250 8BITMIME"
        } else if command.starts_with("RCPT TO:") {
            line["RCPT TO:".len()..].trim_matches(['<', '>', ' ']).clone_into(&mut to);
            "250 good"
        } else if command == "DATA" {
            stream.write_all(b"354 go on\r\n").unwrap();
            let text: Vec<_> = lines.by_ref().map_while(Result::ok).take_while(|line| line != ".").collect();
            if !take((to.clone(), text.join("\n"))) {
                return;
            }
            "250 taken"
        } else if command == "QUIT" {
            "221 bye"
        } else {
            "250 good"
        };
        if stream.write_all(format!("{answer}\r\n").as_bytes()).is_err() {
            return;
        }
    }
}

/// The token in a letter: the one line that could be one.
pub fn token(letter: &str) -> Option<String> {
    let is_token = |line: &&str| {
        line.len() == 64 && line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    letter.lines().find(is_token).map(str::to_owned)
}

pub fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// The listener for people.
pub struct People(String);

impl People {
    fn of(gateway: &Gateway) -> Self {
        let line = gateway.said.iter().find_map(|line| line.strip_prefix("accounts on http://"));
        Self(line.expect("the gateway says where").to_owned())
    }

    pub fn send(&self, method: &str, path: &str, headers: &str, body: &Value) -> (u16, Value) {
        let (status, answer) =
            http(&self.0, method, &format!("/account/v1/{path}"), headers, &body.to_string());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    /// The bytes of an answer.
    pub fn download(&self, path: &str, headers: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.0).unwrap();
        // Of version 1.0, so that the body ends with the connection.
        let request = format!("GET /account/v1/{path} HTTP/1.0\r\nhost: x\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer[9..12] == *b"200", "{}", String::from_utf8_lossy(&answer));
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        answer.split_off(end + 4)
    }

    fn register(&self, email: &str, plan: &str) -> (u16, Value) {
        let body = json!({ "email": email, "plan": plan, "password": PASSWORD });
        self.send("POST", "registrations", "", &body)
    }

    fn login(&self, user: &str, password: &str) -> (u16, Value) {
        self.send("POST", "sessions", "", &json!({ "user": user, "password": password }))
    }

    pub fn session(&self, user: &str) -> String {
        let (status, login) = self.login(user, PASSWORD);
        assert_eq!(status, 201, "{login}");
        bearer(login["token"].as_str().unwrap())
    }
}

pub const MANY: &str =
    "requests_per_hour = 100000\nrequests_burst = 10000\nlogins_per_hour = 10000\nlogins_burst = 1000\n";

pub fn with_people(data_dir: &Path, registration: &str, mail: &str) -> (Gateway, People) {
    let sections = format!("[registration]\nlisten = \"127.0.0.1:0\"\n{registration}\n[mail]\n{mail}");
    let gateway = Gateway::on_one_disk(data_dir, &sections);
    let people = People::of(&gateway);
    (gateway, people)
}

/// Makes a key, rotates it, revokes it; the secret of the one it was rotated to.
fn manage_keys(data_dir: &Path, people: &People, session: &str) -> String {
    let (status, key) = people.send("POST", "keys", session, &json!({}));
    assert_eq!(status, 201, "{key}");
    let id = key["access_key_id"].as_str().unwrap();
    let (status, new) =
        people.send("POST", &format!("keys/{id}/rotate"), session, &json!({ "overlap": "1h" }));
    assert_eq!(status, 201, "{new}");
    let listed = people.send("GET", "keys", session, &json!({})).1;
    for secret in [&key, &new] {
        assert!(
            !listed.to_string().contains(secret["secret_access_key"].as_str().unwrap()),
            "secrets are shown once"
        );
    }
    let status = |id: &Value| {
        let keys =
            admin_json(data_dir, &["key", "list", "ann@example.org"])["keys"].as_array().unwrap().clone();
        keys.into_iter().find(|key| key["access_key_id"] == *id).unwrap()["status"].clone()
    };
    let (old_id, new_id) = (&key["access_key_id"], &new["access_key_id"]);
    assert_eq!((status(old_id), status(new_id)), (json!("rotating"), json!("active")));
    assert_eq!(people.send("DELETE", &format!("keys/{id}"), session, &json!({})).0, 200);
    assert_eq!(status(old_id), "revoked");
    let operators = admin_json(data_dir, &["key", "rotate", new_id.as_str().unwrap(), "--overlap", "1m"]);
    assert_eq!((status(new_id), status(&operators["access_key_id"])), (json!("rotating"), json!("active")));

    // For a time, made by either of them; a time that is over is none.
    let (code, own) = people.send("POST", "keys", session, &json!({ "expires_at": "90d" }));
    assert_eq!(code, 201, "{own}");
    let create = ["key", "create", "ann@example.org", "--expires-in"];
    let theirs = admin_json(data_dir, &[&create[..], &["90d"]].concat());
    for key in [&own, &theirs] {
        assert!(key["expires"].as_str().unwrap().ends_with('Z'), "{key}");
        assert_eq!(status(&key["access_key_id"]), "active");
    }
    for past in ["2020-01-01T00:00:00Z", "0s", "soon"] {
        assert_eq!(people.send("POST", "keys", session, &json!({ "expires_at": past })).0, 400, "{past}");
    }
    assert_eq!(admin(data_dir, &[&create[..], &["0s"]].concat()).status.code(), Some(2));

    // Somebody else's keys are not there.
    let bobs = admin_json(data_dir, &["user", "create", "bob@example.org", "--plan", "free"]);
    let bobs = bobs["access_key_id"].as_str().unwrap();
    assert_eq!(people.send("DELETE", &format!("keys/{bobs}"), session, &json!({})).0, 404);
    new["secret_access_key"].as_str().unwrap().to_owned()
}

/// An ended session is none.
fn assert_nothing_without(people: &People, session: &str) {
    for (method, path) in [
        ("GET", "me"),
        ("GET", "limits"),
        ("GET", "usage"),
        ("GET", "usage/hours?period=2026-01&bucket=1"),
        ("GET", "service-level"),
        ("GET", "invoices"),
        ("GET", "invoices/x"),
        ("GET", "invoices/x/export"),
        ("GET", "keys"),
        ("POST", "keys"),
        ("DELETE", "sessions"),
        ("DELETE", "keys/x"),
        ("POST", "keys/x/rotate"),
        ("PUT", "password"),
        ("PUT", "public-key"),
    ] {
        for headers in [session, "", "authorization: Bearer \r\n", "authorization: Basic eDp5\r\n"] {
            let (status, answer) = people.send(method, path, headers, &json!({}));
            assert_eq!(status, 401, "{method} {path} {headers:?}: {answer}");
        }
    }
}

#[test]
fn people_register_by_mail_log_in_and_manage_their_keys() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let (port, letters) = mail_server();
    let mail = format!(
        "host = \"127.0.0.1\"\nport = {port}\nsecurity = \"none\"\nfrom = \"Mesh <mesh@example.org>\""
    );
    let (gateway, people) = with_people(&data_dir, MANY, &mail);
    let letter = || letters.recv_timeout(std::time::Duration::from_mins(1)).expect("a letter arrives");

    let first = people.register("ann@example.org", "free");
    assert_eq!(first.0, 202, "{first:?}");
    let (to, text) = letter();
    assert_eq!(to, "ann@example.org");
    assert!(text.contains("From: Mesh <mesh@example.org>") || text.contains("From: \"Mesh\""), "{text}");
    let verification = json!({ "token": token(&text).unwrap() });
    let (status, made) = people.send("POST", "verifications", "", &verification);
    assert_eq!((status, &made["status"]), (201, &json!("active")), "{made}");
    assert_eq!(people.send("POST", "verifications", "", &verification).0, 400, "a token works once");

    // An address with an account gets the same answer, and another letter.
    assert_eq!(people.register("Ann@example.org", "free"), first);
    let (_, text) = letter();
    assert!(text.contains("There is an account with it already") && token(&text).is_none(), "{text}");
    let wrong = people.login("ann@example.org", "another horse battery");
    assert_eq!(wrong.0, 401);
    assert_eq!(people.login("bob@example.org", PASSWORD), wrong, "nobody is told which address exists");

    let session = people.session("ann@example.org");
    let (_, me) = people.send("GET", "me", &session, &json!({}));
    assert_eq!((&me["email"], &me["user_id"]), (&json!("ann@example.org"), &made["user_id"]));
    let secret = manage_keys(&data_dir, &people, &session);
    assert_eq!(people.send("DELETE", "sessions", &session, &json!({})).0, 204);
    assert_nothing_without(&people, &session);

    // Each listener has its own routes: an operator's token opens nothing here, a session nothing there.
    let (admin_address, admin_token) = admin_access(&data_dir);
    assert_eq!(http(&people.0, "GET", "/v1/users", &bearer(&admin_token), "").0, 404);
    assert_eq!(people.send("GET", "me", &bearer(&admin_token), &json!({})).0, 401);
    let session = people.session("ann@example.org");
    assert_eq!(http(&admin_address, "GET", "/v1/users", &session, "").0, 401);
    assert_eq!(http(&admin_address, "GET", "/account/v1/me", &session, "").0, 401);

    // What is on the disk gives nothing away.
    assert_eq!(gateway.terminate(), Some(0));
    let database = fs::read(data_dir.join("catalog.db")).unwrap();
    let session = session.trim_start_matches("authorization: Bearer ").trim();
    let secrets = ["ann@example.org", PASSWORD, session, &secret];
    for secret in secrets {
        assert!(
            !database.windows(secret.len()).any(|window| window == secret.as_bytes()),
            "{secret} is readable"
        );
    }
}

#[test]
fn a_plan_that_needs_an_identity_waits_for_an_operator() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let (gateway, people) = with_people(&data_dir, MANY, "");
    assert_eq!(people.register("ann@example.org", "premium").0, 202);
    let folder = data_dir.join("mail");
    let letter = (0..600).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let mut files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        let file = files.find(|file| file.extension().is_some_and(|kind| kind == "eml"))?;
        token(&fs::read_to_string(file).unwrap())
    });
    let (_, made) =
        people.send("POST", "verifications", "", &json!({ "token": letter.expect("a letter is written") }));
    assert_eq!(made["status"], "pending", "{made}");
    let session = people.session("ann@example.org");
    let (status, refused) = people.send("POST", "keys", &session, &json!({}));
    assert_eq!(status, 409, "{refused}");
    let cases = admin_json(&data_dir, &["user", "cases"]);
    assert_eq!(
        (&cases["cases"][0]["user_id"], &cases["cases"][0]["level"]),
        (&made["user_id"], &json!("identity"))
    );
    let decided =
        admin_json(&data_dir, &["user", "approve", "ann@example.org", "--reason", "saw the passport"]);
    assert_eq!(decided["status"], "active");
    assert_eq!(
        admin(&data_dir, &["user", "reject", "ann@example.org"]).status.code(),
        Some(2),
        "nothing is open"
    );
    assert_eq!(people.send("POST", "keys", &session, &json!({})).0, 201);
    let log = admin_json(&data_dir, &["audit", "list"])["entries"].to_string();
    assert!(log.contains("user.verify") && log.contains("saw the passport"), "{log}");
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn strangers_are_slowed_and_nonsense_is_refused() {
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let (gateway, people) = with_people(&data_dir, "requests_burst = 30\nlogins_burst = 3", "");
    for (body, reason) in [
        (json!({ "email": "no address", "plan": "free", "password": PASSWORD }), "email"),
        (json!({ "email": "a@example.org", "plan": "gold", "password": PASSWORD }), "gold"),
        (json!({ "email": "a@example.org", "plan": "free", "password": "short" }), "password"),
        (json!({ "email": "a@example.org", "plan": "free" }), "password"),
        (json!({ "email": "a@example.org", "plan": "free", "public_key": "abc" }), "public_key"),
        (json!({ "email": "a@example.org", "plan": "free", "password": PASSWORD, "admin": true }), "admin"),
    ] {
        let (status, answer) = people.send("POST", "registrations", "", &body);
        assert_eq!(status, 400, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(reason), "{reason}: {answer}");
    }
    assert_eq!(people.send("POST", "sessions", "", &json!({ "user": "x" })).0, 400);
    assert_eq!(people.send("POST", "verifications", "", &json!({ "token": "x" })).0, 400);
    assert_eq!(http(&people.0, "POST", "/account/v1/sessions", "", &"x".repeat(20_000)).0, 413);
    let attempts: Vec<_> = (0..4).map(|_| people.login("a@example.org", PASSWORD).0).collect();
    assert_eq!(attempts, [401, 401, 401, 429], "a name that nobody has is bounded like any other");
    assert_eq!(people.login("b@example.org", PASSWORD).0, 401);
    // With the address of a letter's sender's choice, or a thousand names: one network has one bound.
    let statuses: Vec<_> = (0..30).map(|_| people.send("POST", "challenges", "", &json!({})).0).collect();
    assert_eq!((statuses[0], statuses[29]), (200, 429), "{statuses:?}");
    let (_, answer) = http(&people.0, "POST", "/account/v1/challenges", "", "");
    assert!(answer.contains("\r\nretry-after: "), "{answer}");
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn a_forgotten_password_is_replaced_by_letter_and_a_known_one_with_a_session() {
    const NEW: &str = "a new horse battery";
    let temporary = TempDir::new().unwrap();
    let data_dir = temporary.path().join("data");
    let (port, letters) = mail_server();
    let mail = format!("host = \"127.0.0.1\"\nport = {port}\nsecurity = \"none\"");
    let (gateway, people) = with_people(&data_dir, MANY, &mail);
    admin_json(&data_dir, &["user", "create", "ann@example.org", "--plan", "free"]);

    // Two addresses that nobody has, and one that somebody has: the answers are the same, and one letter is sent.
    let asked = |email: &str| people.send("POST", "password/forgotten", "", &json!({ "email": email }));
    let answers = ["x@example.org", "ann@example.org", "y@example.org"].map(asked);
    assert_eq!(answers[0].0, 202, "{answers:?}");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let (to, text) = letters.recv_timeout(std::time::Duration::from_mins(1)).expect("a letter arrives");
    assert_eq!(to, "ann@example.org");
    assert!(text.contains("Subject: Your password for DataMesh"), "{text}");
    let reset = |password: &str| json!({ "token": token(&text).unwrap(), "password": password });
    let set = |password: &str| people.send("POST", "password", "", &reset(password)).0;
    assert_eq!((set("short"), set(PASSWORD), set(PASSWORD)), (400, 204, 400));

    let session = people.session("ann@example.org");
    let change = |body: Value| people.send("PUT", "password", &session, &body).0;
    assert_eq!(change(json!({ "password": NEW })), 400, "a session alone is not enough");
    assert_eq!(change(json!({ "password": NEW, "current_password": "wrong" })), 401);
    assert_eq!(people.send("GET", "me", &session, &json!({})).0, 200);
    assert_eq!(change(json!({ "password": NEW, "current_password": PASSWORD })), 204);
    assert_eq!(people.send("GET", "me", &session, &json!({})).0, 401, "all sessions end");
    assert_eq!(
        (people.login("ann@example.org", PASSWORD).0, people.login("ann@example.org", NEW).0),
        (401, 201)
    );

    let (_, login) = people.login("ann@example.org", NEW);
    let session = bearer(login["token"].as_str().unwrap());
    let key = |body: Value| people.send("PUT", "public-key", &session, &body).0;
    assert_eq!(key(json!({ "current_password": NEW })), 400, "a key that is not named is not removed");
    assert_eq!(key(json!({ "current_password": NEW, "public_key": "abc" })), 400);
    assert_eq!(key(json!({ "current_password": NEW, "public_key": "11".repeat(32) })), 204);
    assert!(letters.try_recv().is_err(), "an address without an account gets no letter");
    assert_eq!(gateway.terminate(), Some(0));
}
