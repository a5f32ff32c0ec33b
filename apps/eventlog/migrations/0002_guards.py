"""The database itself makes the log append-only. On PostgreSQL, functions write to it and find the safe position.

In-flight marks (PostgreSQL): a writer takes a position before its commit, so a position can become visible after a
higher one. So a writer first sets a mark, which is a shared advisory lock on the last position taken before its own,
and keeps it until its transaction ends. A reader goes no further than the smallest mark.
`docs/adr/0002-in-flight-marks.md` says why no event is missed.
"""

from django.db import migrations

SQLITE = """
CREATE TRIGGER eventlog_event_no_update BEFORE UPDATE ON eventlog_event
BEGIN SELECT RAISE(ABORT, 'the event log is append-only: UPDATE refused'); END;

CREATE TRIGGER eventlog_event_no_delete BEFORE DELETE ON eventlog_event
BEGIN SELECT RAISE(ABORT, 'the event log is append-only: DELETE refused'); END;

-- REPLACE deletes without firing a DELETE trigger, so what it would replace is refused here;
-- so is an event that would not be the next of its stream and of the log.
CREATE TRIGGER eventlog_event_next_only BEFORE INSERT ON eventlog_event
WHEN NEW.position <= (SELECT coalesce(max(position), 0) FROM eventlog_event)
  OR EXISTS (SELECT 1 FROM eventlog_event WHERE event_id = NEW.event_id)
  OR NEW.stream_version <> 1 + coalesce(
       (SELECT max(stream_version) FROM eventlog_event WHERE stream = NEW.stream), 0)
BEGIN SELECT RAISE(ABORT, 'the event log is append-only: only the next event fits'); END
"""

POSTGRESQL = """
-- Byte order, so that the streams of a category are one range of the index.
ALTER TABLE eventlog_event ALTER COLUMN stream TYPE varchar(200) COLLATE "C";

ALTER TABLE eventlog_event ALTER COLUMN position SET GENERATED ALWAYS SET MINVALUE 0 SET CACHE 1;
SELECT setval(pg_get_serial_sequence('eventlog_event', 'position'), 0);

CREATE FUNCTION eventlog_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the event log is append-only: % refused', TG_OP;
END $$;
CREATE TRIGGER eventlog_event_no_change BEFORE UPDATE OR DELETE ON eventlog_event
  FOR EACH ROW EXECUTE FUNCTION eventlog_refuse();
CREATE TRIGGER eventlog_event_no_truncate BEFORE TRUNCATE ON eventlog_event
  FOR EACH STATEMENT EXECUTE FUNCTION eventlog_refuse();

-- 0x4845 ("HE") in the upper 16 bits tells these marks from other advisory locks.
CREATE FUNCTION eventlog_mark() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  low bigint;
BEGIN
  SELECT last_value INTO low FROM eventlog_event_position_seq;
  PERFORM pg_advisory_xact_lock_shared((18501::bigint << 48) | low);
END $$;

CREATE FUNCTION eventlog_safe_position() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
  SET search_path FROM CURRENT AS $$
DECLARE
  high bigint;
  low bigint;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'following the event log needs READ COMMITTED: an older snapshot would hide events';
  END IF;
  SELECT last_value INTO high FROM eventlog_event_position_seq;
  SELECT min(((classid::bigint & 65535) << 32) | objid::bigint) INTO low FROM pg_locks
  WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = 18501
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND pid <> pg_backend_pid();
  RETURN least(high, low);
END $$;

CREATE FUNCTION eventlog_append(p_stream text, p_expected integer, p_events jsonb, p_metadata jsonb)
  RETURNS TABLE (outcome text, last_position bigint, last_version integer)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  current_version integer;
  latest timestamptz;
  known integer;
  same integer;
BEGIN
  PERFORM eventlog_mark();
  SELECT e.stream_version INTO current_version FROM eventlog_event e
    WHERE e.stream = p_stream ORDER BY e.stream_version DESC LIMIT 1;
  current_version := coalesce(current_version, 0);
  IF current_version = p_expected THEN
    -- Never earlier than the newest visible event, so the log's order and its clock agree.
    SELECT e.recorded_at INTO latest FROM eventlog_event e ORDER BY e.position DESC LIMIT 1;
    BEGIN
      INSERT INTO eventlog_event (event_id, stream, stream_version, category, type, schema_version,
                                  data, metadata, correlation_id, recorded_at)
      SELECT (event ->> 'event_id')::uuid, p_stream, p_expected + nr, split_part(p_stream, '-', 1),
             event ->> 'type', (event ->> 'schema_version')::smallint, event -> 'data', p_metadata,
             (p_metadata ->> 'correlation_id')::uuid, greatest(clock_timestamp(), latest)
      FROM jsonb_array_elements(p_events) WITH ORDINALITY AS _ (event, nr) ORDER BY nr;
      RETURN QUERY SELECT 'appended', currval('eventlog_event_position_seq'),
                          p_expected + jsonb_array_length(p_events);
      RETURN;
    EXCEPTION WHEN unique_violation THEN
      NULL;  -- a repeat, or somebody else was faster: told apart below
    END;
  END IF;
  SELECT count(*),
         count(*) FILTER (WHERE e.stream = p_stream AND e.type = event ->> 'type' AND e.data = event -> 'data'),
         max(e.position), max(e.stream_version)
    INTO known, same, last_position, last_version
    FROM jsonb_array_elements(p_events) AS event JOIN eventlog_event e ON e.event_id = (event ->> 'event_id')::uuid;
  IF known > 0 THEN
    outcome := CASE WHEN same = jsonb_array_length(p_events) THEN 'repeated' ELSE 'taken' END;
  ELSE
    outcome := 'conflict';
    SELECT coalesce(max(e.stream_version), 0) INTO last_version FROM eventlog_event e WHERE e.stream = p_stream;
  END IF;
  RETURN NEXT;
END $$;

-- For the owner only: writes recorded events with their own positions, writers waiting meanwhile.
CREATE FUNCTION eventlog_import(p_events jsonb, OUT written integer, OUT low bigint, OUT head bigint)
  LANGUAGE plpgsql AS $$
DECLARE
  event jsonb;
BEGIN
  LOCK TABLE eventlog_event IN SHARE ROW EXCLUSIVE MODE;
  PERFORM eventlog_mark();
  SELECT last_value INTO low FROM eventlog_event_position_seq;
  written := 0;
  head := low;
  FOR event IN SELECT * FROM jsonb_array_elements(p_events) LOOP
    CONTINUE WHEN EXISTS (SELECT 1 FROM eventlog_event WHERE event_id = (event ->> 'event_id')::uuid);
    IF (event ->> 'stream_version')::integer <> 1 + coalesce(
         (SELECT max(stream_version) FROM eventlog_event WHERE stream = event ->> 'stream'), 0) THEN
      RAISE EXCEPTION 'the event log is append-only: only the next event fits (% version %)',
        event ->> 'stream', event ->> 'stream_version' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    head := greatest(head + 1, (event ->> 'position')::bigint);
    INSERT INTO eventlog_event (position, event_id, stream, stream_version, category, type, schema_version,
                                data, metadata, correlation_id, recorded_at)
    OVERRIDING SYSTEM VALUE
    VALUES (head, (event ->> 'event_id')::uuid, event ->> 'stream', (event ->> 'stream_version')::integer,
            split_part(event ->> 'stream', '-', 1), event ->> 'type', (event ->> 'schema_version')::smallint,
            event -> 'data', event -> 'metadata', (event -> 'metadata' ->> 'correlation_id')::uuid,
            (event ->> 'recorded_at')::timestamptz);
    written := written + 1;
  END LOOP;
  PERFORM setval('eventlog_event_position_seq', head);
END $$;

REVOKE EXECUTE ON FUNCTION eventlog_import(jsonb) FROM PUBLIC
"""


def guard(apps, schema_editor):
    statements = [POSTGRESQL] if schema_editor.connection.vendor == "postgresql" else SQLITE.split(";\n\n")
    for statement in statements:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("eventlog", "0001_log")]
    operations = [migrations.RunPython(guard, migrations.RunPython.noop)]
