//! The schema, a step per published version.

use datamesh_db::Migration;

/// The catalog's steps. Published ones never change.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        sqlite: include_str!("schema/0001.sqlite.sql"),
        postgres: include_str!("schema/0001.postgres.sql"),
    },
    Migration {
        version: 2,
        sqlite: include_str!("schema/0002.sqlite.sql"),
        postgres: include_str!("schema/0002.postgres.sql"),
    },
    Migration {
        version: 3,
        sqlite: include_str!("schema/0003.sqlite.sql"),
        postgres: include_str!("schema/0003.postgres.sql"),
    },
    Migration {
        version: 4,
        sqlite: include_str!("schema/0004.sqlite.sql"),
        postgres: include_str!("schema/0004.postgres.sql"),
    },
];
