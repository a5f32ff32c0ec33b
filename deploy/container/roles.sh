#!/bin/sh
# Roles, databases, grants, and the passwords of the roles. Before `migrate`, and again after it.
# SUPERUSER_URL is where psql connects; the passwords are OWNER_PASSWORD, SEALER_PASSWORD and APPLICATION_PASSWORD.
set -eu
python manage.py print_roles | psql --no-psqlrc --quiet --output=/dev/null "$SUPERUSER_URL"
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 "$SUPERUSER_URL" <<'SQL'
\getenv application APPLICATION_PASSWORD
\getenv owner OWNER_PASSWORD
\getenv sealer SEALER_PASSWORD
SELECT format('ALTER ROLE %I PASSWORD %L', rolname, CASE rolname WHEN 'headrace_eventlog_owner' THEN :'owner'
              WHEN 'headrace_sealer' THEN :'sealer' ELSE :'application' END)
FROM pg_roles WHERE rolname LIKE 'headrace\_%' \gexec
SQL
