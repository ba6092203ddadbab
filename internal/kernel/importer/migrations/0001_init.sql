-- One row is one file that somebody imports.
CREATE TABLE importer_run (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  division codetext NOT NULL,
  province_code codetext NOT NULL,
  city_code codetext NOT NULL,
  county_code codetext NOT NULL,
  town_code codetext NOT NULL,
  village_code codetext NOT NULL,
  line codetext NOT NULL,
  enterprise_id codetext NOT NULL,
  kind codetext NOT NULL,
  state codetext NOT NULL,
  file_id codetext NOT NULL,
  file_name TEXT NOT NULL,
  sheet TEXT NOT NULL,
  uploader TEXT NOT NULL,
  acting TEXT NOT NULL,
  unknown TEXT NOT NULL,
  checked TEXT NOT NULL,
  applied TEXT NOT NULL,
  undone TEXT NOT NULL,
  only_valid BOOLEAN NOT NULL,
  message TEXT NOT NULL
);
CREATE INDEX importer_run_kind ON importer_run (kind, created_at, id);

-- How far the work on a run has come: bookkeeping, moved in the transaction of each chunk.
CREATE TABLE importer_progress (
  run_id codetext NOT NULL,
  stage codetext NOT NULL,
  row_no BIGINT NOT NULL,
  done BIGINT NOT NULL,
  percent INTEGER NOT NULL,
  counts TEXT NOT NULL,
  PRIMARY KEY (run_id, stage)
);

-- What a run found in a row of its file, and did with it: bookkeeping. Rows in which there is nothing to say or to do have none.
CREATE TABLE importer_row (
  run_id codetext NOT NULL,
  row_no BIGINT NOT NULL,
  action codetext NOT NULL,
  name TEXT NOT NULL,
  record_id codetext NOT NULL,
  version BIGINT NOT NULL,
  detail TEXT NOT NULL,
  kept TEXT NOT NULL,
  PRIMARY KEY (run_id, row_no)
);
CREATE INDEX importer_row_action ON importer_row (run_id, action, row_no);
