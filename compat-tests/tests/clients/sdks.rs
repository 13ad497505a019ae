//! Libraries in five languages. Their programs are in `clients/`.

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use datamesh_compat_tests::{Client, Gateway, INTERESTING_SIZES, client_file, installed, unique_bytes};

use crate::{ensure_healthy, path_text};

fn run_python(client: &Client, programs: &[&str]) -> Result<()> {
    for program in programs {
        client.run("python3", &[path_text(&client_file(program))])?;
    }
    Ok(())
}

#[test]
fn boto3_does_every_core_operation() -> Result<()> {
    let gateway = Gateway::start()?;
    run_python(&Client::new(&gateway.credentials()?)?, &["boto3_core.py"])?;
    ensure_healthy(&gateway)
}

#[test]
fn boto3_keeps_versions_locks_secrets_and_permissions() -> Result<()> {
    let gateway = Gateway::start()?;
    let (_, users) = gateway.admin(&["user", "list"])?;
    let user = users["users"][0]["user_id"].as_str().context("the first user")?;
    for name in ["archive", "aws/s3"] {
        let (code, answer) = gateway.admin(&["encryption-key", "create", user, name])?;
        ensure!(code == 0, "{answer}");
    }
    let client = Client::new(&gateway.credentials()?)?.with("KMS_KEY", "archive");
    run_python(&client, &["boto3_versions.py", "boto3_encryption.py", "boto3_access.py"])?;
    ensure_healthy(&gateway)
}

#[test]
fn boto3_sees_a_buckets_settings_take_effect() -> Result<()> {
    let gateway = Gateway::start_with(&["--website-listen", "127.0.0.1:0", "--lifecycle-day", "2s"])?;
    let website = gateway.website_endpoint().context("the gateway tells where its web sites are")?;
    let client = Client::new(&gateway.credentials()?)?.with("WEBSITE_ENDPOINT", website);
    run_python(&client, &["boto3_settings.py"])?;
    ensure_healthy(&gateway)
}

#[test]
fn pyarrow_and_duckdb_read_each_others_parquet_files_by_ranges() -> Result<()> {
    let gateway = Gateway::start()?;
    run_python(&Client::new(&gateway.credentials()?)?, &["parquet.py"])?;
    ensure_healthy(&gateway)
}

#[test]
fn minios_clients_read_back_what_they_wrote() -> Result<()> {
    let gateway = Gateway::start()?;
    let client = Client::new(&gateway.credentials()?)?;
    run_python(&client, &["minio_python.py"])?;
    client.run("node", &[path_text(&client_file("minio_js.mjs"))])?;
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
fn the_go_sdk_reads_back_what_it_wrote() -> Result<()> {
    let gateway = Gateway::start()?;
    let client = Client::new(&gateway.credentials()?)?;
    let (sources, program) = (client_file("go"), client.dir().join("sdk-go"));
    let build = [
        "build",
        "-C",
        path_text(&sources),
        "-modcacherw",
        "-buildvcs=false",
        "-o",
        path_text(&program),
        ".",
    ];
    client.run("go", &build)?;
    client.run(path_text(&program), &[])?;
    ensure_healthy(&gateway)
}

#[test]
fn the_java_sdk_reads_back_what_it_wrote() -> Result<()> {
    let gateway = Gateway::start()?;
    let client = Client::new(&gateway.credentials()?)?;
    let libraries = installed("java/*")?;
    client.run("java", &["-cp", path_text(&libraries), path_text(&client_file("java/SdkJava.java"))])?;
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
