"""A reservation says in which form its value is, and the database refuses one in an older form than its scope has.

Two versions of the code may compare values differently. If both reserved side by side, two streams could hold what is
one value to the newer version. From here on, code from before this migration cannot reserve at all.
"""

from django.db import migrations, models

# RAISE would be an IntegrityError, which is a 500 in older code. A function that fails is an OperationalError, which is
# a 503 with Retry-After, so the client comes again and may meet a newer process. It must depend on the row, or SQLite
# would call it for every row.
SQLITE = """
CREATE TRIGGER eventlog_reservation_no_older_form BEFORE INSERT ON eventlog_reservation
WHEN NEW.form < max(1, (SELECT coalesce(max(form), 0) FROM eventlog_reservation WHERE scope = NEW.scope))
BEGIN SELECT json_extract('{}', 'an older version of the code may not reserve any more: ' || NEW.scope); END
"""

POSTGRESQL = """
CREATE FUNCTION public.eventlog_refuse_older_form() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF NEW.form < greatest(1, (SELECT max(form) FROM public.eventlog_reservation WHERE scope = NEW.scope)) THEN
    RAISE EXCEPTION 'an older version of the code may not reserve any more: %', NEW.scope
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER eventlog_reservation_no_older_form BEFORE INSERT ON public.eventlog_reservation
  FOR EACH ROW EXECUTE FUNCTION public.eventlog_refuse_older_form();

REVOKE EXECUTE ON FUNCTION public.eventlog_refuse_older_form() FROM PUBLIC
"""


def guard(apps, schema_editor):
    postgresql = schema_editor.connection.vendor == "postgresql"
    schema_editor.execute(POSTGRESQL if postgresql else SQLITE, params=None)


def unguard(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION public.eventlog_refuse_older_form CASCADE")
    else:
        schema_editor.execute("DROP TRIGGER eventlog_reservation_no_older_form")


class Migration(migrations.Migration):
    dependencies = [("eventlog", "0016_quicker_appends")]
    operations = [
        migrations.AddField(
            model_name="reservation",
            name="form",
            field=models.PositiveSmallIntegerField(
                db_default=0,
                help_text="the version of the form of the value; 0 is that of code from before this column",
            ),
        ),
        migrations.AddIndex(
            model_name="reservation",
            index=models.Index(fields=["scope", "form"], name="eventlog_reservation_form"),
        ),
        migrations.RunPython(guard, unguard),
    ]
