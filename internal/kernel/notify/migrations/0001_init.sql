-- What messages say: people's own words for what modules declare.
CREATE TABLE notify_template (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  key codetext NOT NULL,
  kind codetext NOT NULL,
  title TEXT NOT NULL,
  body TEXT NOT NULL,
  effective_from codetext NOT NULL,
  effective_to codetext NOT NULL,
  active BOOLEAN NOT NULL,
  shipped codetext NOT NULL
);
CREATE UNIQUE INDEX notify_template_key ON notify_template (origin, key, kind, effective_from);

-- How messages leave: one mail server, any number of webhooks.
CREATE TABLE notify_channel (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  key codetext NOT NULL,
  kind codetext NOT NULL,
  title TEXT NOT NULL,
  enabled BOOLEAN NOT NULL,
  host TEXT NOT NULL,
  port INTEGER NOT NULL,
  security codetext NOT NULL,
  username TEXT NOT NULL,
  password TEXT NOT NULL,
  sender TEXT NOT NULL,
  sender_name TEXT NOT NULL,
  ca TEXT NOT NULL,
  url TEXT NOT NULL,
  format codetext NOT NULL,
  secret TEXT NOT NULL
);
CREATE UNIQUE INDEX notify_channel_key ON notify_channel (origin, key);

-- In-app messages, one row for each recipient.
CREATE TABLE notify_message (
  id codetext PRIMARY KEY,
  account codetext NOT NULL,
  event codetext NOT NULL,
  template codetext NOT NULL,
  level codetext NOT NULL,
  title TEXT NOT NULL,
  body TEXT NOT NULL,
  record_type codetext NOT NULL,
  record_id codetext NOT NULL,
  created_at codetext NOT NULL,
  read_at codetext
);
-- The same event never tells the same person the same thing twice.
CREATE UNIQUE INDEX notify_message_once ON notify_message (account, event, template);
CREATE INDEX notify_message_inbox ON notify_message (account, id);
CREATE INDEX notify_message_unread ON notify_message (account, id) WHERE read_at IS NULL;
CREATE INDEX notify_message_age ON notify_message (created_at);

-- Messages on their way out.
CREATE TABLE notify_delivery (
  id codetext PRIMARY KEY,
  event codetext NOT NULL,
  channel codetext NOT NULL,
  address TEXT NOT NULL,
  template codetext NOT NULL,
  level codetext NOT NULL,
  title TEXT NOT NULL,
  body TEXT NOT NULL,
  record_type codetext NOT NULL,
  record_id codetext NOT NULL,
  state codetext NOT NULL,
  attempts INTEGER NOT NULL,
  next_at codetext NOT NULL,
  lease_until codetext,
  worker codetext NOT NULL,
  error TEXT NOT NULL,
  created_at codetext NOT NULL,
  done_at codetext
);
CREATE UNIQUE INDEX notify_delivery_once ON notify_delivery (event, template, channel, address);
CREATE INDEX notify_delivery_due ON notify_delivery (next_at) WHERE state IN ('waiting', 'sending');
CREATE INDEX notify_delivery_state ON notify_delivery (state, id);
