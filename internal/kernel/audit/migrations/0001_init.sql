-- The log: one row for each sign-in, step, change, export and administration act. Rows are never changed after seq is set.
CREATE TABLE audit_entry (
  id codetext PRIMARY KEY,
  seq BIGINT,
  at codetext NOT NULL,
  node codetext NOT NULL,
  actor_kind codetext NOT NULL,
  actor_id codetext NOT NULL,
  actor_name TEXT NOT NULL,
  unit_name TEXT NOT NULL,
  kind codetext NOT NULL,
  title TEXT NOT NULL,
  record_type codetext NOT NULL,
  record_id codetext NOT NULL,
  version BIGINT NOT NULL,
  request_id codetext NOT NULL,
  data TEXT NOT NULL,
  body TEXT,
  mac BYTEA NOT NULL
);
-- Without the waiting ones: they have an index of their own, which SQLite would otherwise pass over, and sort all of them for each batch.
CREATE UNIQUE INDEX audit_entry_seq ON audit_entry (seq) WHERE seq IS NOT NULL;
CREATE INDEX audit_entry_waiting ON audit_entry (id) WHERE seq IS NULL;
CREATE INDEX audit_entry_record ON audit_entry (record_type, record_id, version);
CREATE INDEX audit_entry_actor ON audit_entry (actor_id, seq);
CREATE INDEX audit_entry_kind ON audit_entry (kind, seq);

-- The hashes of the tree, 256 to a row, in the manner of tiled transparency logs.
CREATE TABLE audit_tile (
  level INTEGER NOT NULL,
  idx BIGINT NOT NULL,
  hashes BYTEA NOT NULL,
  PRIMARY KEY (level, idx)
);

-- The size and root of the tree as it stands.
CREATE TABLE audit_head (
  name codetext PRIMARY KEY,
  size BIGINT NOT NULL,
  root BYTEA NOT NULL,
  suite codetext NOT NULL
);

-- Signed statements of size and root, as C2SP signed notes.
CREATE TABLE audit_checkpoint (
  size BIGINT PRIMARY KEY,
  at codetext NOT NULL,
  note TEXT NOT NULL
);
