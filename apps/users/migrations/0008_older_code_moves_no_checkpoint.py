"""Older code, which knows no place in the log, cannot project or react any more.

It would set aside events that only newer code can read, leave new columns of the rows empty, and skip events of a log
that went back. It moves the position of a checkpoint and leaves the event there as it was, so the database refuses it.
On PostgreSQL it is also told that the data keys are elsewhere now.
"""

from django.db import migrations

SQLITE = """
CREATE TRIGGER users_checkpoint_with_its_event BEFORE UPDATE OF position ON users_checkpoint
WHEN NEW.position > OLD.position AND NEW.event_position < NEW.position
BEGIN SELECT RAISE(ABORT, 'an older version of the code may not follow the log any more'); END
"""

POSTGRESQL = """
CREATE FUNCTION public.users_refuse_older_code() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'an older version of the code may not follow the log any more'
    USING ERRCODE = 'object_not_in_prerequisite_state';
END $$;
CREATE TRIGGER users_checkpoint_with_its_event BEFORE UPDATE OF position ON public.users_checkpoint
  FOR EACH ROW WHEN (NEW.position > OLD.position AND NEW.event_position < NEW.position)
  EXECUTE FUNCTION public.users_refuse_older_code();

-- Older code looks here for the data keys. Without the table it would take the error for a fault of its own: 500. Its
-- statements are prepared, so the types must be those of the table.
CREATE FUNCTION public.users_keys_have_moved()
  RETURNS TABLE (subject uuid, wrapped bytea, wrapped_by varchar, destroyed_at timestamptz) LANGUAGE plpgsql
  SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'the data keys have moved, and an older version of the code may not use them any more'
    USING ERRCODE = 'object_not_in_prerequisite_state';
END $$;
CREATE VIEW public.users_personalkey AS
  SELECT subject, wrapped, wrapped_by::varchar(16) AS wrapped_by, destroyed_at
  FROM public.users_keys_have_moved();

REVOKE EXECUTE ON FUNCTION public.users_refuse_older_code(), public.users_keys_have_moved() FROM PUBLIC
"""


def guard(apps, schema_editor):
    postgresql = schema_editor.connection.vendor == "postgresql"
    schema_editor.execute(POSTGRESQL if postgresql else SQLITE, params=None)


def unguard(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION public.users_refuse_older_code, public.users_keys_have_moved CASCADE")
    else:
        schema_editor.execute("DROP TRIGGER users_checkpoint_with_its_event")


class Migration(migrations.Migration):
    dependencies = [("users", "0007_log_identity")]
    operations = [migrations.RunPython(guard, unguard)]
