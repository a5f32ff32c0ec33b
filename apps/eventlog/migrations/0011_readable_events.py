"""On PostgreSQL an append refuses an event that no reader could read, for it would stop sealing for good.

JSON may be nested, and numbers be long, beyond what Python takes; so a role that may append could keep everything that
comes later from being sealed. A short text can hold neither, so most appends are not searched: the look at its length
takes 1 % of an append without fsync, where a CHECK constraint took 25 %.
"""

from django.db import migrations

POSTGRESQL = """
CREATE FUNCTION public.eventlog_require_readable(p_value jsonb) RETURNS void LANGUAGE plpgsql
  SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF octet_length(p_value::text) > 2097152 OR jsonb_path_exists(p_value, '$.**{100 to last}')
      OR jsonb_path_exists(p_value, '$.** ? (@.type() == "number" && (@ >= 1e4000 || @ <= -1e4000))') THEN
    RAISE EXCEPTION 'an event takes at most 2 MiB, 99 levels of JSON, and numbers of 4000 digits'
      USING ERRCODE = 'data_exception';
  END IF;
END $$;

CREATE OR REPLACE FUNCTION public.eventlog_append_alone(
    p_stream text, p_expected integer, p_events jsonb, p_metadata jsonb)
  RETURNS TABLE (outcome text, last_position bigint, last_version integer)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  mark text;
  latest timestamptz;
BEGIN
  IF octet_length(p_events::text) > 2000 OR octet_length(p_metadata::text) > 2000 THEN
    PERFORM public.eventlog_require_readable(p_metadata);
    PERFORM public.eventlog_require_readable(event -> 'data') FROM jsonb_array_elements(p_events) AS event;
  END IF;
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

REVOKE EXECUTE ON FUNCTION public.eventlog_require_readable(jsonb) FROM PUBLIC
"""


def refuse(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL, params=None)


class Migration(migrations.Migration):
    dependencies = [("eventlog", "0010_checked_seals_and_erasures")]
    operations = [migrations.RunPython(refuse, migrations.RunPython.noop)]
