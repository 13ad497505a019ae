-- AUTOINCREMENT: numbers are never used again, so that a stale one names nothing.
CREATE TABLE bucket (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  account BLOB NOT NULL,
  domain BLOB NOT NULL,
  region TEXT NOT NULL,
  versioning BIGINT NOT NULL,
  created_at_ms BIGINT NOT NULL
);
CREATE INDEX bucket_account ON bucket (account, name);

-- Every object is a list of versions. The greatest sequence of a key is its current version; `listed` is 1 on the
-- current version of a key unless that is a delete marker. The inline bytes stand last, so that SQLite finds the
-- columns before them without reading overflow pages.
CREATE TABLE version (
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
  inline_chunk BLOB,
  inline_sealed BLOB
);
CREATE UNIQUE INDEX version_of_key ON version (bucket, key, sequence);
-- Covers a listing, so that a page reads neighbouring index entries and no rows.
CREATE INDEX version_listed ON version (bucket, key, size, modified_ms, etag, storage_class) WHERE listed = 1;

-- Pending while it has an expiry, released while it waits to be taken apart, else committed.
CREATE TABLE manifest (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  domain BLOB NOT NULL,
  backend TEXT NOT NULL,
  size BIGINT NOT NULL,
  refs BIGINT NOT NULL,
  expires_at_ms BIGINT,
  released_at_ms BIGINT
);
CREATE INDEX manifest_pending ON manifest (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
CREATE INDEX manifest_released ON manifest (released_at_ms) WHERE released_at_ms IS NOT NULL;

-- Entries: a format byte (1), then for each chunk its row (8 bytes) and length (4 bytes), little-endian.
CREATE TABLE manifest_segment (
  manifest BIGINT NOT NULL,
  start_offset BIGINT NOT NULL,
  entries BLOB NOT NULL,
  PRIMARY KEY (manifest, start_offset)
);

CREATE TABLE chunk (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  domain BLOB NOT NULL,
  backend TEXT NOT NULL,
  chunk BLOB NOT NULL,
  plain_len BIGINT NOT NULL,
  placement BIGINT NOT NULL,
  sealed BLOB NOT NULL,
  sealed_len BIGINT NOT NULL,
  refs BIGINT NOT NULL,
  lost BIGINT NOT NULL DEFAULT 0,
  condemned_at_ms BIGINT,
  missing BLOB
);
CREATE UNIQUE INDEX chunk_of_domain ON chunk (domain, backend, chunk);
CREATE UNIQUE INDEX chunk_placement ON chunk (placement, sealed);
CREATE INDEX chunk_condemned ON chunk (condemned_at_ms) WHERE condemned_at_ms IS NOT NULL;
CREATE INDEX chunk_missing ON chunk (sealed) WHERE missing IS NOT NULL;

CREATE TABLE lost_chunk (
  sealed BLOB PRIMARY KEY,
  chunk BIGINT NOT NULL,
  backend TEXT NOT NULL,
  placement BIGINT NOT NULL,
  sealed_len BIGINT NOT NULL,
  readable_shards BIGINT NOT NULL,
  found_at_ms BIGINT NOT NULL
);

CREATE TABLE garbage (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  backend TEXT NOT NULL,
  placement BIGINT NOT NULL,
  sealed BLOB NOT NULL UNIQUE,
  sealed_len BIGINT NOT NULL
);

CREATE TABLE upload (
  id BLOB PRIMARY KEY,
  bucket BIGINT NOT NULL,
  key BLOB NOT NULL,
  storage_class TEXT NOT NULL,
  attributes TEXT NOT NULL,
  created_at_ms BIGINT NOT NULL,
  completed_at_ms BIGINT,
  completed_version TEXT,
  completed_etag TEXT,
  completed_size BIGINT
);
CREATE INDEX upload_open ON upload (bucket, key, id) WHERE completed_at_ms IS NULL;
CREATE INDEX upload_created ON upload (created_at_ms) WHERE completed_at_ms IS NULL;
CREATE INDEX upload_completed ON upload (completed_at_ms) WHERE completed_at_ms IS NOT NULL;

CREATE TABLE upload_part (
  upload BLOB NOT NULL,
  number BIGINT NOT NULL,
  size BIGINT NOT NULL,
  etag TEXT NOT NULL,
  checksums TEXT NOT NULL,
  modified_ms BIGINT NOT NULL,
  manifest BIGINT NOT NULL,
  PRIMARY KEY (upload, number)
) WITHOUT ROWID;

CREATE TABLE version_part (
  version BIGINT NOT NULL,
  start_offset BIGINT NOT NULL,
  number BIGINT NOT NULL,
  size BIGINT NOT NULL,
  etag TEXT NOT NULL,
  checksums TEXT NOT NULL,
  modified_ms BIGINT NOT NULL,
  manifest BIGINT NOT NULL,
  PRIMARY KEY (version, start_offset, number)
) WITHOUT ROWID;

-- `nodes` holds one 32-byte node id per shard index.
CREATE TABLE placement_group (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  data_shards BIGINT NOT NULL,
  total_shards BIGINT NOT NULL,
  nodes BLOB NOT NULL,
  state BIGINT NOT NULL,
  epoch BIGINT NOT NULL
);

CREATE TABLE lease (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  term BIGINT NOT NULL,
  expires_at_ms BIGINT NOT NULL
);
