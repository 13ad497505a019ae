//! Letters for passwords, erasures and abuse cases.

/// `registration.purpose` says what a row's letter is for. `hold.automatic` is 1 where the hold is not an operator's: it goes
/// with what placed it. An erasure ends when it was carried out or withdrawn; an account has one that has not ended at
/// most. `abuse_case.penalty` is in basis points, `evidence` is emptied when the account is erased.
macro_rules! privacy {
    ($bytes:literal, $text:literal) => {
        concat!(
            "ALTER TABLE registration ADD COLUMN purpose TEXT NOT NULL DEFAULT 'register';
             ALTER TABLE hold ADD COLUMN automatic BIGINT NOT NULL DEFAULT 0;
             CREATE INDEX login_session_account ON login_session (account);
             CREATE TABLE erasure (id ",
            $text,
            " PRIMARY KEY,
                account ",
            $bytes,
            " NOT NULL REFERENCES account (id), status TEXT NOT NULL,
                status_before TEXT NOT NULL, hold ",
            $text,
            " NOT NULL REFERENCES hold (id),
                opened_at_ms BIGINT NOT NULL, due_at_ms BIGINT NOT NULL, begun_at_ms BIGINT,
                ended_at_ms BIGINT, obstacle TEXT);
             CREATE UNIQUE INDEX erasure_unended ON erasure (account) WHERE ended_at_ms IS NULL;
             CREATE INDEX erasure_due ON erasure (due_at_ms) WHERE ended_at_ms IS NULL;
             CREATE INDEX erasure_account ON erasure (account, opened_at_ms);
             CREATE TABLE abuse_case (id ",
            $text,
            " PRIMARY KEY,
                account ",
            $bytes,
            " NOT NULL REFERENCES account (id), kind TEXT NOT NULL, status TEXT NOT NULL,
                evidence TEXT NOT NULL, penalty BIGINT NOT NULL DEFAULT 0, opened_at_ms BIGINT NOT NULL,
                decided_at_ms BIGINT, expires_at_ms BIGINT);
             CREATE INDEX abuse_case_account ON abuse_case (account, opened_at_ms);
             CREATE INDEX abuse_case_expiry ON abuse_case (expires_at_ms) WHERE status = 'upheld';"
        )
    };
}

pub(super) const ON_SQLITE: &str = privacy!("BLOB", "TEXT");
pub(super) const ON_POSTGRES: &str = privacy!("BYTEA", "TEXT COLLATE \"C\"");
