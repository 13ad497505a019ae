-- Messages about changes, written with the change and deleted once they are delivered.
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  bucket BIGINT NOT NULL,
  key BLOB NOT NULL,
  version TEXT NOT NULL,
  sequence BIGINT NOT NULL,
  size BIGINT,
  destination TEXT NOT NULL,
  document TEXT NOT NULL,
  created_at_ms BIGINT NOT NULL,
  attempts BIGINT NOT NULL DEFAULT 0,
  not_before_ms BIGINT NOT NULL
);
CREATE INDEX outbox_due ON outbox (not_before_ms, id);
