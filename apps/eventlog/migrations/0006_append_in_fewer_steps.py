"""Append in fewer steps on PostgreSQL: one look at the log and one INSERT, with a subtransaction only if necessary.

If an append is a transaction of its own (`eventlog_append_alone`), a failure may end the transaction. So it takes no
subtransaction, and one transaction id instead of two. `eventlog_append` does the same inside a larger transaction.
That transaction must survive a lost race, so this one takes a subtransaction; then it tells an append that was
repeated from one that came too late.
"""

from django.db import migrations

POSTGRESQL = """
CREATE FUNCTION eventlog_refusal(p_stream text, p_events jsonb)
  RETURNS TABLE (outcome text, last_position bigint, last_version integer) LANGUAGE plpgsql AS $$
DECLARE
  known integer;
  same integer;
BEGIN
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

CREATE FUNCTION eventlog_append_alone(p_stream text, p_expected integer, p_events jsonb, p_metadata jsonb)
  RETURNS TABLE (outcome text, last_position bigint, last_version integer)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  mark text;
  latest timestamptz;
BEGIN
  -- The mark is a lock on the last position taken so far; see eventlog_mark. A stream's clock never goes back.
  SELECT pg_advisory_xact_lock_shared((18501::bigint << 48) | seq.last_value), e.stream_version, e.recorded_at
    INTO mark, last_version, latest
    FROM eventlog_event_position_seq seq LEFT JOIN LATERAL (
      SELECT stream_version, recorded_at FROM eventlog_event WHERE stream = p_stream
      ORDER BY stream_version DESC LIMIT 1) e ON true;
  IF coalesce(last_version, 0) <> p_expected THEN
    RETURN QUERY SELECT * FROM eventlog_refusal(p_stream, p_events);
    RETURN;
  END IF;
  INSERT INTO eventlog_event (event_id, stream, stream_version, category, type, schema_version,
                              data, metadata, correlation_id, recorded_at)
  SELECT (event ->> 'event_id')::uuid, p_stream, p_expected + nr, split_part(p_stream, '-', 1),
         event ->> 'type', (event ->> 'schema_version')::smallint, event -> 'data', p_metadata,
         (p_metadata ->> 'correlation_id')::uuid, greatest(clock_timestamp(), latest)
  FROM jsonb_array_elements(p_events) WITH ORDINALITY AS _ (event, nr) ORDER BY nr;
  outcome := 'appended';
  last_position := currval('eventlog_event_position_seq');
  last_version := p_expected + jsonb_array_length(p_events);
  RETURN NEXT;
END $$;

CREATE OR REPLACE FUNCTION eventlog_append(p_stream text, p_expected integer, p_events jsonb, p_metadata jsonb)
  RETURNS TABLE (outcome text, last_position bigint, last_version integer)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  RETURN QUERY SELECT * FROM eventlog_append_alone(p_stream, p_expected, p_events, p_metadata);
EXCEPTION WHEN unique_violation THEN
  RETURN QUERY SELECT * FROM eventlog_refusal(p_stream, p_events);
END $$
"""


def replace(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL, params=None)


class Migration(migrations.Migration):
    dependencies = [("eventlog", "0005_personal_keys")]
    operations = [migrations.RunPython(replace, migrations.RunPython.noop)]
