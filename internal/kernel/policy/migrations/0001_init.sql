CREATE TABLE policy_version (
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
  name codetext NOT NULL,
  effective_from codetext NOT NULL,
  basis TEXT NOT NULL,
  value TEXT NOT NULL
);
CREATE INDEX policy_version_name ON policy_version (name, division, effective_from);
