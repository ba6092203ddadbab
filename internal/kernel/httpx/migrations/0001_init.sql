-- Answers given under an Idempotency-Key, kept for a while so that a repeat gets the same one.
CREATE TABLE httpx_answer (
  owner codetext NOT NULL,
  key codetext NOT NULL,
  request codetext NOT NULL,
  at codetext NOT NULL,
  status INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (owner, key)
);
CREATE INDEX httpx_answer_at ON httpx_answer (at);
