"""Every function of the log on PostgreSQL says itself where its names are looked up.

A function that runs with the owner's rights looked its names up on the caller's path, and a path that does not name
`pg_temp` begins with it. So a temporary table with the name of ours stood in its place, and a trigger on it ran as
the owner. Now each path is pinned with `pg_temp` at its end, and every name says its schema. Functions that only the
owner or another function calls cannot be called by others.
"""

from django.db import migrations

POSTGRESQL = """
CREATE OR REPLACE FUNCTION public.eventlog_refuse() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'the event log is append-only: % refused', TG_OP;
END $$;

-- 0x4845 ("HE") in the upper 16 bits tells these marks from other advisory locks.
CREATE OR REPLACE FUNCTION public.eventlog_mark() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  low bigint;
BEGIN
  SELECT last_value INTO low FROM public.eventlog_event_position_seq;
  PERFORM pg_catalog.pg_advisory_xact_lock_shared((18501::bigint << 48) | low);
END $$;

CREATE OR REPLACE FUNCTION public.eventlog_safe_position() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  high bigint;
  low bigint;
BEGIN
  IF pg_catalog.current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'following the event log needs READ COMMITTED: an older snapshot would hide events';
  END IF;
  SELECT last_value INTO high FROM public.eventlog_event_position_seq;
  SELECT min(((classid::bigint & 65535) << 32) | objid::bigint) INTO low FROM pg_catalog.pg_locks
  WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = 18501
    AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
    AND pid <> pg_catalog.pg_backend_pid();
  RETURN coalesce((SELECT max(position) FROM public.eventlog_event WHERE position <= least(high, low)), 0);
END $$;

CREATE OR REPLACE FUNCTION public.eventlog_refusal(p_stream text, p_events jsonb)
  RETURNS TABLE (outcome text, last_position bigint, last_version integer) LANGUAGE plpgsql
  SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  known integer;
  same integer;
BEGIN
  SELECT count(*),
         count(*) FILTER (WHERE e.stream = p_stream AND e.type = event ->> 'type' AND e.data = event -> 'data'),
         max(e.position), max(e.stream_version)
    INTO known, same, last_position, last_version
    FROM pg_catalog.jsonb_array_elements(p_events) AS event
    JOIN public.eventlog_event e ON e.event_id = (event ->> 'event_id')::uuid;
  IF known > 0 THEN
    outcome := CASE WHEN same = pg_catalog.jsonb_array_length(p_events) THEN 'repeated' ELSE 'taken' END;
  ELSE
    outcome := 'conflict';
    SELECT coalesce(max(e.stream_version), 0) INTO last_version FROM public.eventlog_event e
      WHERE e.stream = p_stream;
  END IF;
  RETURN NEXT;
END $$;

CREATE OR REPLACE FUNCTION public.eventlog_append_alone(
    p_stream text, p_expected integer, p_events jsonb, p_metadata jsonb)
  RETURNS TABLE (outcome text, last_position bigint, last_version integer)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  mark text;
  latest timestamptz;
BEGIN
  -- The mark is a lock on the last position taken so far; see eventlog_mark. A stream's clock never goes back.
  SELECT pg_catalog.pg_advisory_xact_lock_shared((18501::bigint << 48) | seq.last_value),
         e.stream_version, e.recorded_at
    INTO mark, last_version, latest
    FROM public.eventlog_event_position_seq seq LEFT JOIN LATERAL (
      SELECT stream_version, recorded_at FROM public.eventlog_event WHERE stream = p_stream
      ORDER BY stream_version DESC LIMIT 1) e ON true;
  IF coalesce(last_version, 0) <> p_expected THEN
    RETURN QUERY SELECT * FROM public.eventlog_refusal(p_stream, p_events);
    RETURN;
  END IF;
  INSERT INTO public.eventlog_event (event_id, stream, stream_version, category, type, schema_version,
                                     data, metadata, correlation_id, recorded_at)
  SELECT (event ->> 'event_id')::uuid, p_stream, p_expected + nr, pg_catalog.split_part(p_stream, '-', 1),
         event ->> 'type', (event ->> 'schema_version')::smallint, event -> 'data', p_metadata,
         (p_metadata ->> 'correlation_id')::uuid, greatest(pg_catalog.clock_timestamp(), latest)
  FROM pg_catalog.jsonb_array_elements(p_events) WITH ORDINALITY AS _ (event, nr) ORDER BY nr;
  outcome := 'appended';
  last_position := pg_catalog.currval('public.eventlog_event_position_seq');
  last_version := p_expected + pg_catalog.jsonb_array_length(p_events);
  RETURN NEXT;
END $$;

CREATE OR REPLACE FUNCTION public.eventlog_append(p_stream text, p_expected integer, p_events jsonb, p_metadata jsonb)
  RETURNS TABLE (outcome text, last_position bigint, last_version integer)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT * FROM public.eventlog_append_alone(p_stream, p_expected, p_events, p_metadata);
EXCEPTION WHEN unique_violation THEN
  RETURN QUERY SELECT * FROM public.eventlog_refusal(p_stream, p_events);
END $$;

-- For the owner only: writes recorded events with their own positions, writers waiting meanwhile.
CREATE OR REPLACE FUNCTION public.eventlog_import(
    p_events jsonb, OUT written integer, OUT low bigint, OUT head bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  event jsonb;
BEGIN
  LOCK TABLE public.eventlog_event IN SHARE ROW EXCLUSIVE MODE;
  PERFORM public.eventlog_mark();
  SELECT last_value INTO low FROM public.eventlog_event_position_seq;
  written := 0;
  head := low;
  FOR event IN SELECT * FROM pg_catalog.jsonb_array_elements(p_events) LOOP
    CONTINUE WHEN EXISTS (SELECT 1 FROM public.eventlog_event WHERE event_id = (event ->> 'event_id')::uuid);
    IF (event ->> 'stream_version')::integer <> 1 + coalesce(
         (SELECT max(stream_version) FROM public.eventlog_event WHERE stream = event ->> 'stream'), 0) THEN
      RAISE EXCEPTION 'the event log is append-only: only the next event fits (% version %)',
        event ->> 'stream', event ->> 'stream_version' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    head := greatest(head + 1, (event ->> 'position')::bigint);
    INSERT INTO public.eventlog_event (position, event_id, stream, stream_version, category, type, schema_version,
                                       data, metadata, correlation_id, recorded_at)
    OVERRIDING SYSTEM VALUE
    VALUES (head, (event ->> 'event_id')::uuid, event ->> 'stream', (event ->> 'stream_version')::integer,
            pg_catalog.split_part(event ->> 'stream', '-', 1), event ->> 'type',
            (event ->> 'schema_version')::smallint,
            event -> 'data', event -> 'metadata', (event -> 'metadata' ->> 'correlation_id')::uuid,
            (event ->> 'recorded_at')::timestamptz);
    written := written + 1;
  END LOOP;
  PERFORM pg_catalog.setval('public.eventlog_event_position_seq', head);
END $$;

CREATE OR REPLACE FUNCTION public.eventlog_seal_next_only() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF NEW.number <> 1 + coalesce((SELECT max(number) FROM public.eventlog_seal), 0) THEN
    RAISE EXCEPTION 'seals are append-only: only the next one fits'
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;

REVOKE EXECUTE ON FUNCTION
  public.eventlog_refuse(), public.eventlog_mark(), public.eventlog_refusal(text, jsonb),
  public.eventlog_import(jsonb), public.eventlog_seal_next_only() FROM PUBLIC
"""


def pin(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL, params=None)


class Migration(migrations.Migration):
    dependencies = [("eventlog", "0008_imported")]
    operations = [migrations.RunPython(pin, migrations.RunPython.noop)]
