"""Appends on PostgreSQL answer with all their positions, and recognise nothing but the same append.

The events of one append have one instant, which is later than that of the append before in their stream. So an append
that is sent again is the same if its ids are all events of one instant, in the same order and with the same content. A
part of an append, or two appends as one, are not the same.

The functions have new names, because older code may call the old ones while it is being replaced.
"""

from django.db import migrations, models

POSTGRESQL = """
-- A correlation id is any text; the column holds a UUID, which this makes of another text (`columns.correlation_key`).
CREATE FUNCTION public.eventlog_correlation(p_text text) RETURNS uuid LANGUAGE sql IMMUTABLE
  SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT CASE WHEN p_text ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN p_text::uuid ELSE md5(p_text)::uuid END
$$;

CREATE FUNCTION public.eventlog_not_appended(p_stream text, p_events jsonb)
  RETURNS TABLE (outcome text, positions bigint[], last_version integer, taken uuid) LANGUAGE plpgsql
  SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  known integer;
  same boolean;
  instant timestamptz;
  instants integer;
BEGIN
  SELECT count(*), array_agg(e.position ORDER BY nr), max(e.stream_version), min(e.recorded_at),
         count(DISTINCT e.recorded_at), (array_agg(e.event_id ORDER BY nr))[1],
         bool_and(e.stream = p_stream AND e.type = event ->> 'type'
                  AND e.schema_version = (event ->> 'schema_version')::integer AND e.data = event -> 'data')
         AND array_agg(e.stream_version ORDER BY nr) = array_agg(e.stream_version ORDER BY e.stream_version)
    INTO known, positions, last_version, instant, instants, taken, same
    FROM jsonb_array_elements(p_events) WITH ORDINALITY AS _ (event, nr)
    JOIN public.eventlog_event e ON e.event_id = (event ->> 'event_id')::uuid;
  IF known = 0 THEN
    outcome := 'conflict';
    positions := '{}';
    SELECT coalesce(max(e.stream_version), 0) INTO last_version FROM public.eventlog_event e
      WHERE e.stream = p_stream;
  ELSIF same AND known = jsonb_array_length(p_events) AND (known = 1 OR instants = 1) AND known = (
      SELECT count(*) FROM public.eventlog_event e WHERE e.stream = p_stream AND e.recorded_at = instant) THEN
    outcome := 'repeated';
    taken := NULL;
  ELSE
    outcome := 'taken';
  END IF;
  RETURN NEXT;
END $$;

-- p_expected is the version that the stream must have; -1 for any, -2 for any but 0.
CREATE FUNCTION public.eventlog_append_events_alone(
    p_stream text, p_expected integer, p_events jsonb, p_metadata jsonb)
  RETURNS TABLE (outcome text, positions bigint[], last_version integer, taken uuid)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  mark text;
  latest timestamptz;
BEGIN
  IF octet_length(p_events::text) > 2000 OR octet_length(p_metadata::text) > 2000 THEN
    PERFORM public.eventlog_require_readable(p_metadata);
    PERFORM public.eventlog_require_readable(event -> 'data') FROM jsonb_array_elements(p_events) AS event;
  END IF;
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
  WITH written AS (
    INSERT INTO public.eventlog_event (event_id, stream, stream_version, category, type, schema_version,
                                       data, metadata, correlation_id, recorded_at)
    SELECT (event ->> 'event_id')::uuid, p_stream, last_version + nr, split_part(p_stream, '-', 1),
           event ->> 'type', (event ->> 'schema_version')::smallint, event -> 'data', p_metadata,
           public.eventlog_correlation(p_metadata ->> 'correlation_id'), latest
    FROM jsonb_array_elements(p_events) WITH ORDINALITY AS _ (event, nr) ORDER BY nr
    RETURNING position)
  SELECT array_agg(position ORDER BY position) INTO positions FROM written;
  outcome := 'appended';
  last_version := last_version + jsonb_array_length(p_events);
  RETURN NEXT;
END $$;

CREATE FUNCTION public.eventlog_append_events(p_stream text, p_expected integer, p_events jsonb, p_metadata jsonb)
  RETURNS TABLE (outcome text, positions bigint[], last_version integer, taken uuid)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT * FROM public.eventlog_append_events_alone(p_stream, p_expected, p_events, p_metadata);
EXCEPTION WHEN unique_violation THEN
  RETURN QUERY SELECT * FROM public.eventlog_not_appended(p_stream, p_events);
END $$;

REVOKE EXECUTE ON FUNCTION public.eventlog_correlation(text), public.eventlog_not_appended(text, jsonb) FROM PUBLIC;

-- The owner imports by statements of its own.
DROP FUNCTION public.eventlog_import(jsonb)
"""


def replace(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL, params=None)


class Migration(migrations.Migration):
    dependencies = [("eventlog", "0012_may_run_jobs")]
    operations = [
        migrations.RunPython(replace, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name="reservation",
            index=models.Index(fields=["stream"], name="eventlog_reservation_stream"),
        ),
    ]
