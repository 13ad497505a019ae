//! What an operator of a node, of the database or of the log gets to see: nothing of an object's content, and no secret.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datamesh_compat_tests::Gateway;
use md5::{Digest, Md5};

use crate::ledger::client;

const BUCKET: &str = "bucket-kept";
const MARKER: &str = "nobody but its owner reads this line";

const NOTE: &str = "a note that is stored beside the content";

/// Files that hold secrets, and are for their owner alone.
const SECRET_FILES: [&str; 2] = ["credentials.env", "kek"];

/// Every file below a folder, but those that hold secrets.
fn files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.is_file() && !SECRET_FILES.contains(&name.as_str()) && !name.contains("token") {
            found.push((path.display().to_string(), fs::read(&path)?));
        }
    }
    Ok(found)
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(bytes, needle).is_some()
}

/// Hashes of a content that anybody can compute, as they may be written down.
fn hashes_of(content: &[u8]) -> Vec<Vec<u8>> {
    let digests: [Vec<u8>; 4] = [
        Md5::digest(content).to_vec(),
        digest(&SHA1_FOR_LEGACY_USE_ONLY, content).as_ref().to_vec(),
        digest(&SHA256, content).as_ref().to_vec(),
        blake3::hash(content).as_bytes().to_vec(),
    ];
    let written =
        |hash: Vec<u8>| [hex::encode(&hash).into_bytes(), STANDARD.encode(&hash).into_bytes(), hash];
    digests.into_iter().flat_map(written).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_database_and_log_give_away_neither_content_nor_secrets() -> Result<()> {
    let mut gateway = Gateway::start_logging("debug,s3s=trace,s3s::ops=trace")?;
    let (code, _) = gateway.admin(&["user", "create", "ann@example.org", "--plan", "premium"])?;
    ensure!(code == 0);
    let (_, key) = gateway.admin(&["key", "create", "ann@example.org"])?;
    let credentials = gateway.credentials_of(&key)?;
    let secret = credentials.get("AWS_SECRET_ACCESS_KEY").to_owned();
    let client = client(&credentials);
    client.create_bucket().bucket(BUCKET).send().await?;
    let mut hashes = Vec::new();
    // One that lies in the database, one of a chunk, one of many.
    for lines in [3, 2_000, 200_000] {
        let numbered: Vec<String> = (0..lines).map(|line| format!("{line}: {MARKER}")).collect();
        let body = numbered.join("\n").into_bytes();
        let name = lines.to_string();
        let put = client.put_object().bucket(BUCKET).key(&name).metadata("note", NOTE);
        let put = put.checksum_algorithm(ChecksumAlgorithm::Sha256);
        put.body(ByteStream::from(body.clone())).send().await?;
        let got = client.get_object().bucket(BUCKET).key(&name).send().await?;
        ensure!(got.metadata().is_some_and(|metadata| metadata["note"] == NOTE));
        ensure!(got.body.collect().await?.into_bytes() == body);
        hashes.extend(hashes_of(&body));
    }
    let open_part = b"a part of an upload that nobody completes".to_vec();
    let upload = client.create_multipart_upload().bucket(BUCKET).key("open");
    let upload = upload.checksum_algorithm(ChecksumAlgorithm::Sha256).metadata("note", NOTE).send().await?;
    let part = client.upload_part().bucket(BUCKET).key("open").part_number(1).set_upload_id(upload.upload_id);
    let part = part.checksum_algorithm(ChecksumAlgorithm::Sha256);
    part.body(ByteStream::from(open_part.clone())).send().await?;
    hashes.extend(hashes_of(&open_part));
    client.get_object().bucket(BUCKET).key("missing").send().await.expect_err("there is none");
    let wrong = gateway.credentials_of(&serde_json::json!({
        "access_key_id": credentials.get("AWS_ACCESS_KEY_ID"),
        "secret_access_key": "a-wrong-secret-of-a-client",
    }))?;
    crate::ledger::client(&wrong).list_buckets().send().await.expect_err("it is not the secret");
    ensure!(gateway.terminate()?.success());

    let kek = fs::read_to_string(gateway.data_dir().join("kek")).context("the key-encryption key")?;
    let (_, kek) = kek.trim().rsplit_once(':').context("a key-encryption key and its format")?;
    let stored = files(gateway.data_dir())?;
    let kept: usize = stored.iter().map(|(_, bytes)| bytes.len()).sum();
    ensure!(stored.iter().any(|(name, _)| name.ends_with("catalog.db")) && kept > 100_000, "{kept} bytes");
    for (name, bytes) in &stored {
        ensure!(!holds(bytes, MARKER.as_bytes()), "{name} holds content");
        ensure!(!holds(bytes, NOTE.as_bytes()), "{name} holds what its owner wrote about an object");
        ensure!(!holds(bytes, secret.as_bytes()), "{name} holds a secret key");
        ensure!(!holds(bytes, kek.as_bytes()), "{name} holds the key-encryption key");
        for hash in &hashes {
            let shown = String::from_utf8_lossy(hash);
            ensure!(!holds(bytes, hash), "{name} holds a hash of content: {shown}");
        }
    }
    let log = gateway.log()?;
    ensure!(holds(&log, b"request answered"), "the log is one of that level");
    let own = gateway.credentials()?;
    let own = own.get("AWS_SECRET_ACCESS_KEY");
    for hidden in [MARKER, &secret, own, kek, "a-wrong-secret-of-a-client"] {
        ensure!(!holds(&log, hidden.as_bytes()), "the log holds what must not be in it: {hidden}");
    }
    Ok(())
}
