CREATE TABLE hiddendanger_item (
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
  no codetext NOT NULL,
  title TEXT NOT NULL,
  description TEXT NOT NULL,
  category codetext NOT NULL,
  location TEXT NOT NULL,
  lon DOUBLE PRECISION NOT NULL,
  lat DOUBLE PRECISION NOT NULL,
  source codetext NOT NULL,
  level codetext NOT NULL,
  state codetext NOT NULL,
  enterprise_name TEXT NOT NULL,
  link_type codetext NOT NULL,
  link_id codetext NOT NULL,
  found_at codetext NOT NULL,
  found_by TEXT NOT NULL,
  found_by_id codetext NOT NULL,
  repeat_of codetext NOT NULL,
  repeat_count INTEGER NOT NULL,
  policy_id codetext NOT NULL,
  due_at codetext,
  provisional BOOLEAN NOT NULL,
  escalated_to codetext NOT NULL,
  closed_at codetext,
  rectified_by codetext NOT NULL,
  verified_by codetext NOT NULL,
  listed codetext NOT NULL,
  suspended BOOLEAN NOT NULL,
  ownerless BOOLEAN NOT NULL,
  disclosed BOOLEAN NOT NULL,
  detail TEXT NOT NULL,
  -- 谁整改、谁不得验收: not even a mistake of the program can write it.
  CHECK (verified_by = '' OR verified_by <> rectified_by)
);
-- One index per level of the tree: (level, order) and (level, state, order). See docs/performance.md for what each serves.
CREATE INDEX hiddendanger_item_county_found ON hiddendanger_item (county_code, found_at, id);
CREATE INDEX hiddendanger_item_county_state ON hiddendanger_item (county_code, state, found_at, id);
CREATE INDEX hiddendanger_item_county_due ON hiddendanger_item (county_code, state, due_at);
CREATE INDEX hiddendanger_item_town_found ON hiddendanger_item (town_code, found_at, id);
CREATE INDEX hiddendanger_item_town_state ON hiddendanger_item (town_code, state, found_at, id);
CREATE INDEX hiddendanger_item_village_found ON hiddendanger_item (village_code, found_at, id);
CREATE INDEX hiddendanger_item_city_found ON hiddendanger_item (city_code, found_at, id);
CREATE INDEX hiddendanger_item_enterprise ON hiddendanger_item (enterprise_id, found_at, id);
CREATE UNIQUE INDEX hiddendanger_item_no ON hiddendanger_item (no, origin);
-- For repetitions: the same place and kind.
CREATE INDEX hiddendanger_item_repeat ON hiddendanger_item (enterprise_id, category, location, found_at);
CREATE INDEX hiddendanger_item_link ON hiddendanger_item (link_type, link_id);

CREATE TABLE hiddendanger_number (
  place codetext NOT NULL,
  year INTEGER NOT NULL,
  last INTEGER NOT NULL,
  PRIMARY KEY (place, year)
);

CREATE TABLE hiddendanger_checklist (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  code codetext NOT NULL,
  edition INTEGER NOT NULL,
  title TEXT NOT NULL,
  line codetext NOT NULL,
  basis TEXT NOT NULL,
  effective_from codetext NOT NULL,
  effective_to codetext NOT NULL,
  state codetext NOT NULL,
  items TEXT NOT NULL
);
CREATE UNIQUE INDEX hiddendanger_checklist_edition ON hiddendanger_checklist (code, edition, origin);

CREATE TABLE hiddendanger_check (
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
  enterprise_name TEXT NOT NULL,
  list_id codetext NOT NULL,
  list_code codetext NOT NULL,
  list_title TEXT NOT NULL,
  period codetext NOT NULL,
  due_at codetext NOT NULL,
  state codetext NOT NULL,
  done_at codetext,
  done_by TEXT NOT NULL,
  findings INTEGER NOT NULL,
  answers TEXT
);
CREATE UNIQUE INDEX hiddendanger_check_period ON hiddendanger_check (enterprise_id, list_code, period);
CREATE INDEX hiddendanger_check_county ON hiddendanger_check (county_code, state, due_at, id);
CREATE INDEX hiddendanger_check_town ON hiddendanger_check (town_code, state, due_at, id);
CREATE INDEX hiddendanger_check_due ON hiddendanger_check (state, due_at);

CREATE TABLE hiddendanger_bulletin (
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
  no TEXT NOT NULL,
  title TEXT NOT NULL,
  period_from codetext NOT NULL,
  period_to codetext NOT NULL,
  dangers INTEGER NOT NULL,
  lines TEXT,
  remark TEXT NOT NULL
);
CREATE INDEX hiddendanger_bulletin_county ON hiddendanger_bulletin (county_code, created_at, id);
