"""On PostgreSQL, the safe position is always the position of an event.

Before, it could be a position that a rolled back append had taken. No commit makes such a position durable, so after a
crash the server can give it to the next event. A follower that has already stored this position, in another database
or in a browser, would never see that event.
"""

from django.db import migrations

POSTGRESQL = """
CREATE OR REPLACE FUNCTION eventlog_safe_position() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
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
  RETURN coalesce((SELECT max(position) FROM eventlog_event WHERE position <= least(high, low)), 0);
END $$
"""


def guard(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL, params=None)


class Migration(migrations.Migration):
    dependencies = [("eventlog", "0006_append_in_fewer_steps")]
    operations = [migrations.RunPython(guard, migrations.RunPython.noop)]
