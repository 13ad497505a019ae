-- A bucket's configurations: documents that the catalog does not read. `configured` has a bit for each kind that is
-- set, `config_epoch` counts the changes.
CREATE TABLE bucket_config (
  bucket BIGINT NOT NULL,
  kind BIGINT NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (bucket, kind)
);
ALTER TABLE bucket ADD COLUMN configured BIGINT NOT NULL DEFAULT 0;
ALTER TABLE bucket ADD COLUMN config_epoch BIGINT NOT NULL DEFAULT 0;

ALTER TABLE version ADD COLUMN tags TEXT;
ALTER TABLE version ADD COLUMN acl TEXT;
ALTER TABLE version ADD COLUMN owner BYTEA;
ALTER TABLE version ADD COLUMN retention_mode BIGINT;
ALTER TABLE version ADD COLUMN retain_until_ms BIGINT;
ALTER TABLE version ADD COLUMN legal_hold BIGINT NOT NULL DEFAULT 0;
-- Newest first within a key, as versions are listed.
DROP INDEX version_of_key;
CREATE UNIQUE INDEX version_of_key ON version (bucket, key, sequence DESC);
DROP INDEX version_listed;
CREATE INDEX version_listed ON version (bucket, key) INCLUDE (size, modified_ms, etag, storage_class, owner)
  WHERE listed = 1;

-- What CreateMultipartUpload says of the version that Complete makes.
ALTER TABLE upload ADD COLUMN tags TEXT;
ALTER TABLE upload ADD COLUMN acl TEXT;
ALTER TABLE upload ADD COLUMN owner BYTEA;
ALTER TABLE upload ADD COLUMN retention_mode BIGINT;
ALTER TABLE upload ADD COLUMN retain_until_ms BIGINT;
ALTER TABLE upload ADD COLUMN legal_hold BIGINT NOT NULL DEFAULT 0;
