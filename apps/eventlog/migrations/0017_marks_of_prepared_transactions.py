"""Followers wait for the mark of a prepared transaction too.

`PREPARE TRANSACTION` hands the locks of a session over to a transaction that no process holds. `pg_locks` then has no
process id for them, and a comparison with NULL left these marks out: followers passed the events of that transaction.
"""

from django.db import migrations

POSTGRESQL = """
CREATE OR REPLACE FUNCTION public.eventlog_safe_place(OUT "position" bigint, OUT event_id uuid)
  RETURNS SETOF record ROWS 1 LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  high bigint;
  low bigint;
BEGIN
  IF pg_catalog.pg_is_in_recovery() THEN
    RAISE EXCEPTION 'the safe position of the event log is known to its primary alone, and this server is a standby'
      USING ERRCODE = 'read_only_sql_transaction';
  END IF;
  IF pg_catalog.current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'following the event log needs READ COMMITTED: an older snapshot would hide events';
  END IF;
  SELECT last_value INTO high FROM public.eventlog_event_position_seq;
  SELECT min(((classid::bigint & 65535) << 32) | objid::bigint) INTO low FROM pg_catalog.pg_locks
  WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = 18501
    AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
    AND pid IS DISTINCT FROM pg_catalog.pg_backend_pid();
  RETURN QUERY SELECT e.position, e.event_id FROM public.eventlog_event e WHERE e.position <= least(high, low)
    ORDER BY e.position DESC LIMIT 1;
END $$
"""


def wait_for_them(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL, params=None)


class Migration(migrations.Migration):
    dependencies = [("eventlog", "0016_quicker_appends")]
    operations = [migrations.RunPython(wait_for_them, migrations.RunPython.noop)]
