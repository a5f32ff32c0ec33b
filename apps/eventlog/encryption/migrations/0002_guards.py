"""A data key cannot be rebuilt, so the database itself keeps it.

It refuses to delete a key, to empty the table, to bring a destroyed key back, and to replace a key by anything but
a newer wrapping. To destroy one key is to set it to null.
"""

from django.db import migrations

SQLITE = """
CREATE TRIGGER keys_personalkey_no_delete BEFORE DELETE ON keys_personalkey
BEGIN SELECT RAISE(ABORT, 'data keys are kept: DELETE refused; to destroy one, set it to null'); END;

-- REPLACE deletes without firing a DELETE trigger, so what it would replace is refused here. A row also has a rowid,
-- by which it could be replaced.
CREATE TRIGGER keys_personalkey_no_replace BEFORE INSERT ON keys_personalkey
WHEN EXISTS (SELECT 1 FROM keys_personalkey WHERE subject = NEW.subject OR rowid = NEW.rowid)
BEGIN SELECT RAISE(ABORT, 'data keys are kept: REPLACE refused'); END;

CREATE TRIGGER keys_personalkey_no_revival BEFORE UPDATE ON keys_personalkey
WHEN OLD.wrapped IS NULL AND NEW.wrapped IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'the data key was destroyed, for this person was erased: it does not come back'); END;

CREATE TRIGGER keys_personalkey_no_change BEFORE UPDATE ON keys_personalkey
WHEN NEW.subject IS NOT OLD.subject OR NEW.rowid IS NOT OLD.rowid
  OR (OLD.wrapped IS NOT NULL AND NEW.wrapped IS NOT NULL AND NEW.rewraps <= OLD.rewraps
      AND (NEW.wrapped IS NOT OLD.wrapped OR NEW.wrapped_by IS NOT OLD.wrapped_by))
BEGIN SELECT RAISE(ABORT, 'data keys are kept: only a newer wrapping may replace one'); END
"""

POSTGRESQL = """
CREATE FUNCTION keys_refuse() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'data keys are kept: % refused; to destroy one, set it to null', TG_OP
    USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER keys_personalkey_no_delete BEFORE DELETE ON keys_personalkey
  FOR EACH ROW EXECUTE FUNCTION keys_refuse();
CREATE TRIGGER keys_personalkey_no_truncate BEFORE TRUNCATE ON keys_personalkey
  FOR EACH STATEMENT EXECUTE FUNCTION keys_refuse();

CREATE FUNCTION keys_refuse_change() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF OLD.wrapped IS NULL AND NEW.wrapped IS NOT NULL THEN
    RAISE EXCEPTION 'the data key of % was destroyed, for this person was erased: it does not come back', OLD.subject
      USING ERRCODE = 'integrity_constraint_violation';
  ELSIF NEW.subject <> OLD.subject OR (NEW.wrapped IS NOT NULL AND NEW.rewraps <= OLD.rewraps
      AND (NEW.wrapped IS DISTINCT FROM OLD.wrapped OR NEW.wrapped_by <> OLD.wrapped_by)) THEN
    RAISE EXCEPTION 'data keys are kept: only a newer wrapping may replace that of %', OLD.subject
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER keys_personalkey_no_change BEFORE UPDATE ON keys_personalkey
  FOR EACH ROW EXECUTE FUNCTION keys_refuse_change();

REVOKE EXECUTE ON FUNCTION keys_refuse(), keys_refuse_change() FROM PUBLIC
"""


def guard(apps, schema_editor):
    statements = [POSTGRESQL] if schema_editor.connection.vendor == "postgresql" else SQLITE.split(";\n\n")
    for statement in statements:
        schema_editor.execute(statement, params=None)


def unguard(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION keys_refuse, keys_refuse_change CASCADE")
        return
    for name in ("delete", "replace", "revival", "change"):
        schema_editor.execute(f"DROP TRIGGER keys_personalkey_no_{name}")


class Migration(migrations.Migration):
    dependencies = [("keys", "0001_data_keys")]
    operations = [migrations.RunPython(guard, unguard)]
