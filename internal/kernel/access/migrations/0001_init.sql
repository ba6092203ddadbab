-- Accounts: who may sign in. admin names one of the three administrators or nothing, so that no account can hold two.
CREATE TABLE access_account (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  name codetext NOT NULL,
  title TEXT NOT NULL,
  admin codetext NOT NULL CHECK (admin IN ('', 'system', 'security', 'audit')),
  person_id codetext NOT NULL,
  state codetext NOT NULL,
  password TEXT NOT NULL,
  password_at codetext NOT NULL,
  must_change BOOLEAN NOT NULL,
  former TEXT NOT NULL,
  otp TEXT NOT NULL,
  otp_on BOOLEAN NOT NULL,
  recovery TEXT NOT NULL
);
CREATE UNIQUE INDEX access_account_name ON access_account (name);
CREATE UNIQUE INDEX access_account_person ON access_account (person_id) WHERE person_id <> '';

CREATE TABLE access_role (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  name codetext NOT NULL,
  title TEXT NOT NULL,
  kind codetext NOT NULL,
  permissions TEXT NOT NULL,
  offered TEXT NOT NULL,
  need_otp BOOLEAN NOT NULL
);
CREATE UNIQUE INDEX access_role_name ON access_role (name);

-- The rules for passwords and logins, one row per day from which they hold.
CREATE TABLE access_rules (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  valid_from codetext NOT NULL,
  settings TEXT NOT NULL
);
CREATE UNIQUE INDEX access_rules_day ON access_rules (valid_from);

CREATE TABLE access_token (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  account_id codetext NOT NULL,
  name TEXT NOT NULL,
  permissions TEXT NOT NULL,
  divisions TEXT NOT NULL,
  lines TEXT NOT NULL,
  enterprise_id codetext NOT NULL,
  state codetext NOT NULL,
  hash TEXT NOT NULL,
  expires_at codetext NOT NULL
);
CREATE INDEX access_token_account ON access_token (account_id);

-- Everything that may come with a request: sessions, and API tokens in force (their id is access_token's). Bookkeeping: the log tells the history.
CREATE TABLE access_login (
  id codetext PRIMARY KEY,
  kind codetext NOT NULL,
  account_id codetext NOT NULL,
  hash codetext NOT NULL,
  created_at codetext NOT NULL,
  last_seen codetext NOT NULL,
  expires_at codetext NOT NULL,
  client TEXT NOT NULL,
  agent TEXT NOT NULL
);
CREATE UNIQUE INDEX access_login_hash ON access_login (hash);
CREATE INDEX access_login_account ON access_login (account_id);
CREATE INDEX access_login_expires ON access_login (expires_at);

-- Failed sign-ins by account name (hashed: people type passwords into the wrong field) and by network address.
CREATE TABLE access_attempt (
  key codetext PRIMARY KEY,
  failures INTEGER NOT NULL,
  at codetext NOT NULL,
  locked_until codetext NOT NULL
);
CREATE INDEX access_attempt_at ON access_attempt (at);

-- The time step of the last one-time password that each account has used.
CREATE TABLE access_otp (
  account_id codetext PRIMARY KEY,
  step BIGINT NOT NULL
);

-- News for every process, see kernel/org/changes.
CREATE TABLE access_revision (
  name codetext PRIMARY KEY,
  n BIGINT NOT NULL
);
INSERT INTO access_revision (name, n) VALUES ('change', 0);
CREATE TABLE access_change (
  n BIGINT PRIMARY KEY,
  subject codetext NOT NULL
);
