use datamesh_node::config::load;

use super::*;

const MINIMAL: &str = r#"
data_dir = "/tmp/g"

[mesh]
map_file = "map.json"
trusted_operators = ["abababababababababababababababababababababababababababababababab"]
"#;

fn load_text(text: &str) -> Result<GatewayConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    std::fs::write(&file, text).unwrap();
    load(&file, GatewayConfig::validate)
        .map_err(|error| error.to_string().replace(dir.path().to_str().unwrap(), ""))
}

#[test]
fn a_data_folder_and_a_map_are_enough() {
    let config = load_text(MINIMAL).unwrap();
    assert_eq!(config.s3.listen.port(), 9000);
    assert_eq!(config.admin.listen.port(), 9001);
    assert_eq!(config.database_url().unwrap(), "sqlite:/tmp/g/catalog.db");
    assert_eq!(config.kek_file(), Path::new("/tmp/g/kek"));
    assert_eq!(config.storage.classes["STANDARD"], "mesh");
}

#[test]
fn the_defaults_in_code_are_the_defaults_of_a_file() {
    let mut text = GatewayConfig::new("/tmp/g".into());
    text.mesh = load_text(MINIMAL).unwrap().mesh;
    assert_eq!(format!("{text:?}"), format!("{:?}", load_text(MINIMAL).unwrap()));
}

#[test]
fn an_error_names_the_file_the_key_and_what_was_expected() {
    let cases = [
        (
            "[mesh]",
            "[s3]\nlisten = \"9000\"\n[mesh]",
            "/gateway.toml:5: key `s3.listen`: invalid socket address syntax",
        ),
        (
            "[mesh]",
            "[s3]\ntls_key = \"k\"\n[mesh]",
            "key `s3.tls_key`: expected tls_certificate and tls_key together",
        ),
        ("[mesh]", "[s3]\nport = 1\n[mesh]", "unknown field `port`, expected one of `listen`"),
        (
            "[mesh]",
            "[admin]\nlisten = \"127.0.0.1:9000\"\n[mesh]",
            "key `admin.listen`: expected another address than s3.listen",
        ),
        (
            "[mesh]",
            "[database]\nurl = \"a\"\nurl_file = \"b\"\n[mesh]",
            "key `database.url_file`: expected either url or url_file",
        ),
        (
            "[mesh]",
            "[accounts]\nreservation_ttl = \"999ms\"\n[mesh]",
            "key `accounts.reservation_ttl`: expected at least 1s",
        ),
        (
            "[mesh]",
            "[accounts]\nmetering = false\n[mesh]",
            "key `accounts.metering`: expected true, or jobs.automatic_invoices = false",
        ),
        (
            "[mesh]",
            "[accounts]\nmetering = false\n[jobs]\nautomatic_invoices = false\n[payments]\n\
             listen = \"127.0.0.1:0\"\n[mesh]",
            "key `accounts.metering`: expected true, or no payments.listen",
        ),
        (
            "[mesh]",
            "[payments.sandbox]\nsecret_file = \"s\"\n[mesh]",
            "key `payments.listen`: expected an address",
        ),
        (
            "[mesh]",
            "[payments]\nlisten = \"127.0.0.1:0\"\n[payments.sandbox]\nsecret_file = \"s\"\n\
             endpoint = \"ftp://x\"\n[mesh]",
            "key `payments.sandbox.endpoint`: expected an http or https address",
        ),
        (
            "[mesh]",
            "[cluster]\nprofile = \"8\"\n[mesh]",
            "key `cluster.profile`: \"8\" is not a profile: expected K+M",
        ),
        (
            "[mesh]",
            "[storage.classes]\nSTANDARD = \"disk\"\n[mesh]",
            "key `storage.classes`: expected names of backends",
        ),
        (
            "[mesh]",
            "[storage.backends.disk]\ntype = \"tape\"\n[mesh]",
            "unknown variant `tape`, expected one of `mesh`, `local`, `object-store`, `memory`",
        ),
        ("map_file = \"map.json\"", "", "key `mesh`: missing field `map_file`"),
        ("data_dir = \"/tmp/g\"", "", "missing field `data_dir`"),
    ];
    for (from, to, expected) in cases {
        assert_refused(from, to, expected);
    }
}

#[test]
fn jobs_that_would_do_harm_are_refused() {
    let cases = [
        ("[jobs]\norphan_age = \"1m\"\n[mesh]", "key `jobs.orphan_age`: expected at least 1h"),
        (
            "[jobs]\nsla_window_age = \"33d\"\n[mesh]",
            "key `jobs.sla_window_age`: expected at least 32d more than jobs.invoice_grace",
        ),
        (
            "[jobs]\ninvoice_grace = \"369d\"\nsla_window_age = \"401d\"\n[mesh]",
            "key `jobs.usage_hour_age`: expected at least 32d more than jobs.invoice_grace",
        ),
        ("[jobs]\naudit_payload_age = \"23h\"\n[mesh]", "key `jobs.audit_payload_age`: expected at least 1d"),
        ("[jobs]\nprobe_interval = \"3m\"\n[mesh]", "key `jobs.probe_interval`: expected at most 2m"),
        (
            "[jobs]\nplan_migration_interval = \"0s\"\n[mesh]",
            "key `jobs`: expected intervals of at least 1ms",
        ),
        (
            "[jobs]\ngc_grace = 5\n[mesh]",
            "key `jobs.gc_grace`: invalid type: integer `5`, expected a time such as",
        ),
    ];
    for (to, expected) in cases {
        assert_refused("[mesh]", to, expected);
    }
}

/// Replaces a part of the smallest configuration by one that is wrong.
fn assert_refused(from: &str, to: &str, expected: &str) {
    let error = load_text(&MINIMAL.replace(from, to)).unwrap_err();
    assert!(error.contains(expected), "{error}\n  should contain\n{expected}");
    assert!(error.starts_with("/gateway.toml") && !error.contains('\n'), "{error}");
}

#[test]
fn a_gateway_without_a_mesh_names_its_backends() {
    let text = r#"
data_dir = "/tmp/g"
[storage.backends.disk]
type = "local"
dir = "/tmp/g/disk"
capacity = "1 GiB"
[storage.classes]
STANDARD = "disk"
"#;
    assert!(!load_text(text).unwrap().storage.uses_mesh());
    assert!(
        load_text("data_dir = \"/tmp/g\"").unwrap_err().contains("key `mesh`: expected a [mesh] section")
    );
}

#[test]
fn the_example_configurations_are_valid() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    load(&deploy.join("gateway.toml"), GatewayConfig::validate).unwrap();
    load(&deploy.join("node.toml"), datamesh_node::config::NodeConfig::validate).unwrap();
    load(&deploy.join("network-map.toml"), |_: &datamesh_mesh::NetworkMap| Ok(())).unwrap();
}
