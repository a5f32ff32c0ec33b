"""Older code, which knows no place in the log, cannot project or react any more.

It would set aside events that only newer code can read, leave new columns of the rows empty, and skip events of a log
that went back. It moves the position of a checkpoint and leaves the event there as it was, so the database refuses it.
"""

from django.db import migrations

SQLITE = """
CREATE TRIGGER orders_checkpoint_with_its_event BEFORE UPDATE OF position ON orders_checkpoint
WHEN NEW.position > OLD.position AND NEW.event_position < NEW.position
BEGIN SELECT RAISE(ABORT, 'an older version of the code may not follow the log any more'); END
"""

POSTGRESQL = """
CREATE FUNCTION public.orders_refuse_older_code() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'an older version of the code may not follow the log any more'
    USING ERRCODE = 'object_not_in_prerequisite_state';
END $$;
CREATE TRIGGER orders_checkpoint_with_its_event BEFORE UPDATE OF position ON public.orders_checkpoint
  FOR EACH ROW WHEN (NEW.position > OLD.position AND NEW.event_position < NEW.position)
  EXECUTE FUNCTION public.orders_refuse_older_code();

REVOKE EXECUTE ON FUNCTION public.orders_refuse_older_code() FROM PUBLIC
"""


def guard(apps, schema_editor):
    postgresql = schema_editor.connection.vendor == "postgresql"
    schema_editor.execute(POSTGRESQL if postgresql else SQLITE, params=None)


def unguard(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION public.orders_refuse_older_code CASCADE")
    else:
        schema_editor.execute("DROP TRIGGER orders_checkpoint_with_its_event")


class Migration(migrations.Migration):
    dependencies = [("orders", "0003_log_identity")]
    operations = [migrations.RunPython(guard, unguard)]
