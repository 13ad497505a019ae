-- A bucket's configurations: documents that the catalog does not read. `configured` has a bit for each kind that is
-- set, `config_epoch` counts the changes.
CREATE TABLE bucket_config (
  bucket BIGINT NOT NULL,
  kind BIGINT NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (bucket, kind)
) WITHOUT ROWID;
ALTER TABLE bucket ADD COLUMN configured BIGINT NOT NULL DEFAULT 0;
ALTER TABLE bucket ADD COLUMN config_epoch BIGINT NOT NULL DEFAULT 0;

-- Rebuilt, so that the inline bytes stay last. The numbers go on where they were.
CREATE TABLE version_rebuilt (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  bucket BIGINT NOT NULL,
  key BLOB NOT NULL,
  null_version BIGINT NOT NULL,
  delete_marker BIGINT NOT NULL,
  listed BIGINT NOT NULL,
  size BIGINT NOT NULL,
  modified_ms BIGINT NOT NULL,
  manifest BIGINT,
  part_count BIGINT NOT NULL,
  etag TEXT NOT NULL,
  storage_class TEXT NOT NULL,
  attributes TEXT NOT NULL,
  tags TEXT,
  acl TEXT,
  owner BLOB,
  retention_mode BIGINT,
  retain_until_ms BIGINT,
  legal_hold BIGINT NOT NULL DEFAULT 0,
  inline_chunk BLOB,
  inline_sealed BLOB
);
INSERT INTO version_rebuilt (sequence, bucket, key, null_version, delete_marker, listed, size, modified_ms, manifest,
    part_count, etag, storage_class, attributes, inline_chunk, inline_sealed)
  SELECT sequence, bucket, key, null_version, delete_marker, listed, size, modified_ms, manifest, part_count, etag,
    storage_class, attributes, inline_chunk, inline_sealed FROM version;
DELETE FROM sqlite_sequence WHERE name = 'version_rebuilt';
INSERT INTO sqlite_sequence (name, seq) SELECT 'version_rebuilt', seq FROM sqlite_sequence WHERE name = 'version';
DROP TABLE version;
ALTER TABLE version_rebuilt RENAME TO version;
-- Newest first within a key, as versions are listed.
CREATE UNIQUE INDEX version_of_key ON version (bucket, key, sequence DESC);
CREATE INDEX version_listed ON version (bucket, key, size, modified_ms, etag, storage_class, owner) WHERE listed = 1;

-- What CreateMultipartUpload says of the version that Complete makes.
ALTER TABLE upload ADD COLUMN tags TEXT;
ALTER TABLE upload ADD COLUMN acl TEXT;
ALTER TABLE upload ADD COLUMN owner BLOB;
ALTER TABLE upload ADD COLUMN retention_mode BIGINT;
ALTER TABLE upload ADD COLUMN retain_until_ms BIGINT;
ALTER TABLE upload ADD COLUMN legal_hold BIGINT NOT NULL DEFAULT 0;
