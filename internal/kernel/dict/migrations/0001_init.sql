-- Code tables. One row for each code and period; nothing is deleted, so that an old record keeps its label.
CREATE TABLE dict_item (
  id codetext PRIMARY KEY,
  origin codetext NOT NULL,
  version BIGINT NOT NULL,
  created_at codetext NOT NULL,
  updated_at codetext NOT NULL,
  kind codetext NOT NULL,
  code codetext NOT NULL,
  parent codetext NOT NULL,
  label TEXT NOT NULL,
  sort INTEGER NOT NULL,
  effective_from codetext NOT NULL,
  effective_to codetext NOT NULL,
  clause TEXT NOT NULL,
  mark codetext NOT NULL,
  extra TEXT NOT NULL,
  active BOOLEAN NOT NULL,
  shipped codetext NOT NULL
);
CREATE UNIQUE INDEX dict_item_code ON dict_item (origin, kind, code, effective_from);
-- The sum of versions tells cheaply whether anything has changed: every write adds at least one.
CREATE INDEX dict_item_version ON dict_item (origin, version);
