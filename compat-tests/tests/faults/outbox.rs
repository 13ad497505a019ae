//! Events outlive their gateway: whatever was acknowledged is told, whatever is told has happened.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Event, NotificationConfiguration, TopicConfiguration};
use datamesh_compat_tests::{Gateway, unique_bytes};

use crate::ledger::client;

const BUCKET: &str = "bucket-told";

/// A webhook, and the keys that it was told of. It serves until the test's process ends.
#[derive(Clone)]
struct Hook {
    port: u16,
    told: Arc<Mutex<BTreeSet<String>>>,
}

impl Hook {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let hook = Self { port: listener.local_addr()?.port(), told: Arc::default() };
        let serving = hook.clone();
        std::thread::spawn(move || {
            // A gateway that dies while it tells something tells it again.
            listener.incoming().flatten().for_each(|stream| drop(serving.listen(stream)));
        });
        Ok(hook)
    }

    fn listen(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut len = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                len = value.trim().parse()?;
            }
        }
        let mut body = vec![0; len];
        reader.read_exact(&mut body)?;
        let message: serde_json::Value = serde_json::from_slice(&body)?;
        let key = message["Records"][0]["s3"]["object"]["key"].as_str().context("a key")?;
        self.told.lock().expect("nobody panics with it").insert(key.to_owned());
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
        Ok(())
    }

    fn told(&self) -> BTreeSet<String> {
        self.told.lock().expect("nobody panics with it").clone()
    }
}

async fn write_until(
    s3: Client,
    prefix: String,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{prefix}-{number}");
        let body = ByteStream::from(unique_bytes(number, 2_000));
        // Once the gateway is dead, nothing succeeds.
        if s3.put_object().bucket(BUCKET).key(&key).body(body).send().await.is_ok() {
            acknowledged.lock().expect("nobody panics with it").push(key);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_acknowledged_writes_survive_kill_nine() -> Result<()> {
    let hook = Hook::start()?;
    let mut gateway = Gateway::start()?;
    let s3 = client(&gateway.credentials()?);
    s3.create_bucket().bucket(BUCKET).send().await?;
    let topic = TopicConfiguration::builder()
        .topic_arn(format!("arn:aws:sns:::http://127.0.0.1:{}/hook", hook.port))
        .events(Event::S3ObjectCreated)
        .build()?;
    let configuration = NotificationConfiguration::builder().topic_configurations(topic).build();
    s3.put_bucket_notification_configuration()
        .bucket(BUCKET)
        .notification_configuration(configuration)
        .send()
        .await?;

    let acknowledged = Arc::<Mutex<Vec<String>>>::default();
    for round in 0..4 {
        let s3 = client(&gateway.credentials()?);
        let stop = Arc::new(AtomicBool::new(false));
        let before = acknowledged.lock().expect("nobody panics with it").len();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let prefix = format!("{round}-{writer}");
                tokio::spawn(write_until(s3.clone(), prefix, Arc::clone(&stop), Arc::clone(&acknowledged)))
            })
            .collect();
        // Deliveries begin a second after the first write: some rounds end before that, some in the middle of them.
        while acknowledged.lock().expect("nobody panics with it").len() < before + 10 + 150 * round {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        gateway.kill()?;
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await?;
        }
        gateway.restart()?;
    }

    let acknowledged: BTreeSet<String> =
        acknowledged.lock().expect("nobody panics with it").iter().cloned().collect();
    let deadline = Instant::now() + Duration::from_mins(2);
    while !acknowledged.is_subset(&hook.told()) {
        let missing = acknowledged.difference(&hook.told()).count();
        ensure!(Instant::now() < deadline, "{missing} of {} writes were never told", acknowledged.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let s3 = client(&gateway.credentials()?);
    let mut stored = BTreeSet::new();
    let mut pages = s3.list_objects_v2().bucket(BUCKET).into_paginator().send();
    while let Some(page) = pages.next().await {
        stored.extend(page?.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
    }
    let told = hook.told();
    ensure!(told.is_subset(&stored), "told, but not stored: {:?}", told.difference(&stored));
    Ok(())
}
