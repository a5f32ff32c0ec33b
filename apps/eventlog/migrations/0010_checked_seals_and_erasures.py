"""Only a seal that continues the last over what is there, and an erasure that the log tells of, can be written.

The database checks both, whoever writes them. On PostgreSQL the application's role writes them through functions and
has no INSERT; sealing is for a role of its own.
"""

from django.db import migrations

SQLITE = """
DROP TRIGGER eventlog_seal_next_only;

-- Also keeps REPLACE, which deletes without firing a DELETE trigger, from an earlier seal.
CREATE TRIGGER eventlog_seal_next_only BEFORE INSERT ON eventlog_seal
BEGIN SELECT CASE
WHEN NEW.number <> 1 + coalesce((SELECT max(number) FROM eventlog_seal), 0)
  THEN RAISE(ABORT, 'seals are append-only: only the next one fits')
WHEN NEW.after <> coalesce((SELECT until FROM eventlog_seal ORDER BY number DESC LIMIT 1), 0)
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
END; END;

CREATE TRIGGER eventlog_erasure_told_of BEFORE INSERT ON eventlog_erasure
WHEN NOT EXISTS (
  SELECT 1 FROM eventlog_event e WHERE e.position = NEW.position AND (
    replace(lower(substr(e.stream, instr(e.stream, '-') + 1)), '-', '') = NEW.subject
    OR EXISTS (SELECT 1 FROM json_each(e.data) WHERE replace(lower(value), '-', '') = NEW.subject)))
BEGIN SELECT RAISE(ABORT, 'an erasure stands at an event of its person'); END;

-- What REPLACE would replace is refused here.
CREATE TRIGGER eventlog_erasure_once BEFORE INSERT ON eventlog_erasure
WHEN EXISTS (SELECT 1 FROM eventlog_erasure WHERE subject = NEW.subject)
BEGIN SELECT RAISE(ABORT, 'erasures are append-only: this person is erased'); END;

CREATE TRIGGER eventlog_erasure_no_update BEFORE UPDATE ON eventlog_erasure
BEGIN SELECT RAISE(ABORT, 'erasures are append-only: UPDATE refused'); END;

CREATE TRIGGER eventlog_erasure_no_delete BEFORE DELETE ON eventlog_erasure
BEGIN SELECT RAISE(ABORT, 'erasures are append-only: DELETE refused'); END
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
  ELSIF NEW.after <> coalesce(last_until, 0) OR NEW.previous <> coalesce(last_digest, repeat('0', 64)) THEN
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

-- For the sealer's role: a seal as a JSON object of the table's columns, its leaves as \\x and hexadecimal digits.
CREATE FUNCTION public.eventlog_seal_next(p_seal jsonb) RETURNS void LANGUAGE sql SECURITY DEFINER
  SET search_path = pg_catalog, public, pg_temp AS $$
  INSERT INTO public.eventlog_seal SELECT * FROM jsonb_populate_record(NULL::public.eventlog_seal, p_seal)
$$;

CREATE FUNCTION public.eventlog_erasure_told_of() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF NOT EXISTS (
    SELECT FROM public.eventlog_event e WHERE e.position = NEW.position AND (
      replace(lower(substr(e.stream, strpos(e.stream, '-') + 1)), '-', '') = replace(NEW.subject::text, '-', '')
      OR jsonb_path_exists(e.data, '$.* ? (@ == $subject)', jsonb_build_object('subject', NEW.subject)))) THEN
    RAISE EXCEPTION 'an erasure stands at an event of its person' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER eventlog_erasure_told_of BEFORE INSERT ON public.eventlog_erasure
  FOR EACH ROW EXECUTE FUNCTION public.eventlog_erasure_told_of();
CREATE TRIGGER eventlog_erasure_no_change BEFORE UPDATE OR DELETE ON public.eventlog_erasure
  FOR EACH ROW EXECUTE FUNCTION public.eventlog_refuse();
CREATE TRIGGER eventlog_erasure_no_truncate BEFORE TRUNCATE ON public.eventlog_erasure
  FOR EACH STATEMENT EXECUTE FUNCTION public.eventlog_refuse();

-- Safe to repeat: the first one stands.
CREATE FUNCTION public.eventlog_erase(p_subject uuid, p_position bigint) RETURNS void LANGUAGE sql SECURITY DEFINER
  SET search_path = pg_catalog, public, pg_temp AS $$
  INSERT INTO public.eventlog_erasure (subject, position, carried_out_at) VALUES (p_subject, p_position, now())
  ON CONFLICT (subject) DO NOTHING
$$;

REVOKE EXECUTE ON FUNCTION public.eventlog_seal_next(jsonb), public.eventlog_erasure_told_of() FROM PUBLIC
"""


def check(apps, schema_editor):
    statements = [POSTGRESQL] if schema_editor.connection.vendor == "postgresql" else SQLITE.split(";\n\n")
    for statement in statements:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("eventlog", "0009_pinned_search_path")]
    operations = [migrations.RunPython(check, migrations.RunPython.noop)]
