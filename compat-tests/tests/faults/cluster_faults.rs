//! F5, F6 and F7 on separate processes.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use datamesh_compat_tests::LocalCluster;

use crate::ledger::{Content, Ledger};

const SIZES: [usize; 6] = [1, 8_000, 9_000, 400_000, 2_000_000, 9_000_000];

async fn fill(ledger: &Ledger, prefix: &str) -> Result<()> {
    for (number, len) in SIZES.into_iter().enumerate() {
        ledger.put(&format!("{prefix}/{len}"), Content { seed: number as u64, len }).await?;
    }
    Ok(())
}

fn ensure_healthy(cluster: &LocalCluster) -> Result<()> {
    let (code, report) = cluster.admin(&["doctor"])?;
    ensure!(code == 0, "doctor found damage: {report:#}");
    Ok(())
}

/// F5: four of eight nodes are killed and every byte reads back; they come back empty and are repaired; then the other
/// four go, and again every byte reads back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_half_of_the_nodes_may_vanish_and_after_repair_the_other_half() -> Result<()> {
    let cluster = LocalCluster::up(8)?;
    let ledger = Ledger::create(&cluster.credentials()?, "bucket-f5").await?;
    fill(&ledger, "before").await?;
    ensure_healthy(&cluster)?;

    let (first, second) = ([1, 3, 4, 8], [2, 5, 6, 7]);
    for node in first {
        cluster.kill(node)?;
    }
    ledger.verify().await?;
    for node in first {
        cluster.wipe(node)?;
        cluster.start(node)?;
    }
    let (code, report) = cluster.admin(&["doctor"])?;
    ensure!(code != 0, "four wiped nodes, and doctor sees nothing: {report:#}");
    cluster.repair_until_complete()?;

    for node in second {
        cluster.kill(node)?;
    }
    ledger.verify().await?;
    for node in second {
        cluster.start(node)?;
    }
    fill(&ledger, "after").await?;
    cluster.repair_until_complete()?;
    ledger.verify().await?;
    ensure_healthy(&cluster)
}

/// F1 with separate processes: nodes and gateway die one after another while objects are written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f1_writes_go_on_while_single_nodes_die() -> Result<()> {
    let cluster = LocalCluster::up(8)?;
    let mut ledger = Ledger::create(&cluster.credentials()?, "bucket-f1").await?;
    for (round, node) in [2, 7].into_iter().enumerate() {
        fill(&ledger, &format!("{round}/whole")).await?;
        cluster.kill(node)?;
        fill(&ledger, &format!("{round}/degraded")).await?;
        cluster.kill_gateway()?;
        cluster.start_gateway()?;
        ledger.reconnect(&cluster.credentials()?);
        ledger.verify().await?;
        cluster.start(node)?;
        cluster.repair_until_complete()?;
    }
    ledger.verify().await?;
    ensure_healthy(&cluster)
}

/// F6: bits rot on as many nodes as the profile can lose; the right bytes come back, and repair makes the rest whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f6_rotten_shards_are_noticed_and_rebuilt() -> Result<()> {
    let cluster = LocalCluster::up(8)?;
    let ledger = Ledger::create(&cluster.credentials()?, "bucket-f6").await?;
    fill(&ledger, "rot").await?;
    for node in 1..=4 {
        cluster.kill(node)?;
        let damaged = rot(&cluster.data_dir().join(format!("node-{node}")))?;
        ensure!(damaged > 0, "node {node} had no segment to damage");
        cluster.start(node)?;
    }
    ledger.verify().await?;
    cluster.repair_until_complete()?;
    ledger.verify().await?;
    ensure_healthy(&cluster)
}

/// F7: more shards are gone than the profile can lose. Reads fail with an error, the loss is listed, nothing is deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_what_is_lost_is_an_error_and_is_listed() -> Result<()> {
    let cluster = LocalCluster::up(8)?;
    let ledger = Ledger::create(&cluster.credentials()?, "bucket-f7").await?;
    let content = Content { seed: 1, len: 2_000_000 };
    ledger.put("large", content).await?;
    ledger.put("inline", Content { seed: 2, len: 100 }).await?;
    for node in 1..=5 {
        cluster.kill(node)?;
        cluster.wipe(node)?;
        cluster.start(node)?;
    }
    ensure!(ledger.read("large").await.is_err(), "a lost object must not read");
    ensure!(ledger.read("inline").await?.is_some(), "an inline object needs no shards");
    let (code, report) = cluster.admin(&["doctor"])?;
    ensure!(code == 6, "doctor must report the loss with exit code 6, not {code}: {report:#}");
    let (code, _) = cluster.admin(&["repair", "run"])?;
    ensure!(code == 0 || code == 6, "repair run ended with {code}");
    let head = ledger.client().head_object().bucket("bucket-f7").key("large").send().await?;
    ensure!(head.content_length() == Some(content.len as i64), "the lost object is still listed");
    // The same bytes can be stored again: a lost chunk is no dedup hit.
    ledger.put("again", content).await?;
    ensure!(ledger.read("again").await?.is_some(), "what was stored again reads back");
    Ok(())
}

/// Flips one bit in each 64 KiB of every segment file under `dir`; gives how many.
fn rot(dir: &Path) -> Result<usize> {
    let mut damaged = 0;
    for path in segments(dir)? {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let len = file.metadata()?.len();
        for offset in (5_000..len).step_by(64 * 1024) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset)?;
            file.write_all_at(&[byte[0] ^ 0x10], offset)?;
            damaged += 1;
        }
    }
    Ok(damaged)
}

fn segments(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(segments(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "seg") {
            found.push(path);
        }
    }
    Ok(found)
}
