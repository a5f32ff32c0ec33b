"""Seals over the log. The database itself makes them append-only, and accepts only one that continues the last."""

from django.db import migrations, models

SQLITE = """
CREATE TRIGGER eventlog_seal_no_update BEFORE UPDATE ON eventlog_seal
BEGIN SELECT RAISE(ABORT, 'seals are append-only: UPDATE refused'); END;

CREATE TRIGGER eventlog_seal_no_delete BEFORE DELETE ON eventlog_seal
BEGIN SELECT RAISE(ABORT, 'seals are append-only: DELETE refused'); END;

-- Also keeps REPLACE, which deletes without firing a DELETE trigger, from an earlier seal.
CREATE TRIGGER eventlog_seal_next_only BEFORE INSERT ON eventlog_seal
WHEN NEW.number <> 1 + coalesce((SELECT max(number) FROM eventlog_seal), 0)
BEGIN SELECT RAISE(ABORT, 'seals are append-only: only the next one fits'); END
"""

POSTGRESQL = """
CREATE TRIGGER eventlog_seal_no_change BEFORE UPDATE OR DELETE ON eventlog_seal
  FOR EACH ROW EXECUTE FUNCTION eventlog_refuse();
CREATE TRIGGER eventlog_seal_no_truncate BEFORE TRUNCATE ON eventlog_seal
  FOR EACH STATEMENT EXECUTE FUNCTION eventlog_refuse();

-- Of two sealers with the same last seal, the primary key refuses the later one.
CREATE FUNCTION eventlog_seal_next_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.number <> 1 + coalesce((SELECT max(number) FROM eventlog_seal), 0) THEN
    RAISE EXCEPTION 'seals are append-only: only the next one fits'
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER eventlog_seal_next_only BEFORE INSERT ON eventlog_seal
  FOR EACH ROW EXECUTE FUNCTION eventlog_seal_next_only()
"""


def guard(apps, schema_editor):
    statements = [POSTGRESQL] if schema_editor.connection.vendor == "postgresql" else SQLITE.split(";\n\n")
    for statement in statements:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("eventlog", "0003_job")]
    operations = [
        migrations.CreateModel(
            name="Seal",
            fields=[
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                ("after", models.BigIntegerField()),
                ("until", models.BigIntegerField()),
                ("gaps", models.JSONField()),
                ("events", models.PositiveIntegerField()),
                ("root", models.CharField(max_length=64)),
                ("previous", models.CharField(max_length=64)),
                ("sealed_at", models.DateTimeField()),
                ("digest", models.CharField(max_length=64)),
                ("signature", models.CharField(default="", max_length=88)),
                ("leaves", models.BinaryField()),
            ],
            options={"ordering": ["number"]},
        ),
        migrations.RunPython(guard, migrations.RunPython.noop),
    ]
