-- Enterprises 生产经营单位: one row is one file 一企一档.
CREATE TABLE enterprise_item (
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
  state codetext NOT NULL,
  state_reason TEXT NOT NULL,
  name TEXT NOT NULL,
  name_key codetext NOT NULL,
  short_name TEXT NOT NULL,
  former_names TEXT NOT NULL,
  id_kind codetext NOT NULL,
  uscc codetext NOT NULL,
  number codetext NOT NULL,
  no_uscc_reason TEXT NOT NULL,
  kind codetext NOT NULL,
  industry codetext NOT NULL,
  line_reason TEXT NOT NULL,
  scale codetext NOT NULL,
  registered_address TEXT NOT NULL,
  address TEXT NOT NULL,
  lon DOUBLE PRECISION,
  lat DOUBLE PRECISION,
  given_crs codetext NOT NULL,
  employees INTEGER NOT NULL,
  people TEXT NOT NULL,
  hazards TEXT NOT NULL,
  class codetext NOT NULL,
  grade codetext NOT NULL,
  grading TEXT NOT NULL,
  departments TEXT NOT NULL,
  merged_into codetext NOT NULL,
  source codetext NOT NULL,
  import_id codetext NOT NULL,
  demo BOOLEAN NOT NULL
);
-- One enterprise, one record at each node; what was merged or withdrawn keeps its code.
CREATE UNIQUE INDEX enterprise_item_uscc ON enterprise_item (uscc, origin) WHERE uscc <> '' AND state NOT IN ('merged', 'withdrawn');
CREATE INDEX enterprise_item_number ON enterprise_item (number) WHERE number <> '';
CREATE INDEX enterprise_item_import ON enterprise_item (import_id) WHERE import_id <> '';
CREATE INDEX enterprise_item_enterprise ON enterprise_item (enterprise_id);
CREATE INDEX enterprise_item_similar ON enterprise_item (county_code, name_key);
-- A page of a province or city is soon filled from the newest of all; one of a county or town is not.
CREATE INDEX enterprise_item_newest ON enterprise_item (updated_at, id);
CREATE INDEX enterprise_item_county ON enterprise_item (county_code, updated_at, id);
CREATE INDEX enterprise_item_town ON enterprise_item (town_code, updated_at, id);
CREATE INDEX enterprise_item_village ON enterprise_item (village_code, updated_at, id) WHERE village_code <> '';

-- The last platform number given to an enterprise without a credit code at this node.
CREATE TABLE enterprise_number (
  node codetext PRIMARY KEY,
  last BIGINT NOT NULL
);
