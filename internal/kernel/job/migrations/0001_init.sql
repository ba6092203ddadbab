-- Background jobs. Bookkeeping, not records: what a job does is covered by the log where it does it.
CREATE TABLE job_run (
  id codetext PRIMARY KEY,
  kind codetext NOT NULL,
  title TEXT NOT NULL,
  key codetext NOT NULL,
  args TEXT NOT NULL,
  state codetext NOT NULL,
  progress BIGINT NOT NULL,
  total BIGINT NOT NULL,
  message TEXT NOT NULL,
  result TEXT NOT NULL,
  error TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  run_at codetext NOT NULL,
  lease_until codetext NOT NULL,
  worker codetext NOT NULL,
  created_by codetext NOT NULL,
  created_at codetext NOT NULL,
  started_at codetext,
  finished_at codetext
);
CREATE INDEX job_run_due ON job_run (state, run_at);
CREATE INDEX job_run_owner ON job_run (created_by, created_at);
CREATE UNIQUE INDEX job_run_key ON job_run (kind, key) WHERE key <> '' AND state IN ('queued', 'running');

-- When each schedule runs next. One row per schedule, so that one process runs it.
CREATE TABLE job_schedule (
  name codetext PRIMARY KEY,
  next_at codetext NOT NULL
);
