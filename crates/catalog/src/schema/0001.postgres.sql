-- What SQLite has built in, so that one SQL text serves both engines.
CREATE OR REPLACE FUNCTION json_each(document TEXT) RETURNS TABLE (value JSONB) LANGUAGE SQL IMMUTABLE STRICT ROWS 64
  AS 'SELECT jsonb_array_elements(document::jsonb)';
CREATE OR REPLACE FUNCTION unhex(digits TEXT) RETURNS BYTEA LANGUAGE SQL IMMUTABLE STRICT
  AS 'SELECT decode(digits, ''hex'')';

CREATE TABLE bucket (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name TEXT COLLATE "C" NOT NULL UNIQUE,
  account BYTEA NOT NULL,
  domain BYTEA NOT NULL,
  region TEXT NOT NULL,
  versioning BIGINT NOT NULL,
  created_at_ms BIGINT NOT NULL
);
CREATE INDEX bucket_account ON bucket (account, name);

-- Every object is a list of versions. The greatest sequence of a key is its current version; `listed` is 1 on the
-- current version of a key unless that is a delete marker. The inline bytes stand last, so that SQLite finds the
-- columns before them without reading overflow pages.
CREATE TABLE version (
  sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  bucket BIGINT NOT NULL,
  key BYTEA NOT NULL,
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
  inline_chunk BYTEA,
  inline_sealed BYTEA
);
CREATE UNIQUE INDEX version_of_key ON version (bucket, key, sequence);
-- Covers a listing, so that a page reads neighbouring index entries and no rows.
CREATE INDEX version_listed ON version (bucket, key) INCLUDE (size, modified_ms, etag, storage_class) WHERE listed = 1;

-- Pending while it has an expiry, released while it waits to be taken apart, else committed.
CREATE TABLE manifest (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  domain BYTEA NOT NULL,
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
  entries BYTEA NOT NULL,
  PRIMARY KEY (manifest, start_offset)
);

CREATE TABLE chunk (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  domain BYTEA NOT NULL,
  backend TEXT NOT NULL,
  chunk BYTEA NOT NULL,
  plain_len BIGINT NOT NULL,
  placement BIGINT NOT NULL,
  sealed BYTEA NOT NULL,
  sealed_len BIGINT NOT NULL,
  refs BIGINT NOT NULL,
  lost BIGINT NOT NULL DEFAULT 0,
  condemned_at_ms BIGINT,
  missing BYTEA
);
CREATE UNIQUE INDEX chunk_of_domain ON chunk (domain, backend, chunk);
CREATE UNIQUE INDEX chunk_placement ON chunk (placement, sealed);
CREATE INDEX chunk_condemned ON chunk (condemned_at_ms) WHERE condemned_at_ms IS NOT NULL;
CREATE INDEX chunk_missing ON chunk (sealed) WHERE missing IS NOT NULL;

CREATE TABLE lost_chunk (
  sealed BYTEA PRIMARY KEY,
  chunk BIGINT NOT NULL,
  backend TEXT NOT NULL,
  placement BIGINT NOT NULL,
  sealed_len BIGINT NOT NULL,
  readable_shards BIGINT NOT NULL,
  found_at_ms BIGINT NOT NULL
);

CREATE TABLE garbage (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  backend TEXT NOT NULL,
  placement BIGINT NOT NULL,
  sealed BYTEA NOT NULL UNIQUE,
  sealed_len BIGINT NOT NULL
);

CREATE TABLE upload (
  id BYTEA PRIMARY KEY,
  bucket BIGINT NOT NULL,
  key BYTEA NOT NULL,
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
  upload BYTEA NOT NULL,
  number BIGINT NOT NULL,
  size BIGINT NOT NULL,
  etag TEXT NOT NULL,
  checksums TEXT NOT NULL,
  modified_ms BIGINT NOT NULL,
  manifest BIGINT NOT NULL,
  PRIMARY KEY (upload, number)
);

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
);

-- `nodes` holds one 32-byte node id per shard index.
CREATE TABLE placement_group (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  data_shards BIGINT NOT NULL,
  total_shards BIGINT NOT NULL,
  nodes BYTEA NOT NULL,
  state BIGINT NOT NULL,
  epoch BIGINT NOT NULL
);

CREATE TABLE lease (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  term BIGINT NOT NULL,
  expires_at_ms BIGINT NOT NULL
);
