"""An append may depend on another stream: nobody appends to that one before the transaction ends.

Each append takes a lock on its own stream, and whoever depends on a stream takes a shared one. Without it, an append
that was begun before could take an earlier position and become visible later: the log would say that it was known. The
lock costs an append some microseconds. It has two numbers, and in-flight marks have one, so followers do not see it.

An import locks the table, so whoever depends on a stream also locks the table as an append does.
"""

from django.db import migrations

POSTGRESQL = """
CREATE FUNCTION public.eventlog_hold(p_stream text) RETURNS integer LANGUAGE plpgsql
  SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  LOCK TABLE public.eventlog_event IN ROW EXCLUSIVE MODE;
  PERFORM pg_advisory_xact_lock_shared(18502, hashtext(p_stream));
  RETURN coalesce((SELECT max(e.stream_version) FROM public.eventlog_event e WHERE e.stream = p_stream), 0);
END $$;

CREATE OR REPLACE FUNCTION public.eventlog_append_events_alone(
    p_stream text, p_expected integer, p_events jsonb, p_metadata jsonb)
  RETURNS TABLE (outcome text, positions bigint[], last_version integer, taken uuid)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  mark text;
  latest timestamptz;
  correlation text := p_metadata ->> 'correlation_id';
  correlation_key uuid;
BEGIN
  -- A text of 1000 characters has at most 500 levels and 1000 digits, which every reader takes.
  IF octet_length(p_metadata::text) > 1000 THEN
    PERFORM public.eventlog_require_readable(p_metadata);
  END IF;
  IF octet_length(p_events::text) > 1000 THEN
    PERFORM public.eventlog_require_readable(event -> 'data') FROM jsonb_array_elements(p_events) AS event
      WHERE octet_length((event -> 'data')::text) > 1000;
  END IF;
  -- Whoever holds this stream (see eventlog_hold) ends first; nobody who waits here has a mark, or a position.
  PERFORM pg_advisory_xact_lock(18502, hashtext(p_stream));
  -- The mark is a lock on the last position taken so far; see eventlog_mark.
  SELECT pg_advisory_xact_lock_shared((18501::bigint << 48) | seq.last_value), e.stream_version, e.recorded_at
    INTO mark, last_version, latest
    FROM public.eventlog_event_position_seq seq LEFT JOIN LATERAL (
      SELECT stream_version, recorded_at FROM public.eventlog_event WHERE stream = p_stream
      ORDER BY stream_version DESC LIMIT 1) e ON true;
  last_version := coalesce(last_version, 0);
  IF (p_expected >= 0 AND last_version <> p_expected) OR (p_expected = -2 AND last_version = 0) THEN
    RETURN QUERY SELECT * FROM public.eventlog_not_appended(p_stream, p_events);
    RETURN;
  END IF;
  -- Later than the append before in this stream, whatever the clock says.
  latest := greatest(clock_timestamp(), latest + interval '1 microsecond');
  -- A correlation id is any text; the column holds a UUID, made of another text as `columns.correlation_key` does.
  correlation_key := CASE WHEN correlation ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN correlation::uuid
                     ELSE md5(correlation)::uuid END;
  WITH written AS (
    INSERT INTO public.eventlog_event (event_id, stream, stream_version, category, type, schema_version,
                                       data, metadata, correlation_id, recorded_at)
    SELECT (event ->> 'event_id')::uuid, p_stream, last_version + nr, split_part(p_stream, '-', 1),
           event ->> 'type', (event ->> 'schema_version')::smallint, event -> 'data', p_metadata,
           correlation_key, latest
    FROM jsonb_array_elements(p_events) WITH ORDINALITY AS _ (event, nr) ORDER BY nr
    RETURNING position)
  SELECT array_agg(position ORDER BY position) INTO positions FROM written;
  outcome := 'appended';
  last_version := last_version + jsonb_array_length(p_events);
  RETURN NEXT;
END $$
"""


def replace(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL, params=None)


class Migration(migrations.Migration):
    dependencies = [("eventlog", "0018_form_of_reservations")]
    operations = [migrations.RunPython(replace, migrations.RunPython.noop)]
