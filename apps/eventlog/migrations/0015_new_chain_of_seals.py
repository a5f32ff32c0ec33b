"""A seal with a reason begins a new chain at the beginning of the log: the log went back, and an operator says so.

It still continues the seal before it by its number and by its digest, so nobody can begin anew unseen. Whether the log
went back, the database cannot check: it knows the hashes of events, but not how to compute them.
"""

from django.db import migrations, models

SQLITE_BEFORE = """
DROP TRIGGER eventlog_seal_no_update;

DROP TRIGGER eventlog_seal_no_delete;

DROP TRIGGER eventlog_seal_next_only
"""

SQLITE = """
CREATE TRIGGER eventlog_seal_no_update BEFORE UPDATE ON eventlog_seal
BEGIN SELECT RAISE(ABORT, 'seals are append-only: UPDATE refused'); END;

CREATE TRIGGER eventlog_seal_no_delete BEFORE DELETE ON eventlog_seal
BEGIN SELECT RAISE(ABORT, 'seals are append-only: DELETE refused'); END;

-- Also keeps REPLACE, which deletes without firing a DELETE trigger, from an earlier seal.
CREATE TRIGGER eventlog_seal_next_only BEFORE INSERT ON eventlog_seal
BEGIN SELECT CASE
WHEN NEW.number <> 1 + coalesce((SELECT max(number) FROM eventlog_seal), 0)
  THEN RAISE(ABORT, 'seals are append-only: only the next one fits')
WHEN NEW.reason <> '' AND NEW.number = 1
  THEN RAISE(ABORT, 'the first chain of seals needs no reason')
WHEN NEW.after <> CASE WHEN NEW.reason <> '' THEN 0
                  ELSE coalesce((SELECT until FROM eventlog_seal ORDER BY number DESC LIMIT 1), 0) END
  OR NEW.previous <> coalesce((SELECT digest FROM eventlog_seal ORDER BY number DESC LIMIT 1), hex(zeroblob(32)))
  THEN RAISE(ABORT, 'seals are append-only: each continues the one before')
WHEN typeof(NEW.until) <> 'integer' OR NEW.until <= NEW.after
  OR NEW.until > (SELECT coalesce(max(position), 0) FROM eventlog_event)
  THEN RAISE(ABORT, 'a seal goes on, and no further than the log is safe to read')
WHEN NOT EXISTS (SELECT 1 FROM eventlog_event WHERE position = NEW.until)
  OR NEW.events <> (SELECT count(*) FROM eventlog_event WHERE position > NEW.after AND position <= NEW.until)
  OR json(NEW.gaps) <> (
    SELECT json_group_array(json_array(before + 1, position - 1)) FROM (
      SELECT position, lag(position, 1, NEW.after) OVER (ORDER BY position) AS before
      FROM eventlog_event WHERE position > NEW.after AND position <= NEW.until)
    WHERE position > before + 1)
  THEN RAISE(ABORT, 'a seal counts the events and the gaps that are there')
WHEN typeof(NEW.leaves) <> 'blob' OR length(NEW.leaves) <> 32 * NEW.events
  OR length(NEW.root) <> 64 OR NEW.root GLOB '*[^0-9a-f]*'
  OR length(NEW.digest) <> 64 OR NEW.digest GLOB '*[^0-9a-f]*'
  OR (NEW.signature <> '' AND (length(NEW.signature) <> 88 OR substr(NEW.signature, 87) <> '=='
                               OR substr(NEW.signature, 1, 86) GLOB '*[^A-Za-z0-9+/]*'))
  OR coalesce(abs(julianday(NEW.sealed_at) - julianday('now')) > 1, 1)
  THEN RAISE(ABORT, 'a seal has hashes, a signature and an instant of the right form')
END; END
"""

POSTGRESQL = """
CREATE OR REPLACE FUNCTION public.eventlog_seal_next_only() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  last_number bigint;
  last_until bigint;
  last_digest text;
  there bigint;
  end_there bigint;
  gaps_there jsonb;
BEGIN
  -- Of two sealers with the same last seal, the primary key refuses the later one.
  SELECT number, until, digest INTO last_number, last_until, last_digest
    FROM public.eventlog_seal ORDER BY number DESC LIMIT 1;
  IF NEW.number <> 1 + coalesce(last_number, 0) THEN
    RAISE EXCEPTION 'seals are append-only: only the next one fits' USING ERRCODE = 'integrity_constraint_violation';
  ELSIF NEW.reason <> '' AND last_number IS NULL THEN
    RAISE EXCEPTION 'the first chain of seals needs no reason' USING ERRCODE = 'integrity_constraint_violation';
  ELSIF NEW.after <> (CASE WHEN NEW.reason <> '' THEN 0 ELSE coalesce(last_until, 0) END)
      OR NEW.previous <> coalesce(last_digest, repeat('0', 64)) THEN
    RAISE EXCEPTION 'seals are append-only: each continues the one before'
      USING ERRCODE = 'integrity_constraint_violation';
  ELSIF NEW.until <= NEW.after OR NEW.until > public.eventlog_safe_position() THEN
    -- A code of its own: a writer may hold the safe position back for a moment, after the sealer has looked.
    RAISE EXCEPTION 'a seal goes on, and no further than the log is safe to read'
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  SELECT count(*), max(position), coalesce(jsonb_agg(jsonb_build_array(before + 1, position - 1) ORDER BY position)
                                           FILTER (WHERE position > before + 1), '[]')
    INTO there, end_there, gaps_there
    FROM (SELECT position, lag(position, 1, NEW.after) OVER (ORDER BY position) AS before
          FROM public.eventlog_event WHERE position > NEW.after AND position <= NEW.until) e;
  IF NEW.until <> coalesce(end_there, 0) OR NEW.events <> there OR NEW.gaps <> gaps_there THEN
    RAISE EXCEPTION 'a seal counts the events and the gaps that are there'
      USING ERRCODE = 'integrity_constraint_violation';
  ELSIF octet_length(NEW.leaves) <> 32 * NEW.events OR NEW.root !~ '^[0-9a-f]{64}$'
      OR NEW.digest !~ '^[0-9a-f]{64}$' OR NEW.signature !~ '^([A-Za-z0-9+/]{86}==)?$'
      OR NEW.sealed_at NOT BETWEEN now() - interval '1 day' AND now() + interval '1 day' THEN
    RAISE EXCEPTION 'a seal has hashes, a signature and an instant of the right form'
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;

-- A sealer of the version before sends no reason.
CREATE OR REPLACE FUNCTION public.eventlog_seal_next(p_seal jsonb) RETURNS void LANGUAGE sql SECURITY DEFINER
  SET search_path = pg_catalog, public, pg_temp AS $$
  INSERT INTO public.eventlog_seal
    SELECT * FROM jsonb_populate_record(NULL::public.eventlog_seal, jsonb_build_object('reason', '') || p_seal)
$$
"""


def _run(schema_editor, sqlite, postgresql):
    statements = [postgresql] if schema_editor.connection.vendor == "postgresql" else sqlite.split(";\n\n")
    for statement in filter(None, statements):
        schema_editor.execute(statement, params=None)


def lift(apps, schema_editor):
    """On SQLite a new column makes a new table, and the triggers of the old one would be gone."""
    _run(schema_editor, SQLITE_BEFORE, "")


def guard(apps, schema_editor):
    _run(schema_editor, SQLITE, POSTGRESQL)


class Migration(migrations.Migration):
    dependencies = [("eventlog", "0014_log_identity")]
    operations = [
        migrations.RunPython(lift, migrations.RunPython.noop),
        migrations.AddField("seal", "reason", models.CharField(max_length=500, default="", db_default="")),
        migrations.RunPython(guard, migrations.RunPython.noop),
    ]
