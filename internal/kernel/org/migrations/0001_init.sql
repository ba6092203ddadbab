-- Administrative divisions and functional zones, one row per code, with the period in which it was in force.
CREATE TABLE org_division (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  code codetext NOT NULL,
  name TEXT NOT NULL,
  level INTEGER NOT NULL,
  parent codetext NOT NULL,
  kind codetext NOT NULL,
  statistical BOOLEAN NOT NULL,
  valid_from codetext NOT NULL,
  valid_to codetext NOT NULL,
  successors TEXT NOT NULL,
  recoded BOOLEAN NOT NULL,
  former_names TEXT NOT NULL,
  basis TEXT NOT NULL,
  lon DOUBLE PRECISION,
  lat DOUBLE PRECISION
);
CREATE UNIQUE INDEX org_division_code ON org_division (code);

CREATE TABLE org_department (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  name TEXT NOT NULL,
  short_name TEXT NOT NULL,
  division codetext NOT NULL,
  kind codetext NOT NULL,
  parent_id codetext NOT NULL,
  successor_id codetext NOT NULL,
  valid_from codetext NOT NULL,
  valid_to codetext NOT NULL
);
CREATE INDEX org_department_division ON org_department (division);
CREATE UNIQUE INDEX org_department_name ON org_department (division, name) WHERE valid_to = '';

-- Which department supervises which line, where and when. line '*' is integrated supervision.
CREATE TABLE org_function (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  department_id codetext NOT NULL,
  line codetext NOT NULL,
  division codetext NOT NULL,
  valid_from codetext NOT NULL,
  valid_to codetext NOT NULL,
  basis TEXT NOT NULL
);
CREATE INDEX org_function_department ON org_function (department_id);
CREATE INDEX org_function_division ON org_function (division, line);
CREATE UNIQUE INDEX org_function_open ON org_function (department_id, line, division) WHERE valid_to = '';

CREATE TABLE org_person (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  name TEXT NOT NULL,
  phone codetext NOT NULL,
  citizen_number TEXT NOT NULL,
  citizen_mask TEXT NOT NULL,
  certificates TEXT NOT NULL
);
CREATE INDEX org_person_name ON org_person (name, id);
CREATE INDEX org_person_phone ON org_person (phone);

CREATE TABLE org_post (
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
  person_id codetext NOT NULL,
  role codetext NOT NULL,
  title TEXT NOT NULL,
  unit_kind codetext NOT NULL,
  unit_id codetext NOT NULL,
  unit_name TEXT NOT NULL,
  divisions TEXT NOT NULL,
  lines TEXT NOT NULL,
  grids TEXT NOT NULL,
  valid_from codetext NOT NULL,
  valid_to codetext NOT NULL
);
CREATE INDEX org_post_person ON org_post (person_id);
CREATE INDEX org_post_unit ON org_post (unit_id);
CREATE INDEX org_post_enterprise ON org_post (enterprise_id) WHERE enterprise_id <> '';
CREATE UNIQUE INDEX org_post_open ON org_post (person_id, role, unit_id) WHERE valid_to = '';

-- News for every process, see package changes.
CREATE TABLE org_revision (
  name codetext PRIMARY KEY,
  n BIGINT NOT NULL
);
INSERT INTO org_revision (name, n) VALUES ('change', 0);
CREATE TABLE org_change (
  n BIGINT PRIMARY KEY,
  subject codetext NOT NULL
);

-- Which shipped lists, for which roots, have been loaded to the end.
CREATE TABLE org_seeded (
  digest codetext PRIMARY KEY,
  at codetext NOT NULL
);
