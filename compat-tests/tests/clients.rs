//! Real clients store and fetch through a gateway with eight mesh nodes; each checks what it got back.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use datamesh_compat_tests::{
    Client, Gateway, INTERESTING_SIZES, client_file, source_tree, unique_bytes, write_file,
};

fn path_text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// A clean doctor: every chunk has its shards, every reference its chunk, every quota is what is stored.
fn ensure_healthy(gateway: &Gateway) -> Result<()> {
    let (code, report) = gateway.admin(&["doctor"])?;
    ensure!(code == 0, "doctor found damage: {report:#}");
    Ok(())
}

#[test]
fn boto3_does_every_core_operation() -> Result<()> {
    let gateway = Gateway::start()?;
    let client = Client::new(&gateway.credentials()?)?;
    client.run("python3", &[path_text(&client_file("boto3_suite.py"))])?;
    ensure_healthy(&gateway)
}

#[test]
fn the_javascript_sdk_reads_back_what_it_wrote() -> Result<()> {
    let gateway = Gateway::start()?;
    let client = Client::new(&gateway.credentials()?)?;
    client.run("node", &[path_text(&client_file("sdk_js.mjs"))])?;
    ensure_healthy(&gateway)
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
fn rclone_syncs_and_checks_a_tree() -> Result<()> {
    let gateway = Gateway::start()?;
    let credentials = gateway.credentials()?;
    let client = Client::new(&credentials)?
        .with("RCLONE_CONFIG_MESH_TYPE", "s3")
        .with("RCLONE_CONFIG_MESH_PROVIDER", "Other")
        .with("RCLONE_CONFIG_MESH_ENV_AUTH", "true")
        .with("RCLONE_CONFIG_MESH_ENDPOINT", credentials.endpoint());
    let tree = client.dir().join("tree");
    source_tree(&tree, 60, 0)?;
    write_file(&tree.join("large"), &unique_bytes(9, 12 << 20))?;
    let copy = [
        "--s3-upload-cutoff",
        "6M",
        "--s3-chunk-size",
        "5M",
        "sync",
        path_text(&tree),
        "mesh:rclone-bucket/tree",
    ];
    client.run("rclone", &copy)?;
    client.run("rclone", &["check", "--download", path_text(&tree), "mesh:rclone-bucket/tree"])?;
    source_tree(&tree, 60, 1)?;
    fs::remove_file(tree.join("large"))?;
    client.run("rclone", &copy)?;
    client.run("rclone", &["check", "--download", path_text(&tree), "mesh:rclone-bucket/tree"])?;
    client.run("rclone", &["copy", "mesh:rclone-bucket/tree", "mesh:rclone-bucket/copy"])?;
    client.run("rclone", &["check", "--download", "mesh:rclone-bucket/tree", "mesh:rclone-bucket/copy"])?;
    client.run("rclone", &["purge", "mesh:rclone-bucket"])?;
    ensure_healthy(&gateway)
}

#[test]
fn restic_backs_up_checks_and_restores() -> Result<()> {
    let gateway = Gateway::start()?;
    let credentials = gateway.credentials()?;
    let client = Client::new(&credentials)?
        .with("RESTIC_REPOSITORY", &format!("s3:{}/restic-bucket/repo", credentials.endpoint()))
        .with("RESTIC_PASSWORD", "a passphrase");
    let tree = client.dir().join("tree");
    source_tree(&tree, 80, 0)?;
    client.run("restic", &["init"])?;
    client.run("restic", &["backup", "tree"])?;
    source_tree(&tree, 80, 1)?;
    client.run("restic", &["backup", "tree"])?;
    client.run("restic", &["check", "--read-data"])?;
    client.run("restic", &["restore", "latest", "--target", "restored"])?;
    client.run("diff", &["-r", "tree", "restored/tree"])?;
    client.run("restic", &["forget", "--keep-last", "1", "--prune"])?;
    client.run("restic", &["check", "--read-data"])?;
    ensure_healthy(&gateway)
}

#[test]
fn s3cmd_puts_gets_lists_and_deletes() -> Result<()> {
    let gateway = Gateway::start()?;
    let credentials = gateway.credentials()?;
    let client = Client::new(&credentials)?;
    let config = format!(
        "[default]\naccess_key = {}\nsecret_key = {}\nhost_base = {host}\nhost_bucket = {host}\nuse_https = False\n\
         bucket_location = {}\nmultipart_chunk_size_mb = 5\n",
        credentials.get("AWS_ACCESS_KEY_ID"),
        credentials.get("AWS_SECRET_ACCESS_KEY"),
        credentials.get("AWS_REGION"),
        host = credentials.host()
    );
    write_file(&client.dir().join(".s3cfg"), config.as_bytes())?;
    let data = unique_bytes(3, (11 << 20) + 1);
    write_file(&client.dir().join("up file"), &data)?;
    client.run("s3cmd", &["mb", "s3://s3cmd-bucket"])?;
    client.run("s3cmd", &["put", "up file", "s3://s3cmd-bucket/a b/ü"])?;
    client.run("s3cmd", &["get", "s3://s3cmd-bucket/a b/ü", "down"])?;
    ensure!(fs::read(client.dir().join("down"))? == data, "the object came back different");
    let listing = client.run("s3cmd", &["ls", "-r", "s3://s3cmd-bucket"])?;
    ensure!(listing.contains("s3://s3cmd-bucket/a b/ü"), "{listing}");
    client.run("s3cmd", &["cp", "s3://s3cmd-bucket/a b/ü", "s3://s3cmd-bucket/copy"])?;
    client.run("s3cmd", &["rb", "--recursive", "--force", "s3://s3cmd-bucket"])?;
    ensure_healthy(&gateway)
}

#[tokio::test]
async fn the_rust_sdk_reads_back_what_it_wrote() -> Result<()> {
    let gateway = Gateway::start()?;
    let credentials = gateway.credentials()?;
    let keys = aws_sdk_s3::config::Credentials::new(
        credentials.get("AWS_ACCESS_KEY_ID"),
        credentials.get("AWS_SECRET_ACCESS_KEY"),
        None,
        None,
        "credentials.env",
    );
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .region(aws_sdk_s3::config::Region::new(credentials.get("AWS_REGION").to_owned()))
        .endpoint_url(credentials.endpoint())
        .credentials_provider(keys)
        .force_path_style(true)
        .build();
    let client = aws_sdk_s3::Client::from_conf(config);
    client.create_bucket().bucket("rust-sdk").send().await?;
    for (number, (size, why)) in INTERESTING_SIZES.iter().enumerate() {
        let body = unique_bytes(number as u64, *size);
        let key = format!("size/{size}");
        client.put_object().bucket("rust-sdk").key(&key).body(ByteStream::from(body.clone())).send().await?;
        let got = client.get_object().bucket("rust-sdk").key(&key).send().await?.body.collect().await?;
        ensure!(got.into_bytes() == body, "{size} bytes ({why}) came back different");
    }
    let missing = client.get_object().bucket("rust-sdk").key("absent").send().await;
    ensure!(missing.expect_err("it is absent").into_service_error().is_no_such_key());
    ensure_healthy(&gateway)
}
