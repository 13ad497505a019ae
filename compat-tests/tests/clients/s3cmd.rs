//! s3cmd.

use std::fs;

use anyhow::{Result, ensure};
use datamesh_compat_tests::{Client, Gateway, unique_bytes, write_file};

use crate::ensure_healthy;

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
