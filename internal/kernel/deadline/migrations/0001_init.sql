-- Two numbers: "master" grows with every edit of calendar and rules; "recomputed" is the master by which all running items were last judged.
CREATE TABLE deadline_state (
  name codetext PRIMARY KEY,
  version BIGINT NOT NULL
);
INSERT INTO deadline_state (name, version) VALUES ('master', 0), ('recomputed', 0);

-- Dates that differ from the plain week.
CREATE TABLE deadline_day (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  date codetext NOT NULL,
  kind codetext NOT NULL,
  name TEXT NOT NULL,
  source TEXT NOT NULL,
  notice INTEGER NOT NULL
);
CREATE UNIQUE INDEX deadline_day_date ON deadline_day (origin, date);

-- Years whose notice is in the calendar.
CREATE TABLE deadline_year (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  year INTEGER NOT NULL,
  source TEXT NOT NULL
);
CREATE UNIQUE INDEX deadline_year_year ON deadline_year (origin, year);

-- Dated editions of the rules.
CREATE TABLE deadline_rule (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  number INTEGER NOT NULL,
  rule_key codetext NOT NULL,
  title TEXT NOT NULL,
  clause TEXT NOT NULL,
  mark codetext NOT NULL,
  amount INTEGER NOT NULL,
  unit codetext NOT NULL,
  no_roll BOOLEAN NOT NULL,
  ladder TEXT NOT NULL,
  max_extensions INTEGER NOT NULL,
  max_extension INTEGER NOT NULL,
  effective_from codetext NOT NULL,
  effective_to codetext NOT NULL
);
CREATE UNIQUE INDEX deadline_rule_number ON deadline_rule (origin, rule_key, number);

-- The deadlines.
CREATE TABLE deadline_item (
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
  record_type codetext NOT NULL,
  record_id codetext NOT NULL,
  slot codetext NOT NULL,
  title TEXT NOT NULL,
  responsible_id codetext NOT NULL,
  responsible_name TEXT NOT NULL,
  rule_key codetext NOT NULL,
  rule_number INTEGER NOT NULL,
  clause TEXT NOT NULL,
  amount INTEGER NOT NULL,
  unit codetext NOT NULL,
  no_roll BOOLEAN NOT NULL,
  start_at codetext NOT NULL,
  until_at codetext,
  ladder TEXT,
  adjustments TEXT,
  state codetext NOT NULL,
  due_at codetext NOT NULL,
  due_day codetext NOT NULL,
  provisional BOOLEAN NOT NULL,
  ended_at codetext,
  rung INTEGER NOT NULL,
  next_at codetext,
  escalated_to codetext NOT NULL
);
-- One running deadline for a record and slot.
CREATE UNIQUE INDEX deadline_item_running ON deadline_item (record_type, record_id, slot) WHERE state IN ('open', 'paused');
CREATE INDEX deadline_item_record ON deadline_item (record_type, record_id, id);
-- The sweep, and the walk over all running items.
CREATE INDEX deadline_item_next ON deadline_item (origin, next_at, id) WHERE next_at IS NOT NULL;
CREATE INDEX deadline_item_walk ON deadline_item (origin, id) WHERE state IN ('open', 'paused');
-- Lists.
CREATE INDEX deadline_item_county ON deadline_item (county_code, state, due_at, id);
CREATE INDEX deadline_item_town ON deadline_item (town_code, state, due_at, id);
CREATE INDEX deadline_item_enterprise ON deadline_item (enterprise_id, state, due_at, id);
CREATE INDEX deadline_item_responsible ON deadline_item (responsible_id, state, due_at, id);
CREATE INDEX deadline_item_due ON deadline_item (state, due_at, id);
