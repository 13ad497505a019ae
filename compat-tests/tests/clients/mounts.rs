//! A bucket as a file system: s3fs.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use datamesh_compat_tests::{Client, Gateway, Mount, source_tree, unique_bytes};

use crate::ensure_healthy;

#[test]
fn a_bucket_mounted_by_s3fs_keeps_what_is_written_to_its_files() -> Result<()> {
    if let Some(obstacle) = Mount::obstacle() {
        // Past the test harness, which shows the output of failed tests alone.
        writeln!(std::io::stderr(), "SKIPPED: s3fs is not tested on this machine: {obstacle}")?;
        return Ok(());
    }
    let gateway = Gateway::start()?;
    let credentials = gateway.credentials()?;
    let client = Client::new(&credentials)?;
    client.run("aws", &["s3", "mb", "s3://s3fs-bucket"])?;
    let mount = Mount::new(&client, &credentials, "s3fs-bucket")?;
    let root = mount.path();

    let tree = client.dir().join("tree");
    source_tree(&tree, 20, 0)?;
    client.run("cp", &["-r", "tree", "mounted s3fs-bucket/tree"])?;
    let mut large = unique_bytes(1, (12 << 20) + 5);
    fs::write(root.join("large"), &large)?;
    let mut file = OpenOptions::new().read(true).write(true).open(root.join("large"))?;
    file.seek(SeekFrom::Start(6 << 20))?;
    file.write_all(b"in the middle")?;
    large[6 << 20..(6 << 20) + 13].copy_from_slice(b"in the middle");
    file.seek(SeekFrom::End(0))?;
    file.write_all(b"at the end")?;
    large.extend_from_slice(b"at the end");
    file.sync_all()?;
    drop(file);
    fs::rename(root.join("tree/src"), root.join("tree/source"))?;
    fs::rename(tree.join("src"), tree.join("source"))?;
    fs::set_permissions(root.join("large"), fs::Permissions::from_mode(0o640))?;
    std::os::unix::fs::symlink("large", root.join("link"))?;
    fs::write(root.join("gone"), b"gone")?;
    fs::remove_file(root.join("gone"))?;
    mount.unmount()?;

    // What the other clients see, and then a mount that remembers nothing.
    client.run("aws", &["s3", "cp", "s3://s3fs-bucket/large", "large"])?;
    ensure!(fs::read(client.dir().join("large"))? == large, "the object differs from the file");
    let mount = Mount::new(&client, &credentials, "s3fs-bucket")?;
    let root = mount.path();
    client.run("diff", &["-r", "tree", "mounted s3fs-bucket/tree"])?;
    ensure!(fs::read(root.join("link")).context("the link")? == large, "the file came back different");
    let mut middle = [0; 13];
    let mut file = File::open(root.join("large"))?;
    file.seek(SeekFrom::Start(6 << 20))?;
    file.read_exact(&mut middle)?;
    ensure!(&middle == b"in the middle");
    drop(file);
    ensure!(fs::metadata(root.join("large"))?.permissions().mode() & 0o777 == 0o640);
    let mut names: Vec<_> = fs::read_dir(root)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    names.sort();
    ensure!(names == ["large", "link", "tree"], "{names:?}");
    fs::remove_dir_all(root.join("tree"))?;
    mount.unmount()?;
    ensure_healthy(&gateway)
}
