//! aws-cli: `s3` and `s3api`.

use std::fs;

use anyhow::{Context, Result, ensure};
use datamesh_compat_tests::{Client, Gateway, INTERESTING_SIZES, source_tree, unique_bytes, write_file};
use serde_json::Value;

use crate::{ensure_healthy, path_text};

/// What `aws s3api` answers.
fn s3api(client: &Client, arguments: &[&str]) -> Result<Value> {
    let text = client.run("aws", &[&["s3api"], arguments].concat())?;
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).with_context(|| format!("s3api answered {text}"))
}

/// A text of an answer.
fn text<'a>(answer: &'a Value, name: &str) -> Result<&'a str> {
    answer[name].as_str().with_context(|| format!("{name} is missing in {answer}"))
}

/// Fails unless the command fails and its message holds `code`.
fn ensure_refused(client: &Client, code: &str, arguments: &[&str]) -> Result<()> {
    let output = client.output("aws", arguments)?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && message.contains(code),
        "{arguments:?}: expected {code}, got {message}"
    );
    Ok(())
}

#[test]
fn aws_cli_copies_every_interesting_size_both_ways() -> Result<()> {
    let gateway = Gateway::start()?;
    let client = Client::new(&gateway.credentials()?)?;
    client.run("aws", &["s3", "mb", "s3://cli-bucket"])?;
    let up = client.dir().join("up");
    for (number, (size, _)) in INTERESTING_SIZES.iter().enumerate() {
        write_file(
            &up.join(format!("d{}", number % 2)).join(size.to_string()),
            &unique_bytes(number as u64, *size),
        )?;
    }
    client.run("aws", &["s3", "cp", "--recursive", path_text(&up), "s3://cli-bucket/all"])?;
    client.run("aws", &["s3", "cp", "--recursive", "s3://cli-bucket/all", "down"])?;
    for (number, (size, why)) in INTERESTING_SIZES.iter().enumerate() {
        let name = format!("d{}/{size}", number % 2);
        let got = fs::read(client.dir().join("down").join(&name)).with_context(|| name.clone())?;
        ensure!(got == unique_bytes(number as u64, *size), "{size} bytes ({why}) came back different");
    }
    let sync = client.run("aws", &["s3", "sync", path_text(&up), "s3://cli-bucket/all"])?;
    ensure!(sync.trim().is_empty(), "a second sync has nothing to do, but: {sync}");
    let listing = client.run("aws", &["s3", "ls", "--recursive", "s3://cli-bucket/all/"])?;
    ensure!(listing.lines().count() == INTERESTING_SIZES.len(), "{listing}");
    let head = client.run("aws", &["s3api", "head-object", "--bucket", "cli-bucket", "--key", "all/d0/0"])?;
    ensure!(head.contains("\"ContentLength\": 0"), "{head}");
    client.run("aws", &["s3", "mv", "s3://cli-bucket/all/d0/0", "s3://cli-bucket/moved"])?;
    client.run("aws", &["s3", "rb", "--force", "s3://cli-bucket"])?;
    ensure_healthy(&gateway)
}

#[test]
fn aws_cli_syncs_a_tree_with_its_deletions() -> Result<()> {
    let gateway = Gateway::start()?;
    let client = Client::new(&gateway.credentials()?)?;
    let tree = client.dir().join("tree");
    source_tree(&tree, 40, 0)?;
    client.run("aws", &["s3", "mb", "s3://cli-sync"])?;
    client.run("aws", &["s3", "sync", "--only-show-errors", "tree", "s3://cli-sync/tree"])?;
    source_tree(&tree, 40, 1)?;
    fs::remove_dir_all(tree.join("src/part2"))?;
    write_file(&tree.join("added"), b"added")?;
    client.run("aws", &["s3", "sync", "--only-show-errors", "--delete", "tree", "s3://cli-sync/tree"])?;
    client.run("aws", &["s3", "sync", "--only-show-errors", "s3://cli-sync/tree", "s3://cli-sync/copy"])?;
    client.run("aws", &["s3", "sync", "--only-show-errors", "s3://cli-sync/copy", "down"])?;
    client.run("diff", &["-r", "tree", "down"])?;

    client.run("aws", &["s3", "rm", "--only-show-errors", "--recursive", "s3://cli-sync/"])?;
    client.run("aws", &["s3", "rb", "s3://cli-sync"])?;
    ensure_healthy(&gateway)
}

#[test]
fn links_that_aws_cli_signs_open_one_object_each() -> Result<()> {
    // The first version of aws-cli signs links with version 2 unless it is told otherwise.
    let gateway = Gateway::start_with(&["--signature-v2"])?;
    let client = Client::new(&gateway.credentials()?)?;
    client.run("aws", &["s3", "mb", "s3://cli-links"])?;
    let data = unique_bytes(4, 600_000);
    write_file(&client.dir().join("up"), &data)?;
    for key in ["a b/ü", "other"] {
        client.run("aws", &["s3", "cp", "up", &format!("s3://cli-links/{key}")])?;
    }
    for (version, sign) in [("s3", "Signature="), ("s3v4", "X-Amz-Signature=")] {
        client.run("aws", &["configure", "set", "default.s3.signature_version", version])?;
        let url = client.run("aws", &["s3", "presign", "s3://cli-links/a b/ü"])?;
        let url = url.trim();
        ensure!(url.contains(sign), "{url}");
        client.run("curl", &["--fail", "--silent", "--show-error", "--output", "down", url])?;
        ensure!(fs::read(client.dir().join("down"))? == data, "{version}: came back different");
        let other = url.replace("a%20b/%C3%BC", "other");
        ensure!(other != url, "{url} does not name its key");
        let status = client
            .run("curl", &["--silent", "--output", "refused", "--write-out", "%{http_code}", &other])?;
        ensure!(status == "403", "{version}: {other} was answered with {status}");
    }
    ensure_healthy(&gateway)
}

#[test]
fn aws_cli_restores_an_older_version_and_respects_locks() -> Result<()> {
    let gateway = Gateway::start()?;
    let client = Client::new(&gateway.credentials()?)?;
    s3api(&client, &["create-bucket", "--bucket", "cli-lock", "--object-lock-enabled-for-bucket"])?;
    let (first, second) = (unique_bytes(1, 3 << 20), unique_bytes(2, 9000));
    write_file(&client.dir().join("first"), &first)?;
    write_file(&client.dir().join("second"), &second)?;
    let object = ["--bucket", "cli-lock", "--key", "k"];
    let put = |file: &str| s3api(&client, &[&["put-object", "--body", file], &object[..]].concat());
    let older = text(&put("first")?, "VersionId")?.to_owned();
    put("second")?;
    client.run("aws", &["s3", "rm", "s3://cli-lock/k"])?;
    ensure_refused(&client, "(404)", &["s3", "cp", "s3://cli-lock/k", "gone"])?;

    // An older version becomes the current one by a copy of it, and by the deletion of what is newer.
    let source = format!("cli-lock/k?versionId={older}");
    s3api(&client, &["copy-object", "--bucket", "cli-lock", "--key", "restored", "--copy-source", &source])?;
    client.run("aws", &["s3", "cp", "s3://cli-lock/restored", "restored"])?;
    ensure!(fs::read(client.dir().join("restored"))? == first, "the older version came back different");
    let listed = s3api(&client, &["list-object-versions", "--bucket", "cli-lock", "--prefix", "k"])?;
    let marker = text(&listed["DeleteMarkers"][0], "VersionId")?;
    s3api(&client, &[&["delete-object", "--version-id", marker], &object[..]].concat())?;
    client.run("aws", &["s3", "cp", "s3://cli-lock/k", "undeleted"])?;
    ensure!(fs::read(client.dir().join("undeleted"))? == second, "the undeleted version came back different");

    let hold = [&["put-object-legal-hold", "--version-id", &older], &object[..]].concat();
    s3api(&client, &[&hold[..], &["--legal-hold", "Status=ON"]].concat())?;
    let delete = [&["s3api", "delete-object", "--version-id", &older], &object[..]].concat();
    ensure_refused(&client, "AccessDenied", &delete)?;
    s3api(&client, &[&hold[..], &["--legal-hold", "Status=OFF"]].concat())?;
    let retention = "Mode=GOVERNANCE,RetainUntilDate=2099-01-01T00:00:00Z";
    let retain =
        [&["put-object-retention", "--version-id", &older, "--retention", retention], &object[..]].concat();
    s3api(&client, &retain)?;
    ensure_refused(&client, "AccessDenied", &delete)?;
    client.run("aws", &[&delete[..], &["--bypass-governance-retention"]].concat())?;
    ensure_refused(
        &client,
        "NoSuchVersion",
        &[&["s3api", "get-object", "--version-id", &older], &object[..], &["x"]].concat(),
    )?;
    ensure_healthy(&gateway)
}

#[test]
fn aws_cli_sets_and_reads_what_a_bucket_can_be_told() -> Result<()> {
    let gateway = Gateway::start()?;
    let client = Client::new(&gateway.credentials()?)?;
    let bucket = ["--bucket", "cli-settings"];
    client.run("aws", &["s3", "mb", "s3://cli-settings"])?;
    let settings = [
        (
            "bucket-cors",
            "--cors-configuration",
            "CORSRules",
            r#"{"CORSRules":[{"AllowedMethods":["GET"],"AllowedOrigins":["*"]}]}"#,
        ),
        ("bucket-tagging", "--tagging", "TagSet", r#"{"TagSet":[{"Key":"team","Value":"a b"}]}"#),
        (
            "bucket-lifecycle-configuration",
            "--lifecycle-configuration",
            "Rules",
            r#"{"Rules":[{"Expiration":{"Days":30},"ID":"old","Filter":{"Prefix":"tmp/"},"Status":"Enabled"}]}"#,
        ),
        (
            "bucket-website",
            "--website-configuration",
            "IndexDocument",
            r#"{"IndexDocument":{"Suffix":"index.html"}}"#,
        ),
        (
            "public-access-block",
            "--public-access-block-configuration",
            "PublicAccessBlockConfiguration",
            r#"{"BlockPublicAcls":true,"IgnorePublicAcls":false,"BlockPublicPolicy":true,"RestrictPublicBuckets":false}"#,
        ),
    ];
    for (noun, option, member, document) in settings {
        s3api(&client, &[&[&format!("put-{noun}"), option, document], &bucket[..]].concat())?;
        let answer = s3api(&client, &[&[format!("get-{noun}").as_str()], &bucket[..]].concat())?;
        let sent: Value = serde_json::from_str(document)?;
        let expected = sent.get(member).unwrap_or(&sent);
        ensure!(&answer[member] == expected, "{noun}: expected {expected}, got {answer}");
    }
    ensure_refused(&client, "NoSuchBucketPolicy", &[&["s3api", "get-bucket-policy"], &bucket[..]].concat())?;

    let data = unique_bytes(7, 12 << 20);
    write_file(&client.dir().join("up"), &data)?;
    // One whose sum is of the parts' sums, and one whose sum is of the whole.
    for algorithm in ["SHA256", "CRC64NVME"] {
        let target = format!("s3://cli-settings/sum/{algorithm}");
        client.run("aws", &["s3", "cp", "--checksum-algorithm", algorithm, "up", &target])?;
        client.run("aws", &["s3", "cp", "--checksum-mode", "ENABLED", &target, "down"])?;
        ensure!(fs::read(client.dir().join("down"))? == data, "{algorithm}: came back different");
    }
    let key = client.dir().join("customer.key");
    write_file(&key, &unique_bytes(8, 32))?;
    let sealed = ["--sse-c", "AES256", "--sse-c-key", &format!("fileb://{}", key.display())];
    client.run("aws", &[&["s3", "cp", "up", "s3://cli-settings/sealed"], &sealed[..]].concat())?;
    client.run("aws", &[&["s3", "cp", "s3://cli-settings/sealed", "opened"], &sealed[..]].concat())?;
    ensure!(fs::read(client.dir().join("opened"))? == data, "the sealed object came back different");
    ensure_refused(&client, "400", &["s3", "cp", "s3://cli-settings/sealed", "not opened"])?;
    ensure_healthy(&gateway)
}
