//! What an operator deploys: processes of their own, TLS, PostgreSQL, a cold class in another object store, and jobs
//! that nobody has to start.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use datamesh_compat_tests::{Client, Gateway, LocalCluster, client_file, unique_bytes, write_file};
use datamesh_testkit::for_each_database;

/// Changes the configuration of a stopped gateway or node.
fn configure(cluster: &LocalCluster, file: &str, section: &str, keys: &str) -> Result<()> {
    let path = cluster.data_dir().join(file);
    let config = fs::read_to_string(&path)?;
    let header = format!("[{section}]\n");
    let config = if config.contains(&header) {
        config.replacen(&header, &format!("{header}{keys}\n"), 1)
    } else {
        format!("{config}\n{header}{keys}\n")
    };
    Ok(fs::write(path, config)?)
}

/// A certificate for 127.0.0.1 that signs itself, and its key.
fn self_signed(folder: &Path) -> Result<()> {
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 \
                   -addext subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:boto-one.localhost -keyout key.pem -out certificate.pem";
    let made = Command::new("openssl").args(request.split_whitespace()).current_dir(folder).output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_serves_tls_on_either_database_and_keeps_cold_objects_elsewhere() {
    for_each_database(|database| async move {
        let test = tokio::task::spawn_blocking(move || deployed(database.url.as_str()));
        test.await.expect("it does not panic").expect("the deployment works");
    })
    .await;
}

fn deployed(database: &str) -> Result<()> {
    let archive = Gateway::start()?;
    let elsewhere = archive.credentials()?;
    let owner = Client::new(&elsewhere)?;
    owner.run("aws", &["s3api", "create-bucket", "--bucket", "archive"])?;

    let cluster = LocalCluster::up_on(4, database)?;
    let credentials = cluster.credentials()?;
    cluster.kill_gateway()?;
    self_signed(cluster.data_dir())?;
    let file = "gateway/gateway.toml";
    let pem = |name: &str| cluster.data_dir().join(name).display().to_string();
    let tls = format!(
        "domains = [\"localhost\"]\ntls_certificate = {:?}\ntls_key = {:?}",
        pem("certificate.pem"),
        pem("key.pem")
    );
    configure(&cluster, file, "s3", &tls)?;
    write_file(
        &cluster.data_dir().join("archive.toml"),
        format!(
            "aws_access_key_id = {:?}\naws_secret_access_key = {:?}\n",
            elsewhere.get("AWS_ACCESS_KEY_ID"),
            elsewhere.get("AWS_SECRET_ACCESS_KEY")
        )
        .as_bytes(),
    )?;
    configure(&cluster, file, "storage.backends.mesh", "type = \"mesh\"")?;
    let cold = format!(
        "type = \"object-store\"\nurl = \"s3://archive/chunks\"\noptions_file = {:?}\n\
         options = {{ aws_endpoint = {:?}, aws_region = \"us-east-1\", aws_allow_http = \"true\" }}",
        pem("archive.toml"),
        elsewhere.endpoint()
    );
    configure(&cluster, file, "storage.backends.archive", &cold)?;
    configure(&cluster, file, "storage.classes", "STANDARD = \"mesh\"\nGLACIER_IR = \"archive\"")?;
    cluster.start_gateway()?;

    let endpoint = credentials.endpoint().replace("http://", "https://");
    let client = Client::new(&credentials)?
        .with("AWS_ENDPOINT_URL", &endpoint)
        .with("AWS_CA_BUNDLE", &pem("certificate.pem"))
        .with("SSL_CERT_FILE", &pem("certificate.pem"));
    client.run("python3", &[client_file("boto3_core.py").to_str().context("a path in UTF-8")?])?;

    client.run("aws", &["s3", "mb", "s3://cold"])?;
    let data = unique_bytes(5, 3 << 20);
    write_file(&client.dir().join("up"), &data)?;
    let before = kept(&owner)?;
    client.run("aws", &["s3", "cp", "--storage-class", "GLACIER_IR", "up", "s3://cold/object"])?;
    ensure!(kept(&owner)? > before, "a cold object is not in the archive");
    client.run("aws", &["s3", "cp", "s3://cold/object", "down"])?;
    ensure!(fs::read(client.dir().join("down"))? == data, "a cold object came back different");
    let (code, report) = cluster.admin(&["doctor"])?;
    ensure!(code == 0, "doctor found damage: {report:#}");

    let plain = Client::new(&credentials)?.output("aws", &["s3", "ls"])?;
    ensure!(!plain.status.success(), "a TLS listener answered plain HTTP");
    Ok(())
}

/// Objects in the archive.
fn kept(owner: &Client) -> Result<usize> {
    let listing = owner.run("aws", &["s3", "ls", "--recursive", "s3://archive/"])?;
    Ok(listing.lines().count())
}

#[test]
fn rot_on_a_disk_is_found_and_repaired_without_being_asked() -> Result<()> {
    let cluster = LocalCluster::up(4)?;
    let client = Client::new(&cluster.credentials()?)?;
    cluster.kill_gateway()?;
    configure(&cluster, "gateway/gateway.toml", "jobs", "scan_interval = \"1s\"\nrepair_interval = \"1s\"")?;
    cluster.kill(2)?;
    configure(&cluster, "node-2/node.toml", "scrub", "interval = \"1s\"")?;
    cluster.start(2)?;
    cluster.start_gateway()?;

    client.run("aws", &["s3", "mb", "s3://rot"])?;
    let data = unique_bytes(8, 5 << 20);
    write_file(&client.dir().join("up"), &data)?;
    client.run("aws", &["s3", "cp", "up", "s3://rot/object"])?;
    damage(&cluster.data_dir().join("node-2/shards/segments"))?;

    let log = cluster.data_dir().join("node-2/log");
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        let found = fs::read_to_string(&log)?.contains("scrub deletes a damaged shard");
        let (code, report) = cluster.admin(&["doctor"])?;
        if found && code == 0 {
            break;
        }
        ensure!(Instant::now() < deadline, "found by the scrub: {found}; {report:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
    client.run("aws", &["s3", "cp", "s3://rot/object", "down"])?;
    ensure!(fs::read(client.dir().join("down"))? == data, "the object came back different");
    Ok(())
}

/// Flips a bit in the middle of each segment.
fn damage(segments: &Path) -> Result<()> {
    let mut damaged = 0;
    for entry in fs::read_dir(segments)? {
        let path = entry?.path();
        let file = fs::OpenOptions::new().read(true).write(true).open(&path)?;
        let middle = file.metadata()?.len() / 2;
        let mut byte = [0];
        if file.read_at(&mut byte, middle)? == 1 && middle > 64 << 10 {
            file.write_all_at(&[byte[0] ^ 1], middle)?;
            damaged += 1;
        }
    }
    ensure!(damaged > 0, "{} holds nothing to damage", segments.display());
    Ok(())
}
