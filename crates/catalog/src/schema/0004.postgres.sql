-- Versions of archived classes that may be read for a while. Rows of removed versions go later.
CREATE TABLE restored_version (
  version BIGINT PRIMARY KEY,
  until_ms BIGINT NOT NULL
);
CREATE INDEX restored_version_over ON restored_version (until_ms);
