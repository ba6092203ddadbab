-- What is stored: one row for each content, however many attachments show it.
CREATE TABLE file_blob (
  hash codetext PRIMARY KEY,
  object codetext NOT NULL,
  size BIGINT NOT NULL,
  mime codetext NOT NULL,
  width INTEGER NOT NULL,
  height INTEGER NOT NULL,
  thumbs BOOLEAN NOT NULL,
  taken_at codetext,
  longitude DOUBLE PRECISION,
  latitude DOUBLE PRECISION,
  hidden TEXT NOT NULL,
  print codetext NOT NULL,
  print0 INTEGER,
  print1 INTEGER,
  print2 INTEGER,
  print3 INTEGER,
  created_at codetext NOT NULL,
  used_at codetext NOT NULL
);
-- The four quarters of an image's fingerprint: two alike images share one quarter or differ in one bit of it.
CREATE INDEX file_blob_print0 ON file_blob (print0) WHERE print0 IS NOT NULL;
CREATE INDEX file_blob_print1 ON file_blob (print1) WHERE print1 IS NOT NULL;
CREATE INDEX file_blob_print2 ON file_blob (print2) WHERE print2 IS NOT NULL;
CREATE INDEX file_blob_print3 ON file_blob (print3) WHERE print3 IS NOT NULL;
CREATE INDEX file_blob_used ON file_blob (used_at);

-- Uploaded, not yet attached to a record.
CREATE TABLE file_upload (
  id codetext PRIMARY KEY,
  hash codetext NOT NULL,
  name TEXT NOT NULL,
  uploader codetext NOT NULL,
  created_at codetext NOT NULL,
  expires_at codetext NOT NULL
);
CREATE INDEX file_upload_hash ON file_upload (hash);
CREATE INDEX file_upload_uploader ON file_upload (uploader);
CREATE INDEX file_upload_expires ON file_upload (expires_at);

-- Attached to a record: a record itself.
CREATE TABLE file_attachment (
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
  name TEXT NOT NULL,
  hash codetext NOT NULL,
  size BIGINT NOT NULL,
  mime codetext NOT NULL,
  width INTEGER NOT NULL,
  height INTEGER NOT NULL,
  uploader codetext NOT NULL,
  uploader_name TEXT NOT NULL,
  uploaded_at codetext NOT NULL,
  state codetext NOT NULL,
  reason TEXT NOT NULL
);
CREATE INDEX file_attachment_record ON file_attachment (record_type, record_id, id);
CREATE INDEX file_attachment_hash ON file_attachment (hash);

-- Objects in the store that belong to no blob, and from when on they may be removed. A name is written here before the object is.
CREATE TABLE file_garbage (
  object codetext PRIMARY KEY,
  remove_after codetext NOT NULL
);
CREATE INDEX file_garbage_due ON file_garbage (remove_after);
