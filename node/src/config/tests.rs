use std::path::Path;

use datamesh_types::GIB;

use super::*;
use crate::one_line;

const MINIMAL: &str = r#"
data_dir = "/tmp/n"
capacity = "10 GiB"

[mesh]
map_file = "map.json"
trusted_operators = ["abababababababababababababababababababababababababababababababab"]
"#;

const OPERATORS: &str = r#"["abababababababababababababababababababababababababababababababab"]"#;

fn load_text(text: &str) -> Result<NodeConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    std::fs::write(&file, text).unwrap();
    load(&file, NodeConfig::validate)
        .map_err(|error| error.to_string().replace(dir.path().to_str().unwrap(), ""))
}

#[test]
fn three_keys_are_enough() {
    let config = load_text(MINIMAL).unwrap();
    assert_eq!(config.capacity.bytes(), 10 * GIB);
    assert_eq!(config.key_file(), Path::new("/tmp/n/node.key"));
    assert_eq!(config.shard_store().segment_bytes, 256 * MIB);
    assert_eq!(config.mesh.listen.len(), 2);
}

#[test]
fn an_error_names_the_file_the_key_and_what_was_expected() {
    let cases = [
        (
            "capacity = \"10 GiB\"",
            "capacity = \"ten\"",
            "/node.toml:3: key `capacity`: invalid value: string \"ten\", expected a size such as \"10 GiB\"",
        ),
        (
            "capacity = \"10 GiB\"",
            "capacity = \"1 KiB\"",
            "/node.toml: key `capacity`: expected at least 1 MiB",
        ),
        ("capacity = \"10 GiB\"", "", "missing field `capacity`"),
        ("map_file = \"map.json\"", "", "key `mesh`: missing field `map_file`"),
        ("map_file", "mapfile", "unknown field `mapfile`, expected one of"),
        (OPERATORS, "[]", "key `mesh.trusted_operators`: expected at least one operator's public key"),
        (
            OPERATORS,
            "\"aa\"",
            "key `mesh.trusted_operators`: invalid type: string \"aa\", expected a sequence",
        ),
        (
            OPERATORS,
            "[\"aa\"]",
            "key `mesh.trusted_operators[0]`: \"aa\" is not a node id: expected 64 hexadecimal digits",
        ),
        (
            "[mesh]",
            "[store]\nsegment_size = \"1 B\"\n[mesh]",
            "key `store.segment_size`: expected 4 KiB to 2 GiB",
        ),
        ("[mesh]", "[mesh", "/node.toml:5: "),
        ("[mesh]", "[scrub]\nrate = \"0 B\"\n[mesh]", "key `scrub.rate`: expected at least 1 B a second"),
        (
            "[mesh]",
            "[scrub]\ninterval = 7\n[mesh]",
            "key `scrub.interval`: invalid type: integer `7`, expected a time such as",
        ),
        (
            "[mesh]",
            "[log]\nformat = \"xml\"\n[mesh]",
            "key `log.format`: unknown variant `xml`, expected `text` or `json`",
        ),
    ];
    for (from, to, expected) in cases {
        let error = load_text(&MINIMAL.replace(from, to)).unwrap_err();
        assert!(error.contains(expected), "{error}\n  should contain\n{expected}");
        assert!(error.starts_with("/node.toml") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = load(Path::new("/nonexistent/node.toml"), NodeConfig::validate).unwrap_err();
    assert!(one_line(&error).starts_with("cannot read /nonexistent/node.toml: No such file"), "{error}");
}
