-- One role and one database a service: run once, as a superuser, in any database of the cluster.
-- Then set passwords (ALTER ROLE ... PASSWORD ...) and run `manage.py migrate` with
--   DEFAULT_DATABASE_URL  as headrace_default
--   KEYS_DATABASE_URL     as headrace_keys
--   USERS_DATABASE_URL    as headrace_users
--   ORDERS_DATABASE_URL   as headrace_orders
--   EVENTLOG_DATABASE_URL as headrace_eventlog_owner, who owns the log and serves nobody
-- and afterwards 2-eventlog-grants.sql. The application runs with the same URLs, but for
--   EVENTLOG_DATABASE_URL as headrace_eventlog

CREATE ROLE headrace_default LOGIN;
CREATE ROLE headrace_keys LOGIN;
CREATE ROLE headrace_users LOGIN;
CREATE ROLE headrace_orders LOGIN;
CREATE ROLE headrace_eventlog_owner LOGIN;
CREATE ROLE headrace_eventlog LOGIN;

CREATE DATABASE headrace_default OWNER headrace_default;
CREATE DATABASE headrace_keys OWNER headrace_keys;
CREATE DATABASE headrace_users OWNER headrace_users;
CREATE DATABASE headrace_orders OWNER headrace_orders;
CREATE DATABASE headrace_eventlog OWNER headrace_eventlog_owner;

-- A role reaches its own database and no other.
REVOKE CONNECT ON DATABASE headrace_default FROM PUBLIC;
REVOKE CONNECT ON DATABASE headrace_keys FROM PUBLIC;
REVOKE CONNECT ON DATABASE headrace_users FROM PUBLIC;
REVOKE CONNECT ON DATABASE headrace_orders FROM PUBLIC;
REVOKE CONNECT ON DATABASE headrace_eventlog FROM PUBLIC;
GRANT CONNECT ON DATABASE headrace_eventlog TO headrace_eventlog;
