CREATE TABLE grid_item (
  id codetext PRIMARY KEY, origin codetext NOT NULL, version BIGINT NOT NULL, created_at codetext NOT NULL, updated_at codetext NOT NULL,
  division codetext NOT NULL, province_code codetext NOT NULL, city_code codetext NOT NULL, county_code codetext NOT NULL,
  town_code codetext NOT NULL, village_code codetext NOT NULL, line codetext NOT NULL, enterprise_id codetext NOT NULL,
  code codetext NOT NULL,
  name TEXT NOT NULL,
  state codetext NOT NULL,
  area BIGINT NOT NULL,
  opened_on codetext NOT NULL,
  retired_on codetext NOT NULL,
  successor_id codetext NOT NULL,
  reason TEXT NOT NULL
);
CREATE UNIQUE INDEX grid_item_code ON grid_item (code);
CREATE INDEX grid_item_county ON grid_item (county_code, code);
CREATE INDEX grid_item_town ON grid_item (town_code, code);
CREATE INDEX grid_item_village ON grid_item (village_code, code);

CREATE TABLE grid_boundary (
  id codetext PRIMARY KEY, origin codetext NOT NULL, version BIGINT NOT NULL, created_at codetext NOT NULL, updated_at codetext NOT NULL,
  division codetext NOT NULL, province_code codetext NOT NULL, city_code codetext NOT NULL, county_code codetext NOT NULL,
  town_code codetext NOT NULL, village_code codetext NOT NULL, line codetext NOT NULL, enterprise_id codetext NOT NULL,
  grid_id codetext NOT NULL,
  shape TEXT NOT NULL,
  area BIGINT NOT NULL,
  min_lon DOUBLE PRECISION NOT NULL, min_lat DOUBLE PRECISION NOT NULL, max_lon DOUBLE PRECISION NOT NULL, max_lat DOUBLE PRECISION NOT NULL,
  valid_from codetext NOT NULL,
  valid_to codetext NOT NULL,
  reason TEXT NOT NULL
);
CREATE UNIQUE INDEX grid_boundary_open ON grid_boundary (grid_id) WHERE valid_to = '';
CREATE INDEX grid_boundary_grid ON grid_boundary (grid_id, valid_from);
CREATE INDEX grid_boundary_box ON grid_boundary (min_lon, max_lon, min_lat, max_lat);

-- Who is officer or deputy of a grid, from when to when.
CREATE TABLE grid_duty (
  id codetext PRIMARY KEY, origin codetext NOT NULL, version BIGINT NOT NULL, created_at codetext NOT NULL, updated_at codetext NOT NULL,
  division codetext NOT NULL, province_code codetext NOT NULL, city_code codetext NOT NULL, county_code codetext NOT NULL,
  town_code codetext NOT NULL, village_code codetext NOT NULL, line codetext NOT NULL, enterprise_id codetext NOT NULL,
  grid_id codetext NOT NULL,
  person_id codetext NOT NULL,
  person_name TEXT NOT NULL,
  kind codetext NOT NULL,
  valid_from codetext NOT NULL,
  valid_to codetext NOT NULL,
  reason TEXT NOT NULL
);
CREATE UNIQUE INDEX grid_duty_open ON grid_duty (grid_id, kind) WHERE valid_to = '';
CREATE INDEX grid_duty_person ON grid_duty (person_id, valid_from);
CREATE INDEX grid_duty_grid ON grid_duty (grid_id, kind, valid_from);

CREATE TABLE grid_absence (
  id codetext PRIMARY KEY, origin codetext NOT NULL, version BIGINT NOT NULL, created_at codetext NOT NULL, updated_at codetext NOT NULL,
  division codetext NOT NULL, province_code codetext NOT NULL, city_code codetext NOT NULL, county_code codetext NOT NULL,
  town_code codetext NOT NULL, village_code codetext NOT NULL, line codetext NOT NULL, enterprise_id codetext NOT NULL,
  grid_id codetext NOT NULL,
  person_id codetext NOT NULL,
  person_name TEXT NOT NULL,
  from_day codetext NOT NULL,
  to_day codetext NOT NULL,
  reason TEXT NOT NULL
);
CREATE INDEX grid_absence_person ON grid_absence (person_id, from_day);

-- What is patrolled: enterprises (copied from their module's events) and other places.
CREATE TABLE grid_place (
  id codetext PRIMARY KEY, origin codetext NOT NULL, version BIGINT NOT NULL, created_at codetext NOT NULL, updated_at codetext NOT NULL,
  division codetext NOT NULL, province_code codetext NOT NULL, city_code codetext NOT NULL, county_code codetext NOT NULL,
  town_code codetext NOT NULL, village_code codetext NOT NULL, line codetext NOT NULL, enterprise_id codetext NOT NULL,
  grid_id codetext NOT NULL,
  assigned codetext NOT NULL,
  assigned_on codetext NOT NULL,
  kind codetext NOT NULL,
  name TEXT NOT NULL,
  address TEXT NOT NULL,
  class codetext NOT NULL,
  grade codetext NOT NULL,
  every codetext NOT NULL,
  every_reason TEXT NOT NULL,
  lon DOUBLE PRECISION, lat DOUBLE PRECISION,
  state codetext NOT NULL,
  source_version BIGINT NOT NULL
);
-- An enterprise lies in at most one grid.
CREATE UNIQUE INDEX grid_place_enterprise ON grid_place (enterprise_id) WHERE enterprise_id <> '';
CREATE INDEX grid_place_grid ON grid_place (grid_id, name, id);
CREATE INDEX grid_place_county ON grid_place (county_code, name, id);
CREATE INDEX grid_place_town ON grid_place (town_code, name, id);
CREATE INDEX grid_place_village ON grid_place (village_code, name, id);

-- One patrol that is owed to a place in a period.
CREATE TABLE grid_task (
  id codetext PRIMARY KEY, origin codetext NOT NULL, version BIGINT NOT NULL, created_at codetext NOT NULL, updated_at codetext NOT NULL,
  division codetext NOT NULL, province_code codetext NOT NULL, city_code codetext NOT NULL, county_code codetext NOT NULL,
  town_code codetext NOT NULL, village_code codetext NOT NULL, line codetext NOT NULL, enterprise_id codetext NOT NULL,
  grid_id codetext NOT NULL,
  first_grid_id codetext NOT NULL,
  site_id codetext NOT NULL,
  site_name TEXT NOT NULL,
  site_kind codetext NOT NULL,
  officer_id codetext NOT NULL,
  officer_name TEXT NOT NULL,
  period codetext NOT NULL,
  from_day codetext NOT NULL,
  to_day codetext NOT NULL,
  due_at codetext NOT NULL,
  clause TEXT NOT NULL,
  policy_id codetext NOT NULL,
  state codetext NOT NULL,
  done_at codetext,
  arrived_at codetext,
  late_arrival BOOLEAN NOT NULL,
  proof codetext NOT NULL,
  patrol_id codetext NOT NULL,
  visit_id codetext NOT NULL,
  reason TEXT NOT NULL
);
CREATE UNIQUE INDEX grid_task_once ON grid_task (site_id, period);
CREATE INDEX grid_task_officer ON grid_task (officer_id, state, due_at);
CREATE INDEX grid_task_grid ON grid_task (grid_id, state, due_at);
CREATE INDEX grid_task_county ON grid_task (county_code, due_at, id);
CREATE INDEX grid_task_town ON grid_task (town_code, due_at, id);
CREATE INDEX grid_task_village ON grid_task (village_code, due_at, id);

CREATE TABLE grid_patrol (
  id codetext PRIMARY KEY, origin codetext NOT NULL, version BIGINT NOT NULL, created_at codetext NOT NULL, updated_at codetext NOT NULL,
  division codetext NOT NULL, province_code codetext NOT NULL, city_code codetext NOT NULL, county_code codetext NOT NULL,
  town_code codetext NOT NULL, village_code codetext NOT NULL, line codetext NOT NULL, enterprise_id codetext NOT NULL,
  grid_id codetext NOT NULL,
  grid_name TEXT NOT NULL,
  officer_id codetext NOT NULL,
  officer_name TEXT NOT NULL,
  state codetext NOT NULL,
  started_at codetext NOT NULL,
  start_received codetext NOT NULL,
  finished_at codetext,
  received_at codetext,
  skew BIGINT,
  track TEXT NOT NULL,
  track_hash codetext NOT NULL,
  track_points INTEGER NOT NULL,
  track_dropped INTEGER NOT NULL,
  track_jumps INTEGER NOT NULL,
  metres INTEGER NOT NULL,
  minutes INTEGER NOT NULL,
  visits INTEGER NOT NULL,
  photos TEXT NOT NULL,
  note TEXT NOT NULL,
  digest codetext NOT NULL
);
CREATE INDEX grid_patrol_officer ON grid_patrol (officer_id, started_at);
CREATE INDEX grid_patrol_grid ON grid_patrol (grid_id, started_at);
CREATE INDEX grid_patrol_county ON grid_patrol (county_code, started_at, id);
CREATE INDEX grid_patrol_town ON grid_patrol (town_code, started_at, id);
CREATE INDEX grid_patrol_village ON grid_patrol (village_code, started_at, id);
CREATE INDEX grid_patrol_open ON grid_patrol (start_received) WHERE state = 'started';

CREATE TABLE grid_visit (
  id codetext PRIMARY KEY, origin codetext NOT NULL, version BIGINT NOT NULL, created_at codetext NOT NULL, updated_at codetext NOT NULL,
  division codetext NOT NULL, province_code codetext NOT NULL, city_code codetext NOT NULL, county_code codetext NOT NULL,
  town_code codetext NOT NULL, village_code codetext NOT NULL, line codetext NOT NULL, enterprise_id codetext NOT NULL,
  patrol_id codetext NOT NULL,
  grid_id codetext NOT NULL,
  site_id codetext NOT NULL,
  site_name TEXT NOT NULL,
  officer_id codetext NOT NULL,
  officer_name TEXT NOT NULL,
  arrived_at codetext NOT NULL,
  left_at codetext NOT NULL,
  received_at codetext NOT NULL,
  reckoned_at codetext NOT NULL,
  result codetext NOT NULL,
  note TEXT NOT NULL,
  proof codetext NOT NULL,
  distance INTEGER,
  confirmed_by TEXT NOT NULL,
  reason TEXT NOT NULL,
  photos TEXT NOT NULL
);
CREATE INDEX grid_visit_patrol ON grid_visit (patrol_id, arrived_at);
CREATE INDEX grid_visit_site ON grid_visit (site_id, reckoned_at);
CREATE INDEX grid_visit_grid ON grid_visit (grid_id, reckoned_at);
CREATE INDEX grid_visit_town ON grid_visit (town_code, reckoned_at);

CREATE TABLE grid_action (
  id codetext PRIMARY KEY, origin codetext NOT NULL, version BIGINT NOT NULL, created_at codetext NOT NULL, updated_at codetext NOT NULL,
  division codetext NOT NULL, province_code codetext NOT NULL, city_code codetext NOT NULL, county_code codetext NOT NULL,
  town_code codetext NOT NULL, village_code codetext NOT NULL, line codetext NOT NULL, enterprise_id codetext NOT NULL,
  grid_id codetext NOT NULL,
  patrol_id codetext NOT NULL,
  site_id codetext NOT NULL,
  target TEXT NOT NULL,
  duty codetext NOT NULL,
  what TEXT NOT NULL,
  result codetext NOT NULL,
  serious BOOLEAN NOT NULL,
  at codetext NOT NULL,
  received_at codetext NOT NULL,
  position TEXT NOT NULL,
  officer_id codetext NOT NULL,
  officer_name TEXT NOT NULL,
  audience INTEGER NOT NULL,
  materials TEXT NOT NULL,
  photos TEXT NOT NULL,
  danger_id codetext NOT NULL,
  state codetext NOT NULL,
  acknowledged_at codetext,
  acknowledged_by TEXT NOT NULL,
  opinion TEXT NOT NULL,
  digest codetext NOT NULL
);
CREATE INDEX grid_action_patrol ON grid_action (patrol_id, at);
CREATE INDEX grid_action_grid ON grid_action (grid_id, at);
CREATE INDEX grid_action_officer ON grid_action (officer_id, at);
CREATE INDEX grid_action_danger ON grid_action (danger_id) WHERE danger_id <> '';
CREATE INDEX grid_action_county ON grid_action (county_code, at, id);
CREATE INDEX grid_action_town ON grid_action (town_code, at, id);
CREATE INDEX grid_action_village ON grid_action (village_code, at, id);
