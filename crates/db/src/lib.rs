//! SQL on SQLite and PostgreSQL: transactions, migrations, group commit.
