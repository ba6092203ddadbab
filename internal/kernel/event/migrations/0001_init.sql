-- How far the relay has come in the log, and which process is relaying. One row.
CREATE TABLE event_cursor (
  name codetext PRIMARY KEY,
  seq BIGINT NOT NULL,
  published BIGINT NOT NULL,
  owner codetext NOT NULL,
  lease_until codetext NOT NULL
);
INSERT INTO event_cursor (name, seq, published, owner, lease_until) VALUES ('relay', -1, -1, '', '');

-- The subscriptions that this installation knows. Entries up to since_seq are older than the subscription.
CREATE TABLE event_subscription (
  name codetext PRIMARY KEY,
  since_seq BIGINT NOT NULL
);

-- What each subscription has handled. Event ids are UUIDv7, so the key's order is the order of time, and pruning is a range.
CREATE TABLE event_seen (
  event_id codetext NOT NULL,
  subscription codetext NOT NULL,
  PRIMARY KEY (event_id, subscription)
);

-- Events whose handler failed at every attempt. They wait for an operator.
CREATE TABLE event_parked (
  id codetext PRIMARY KEY,
  subscription codetext NOT NULL,
  event_id codetext NOT NULL,
  seq BIGINT NOT NULL,
  subject codetext NOT NULL,
  kind codetext NOT NULL,
  title TEXT NOT NULL,
  record_type codetext NOT NULL,
  record_id codetext NOT NULL,
  error TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  at codetext NOT NULL,
  payload TEXT NOT NULL
);
CREATE UNIQUE INDEX event_parked_event ON event_parked (subscription, event_id);
