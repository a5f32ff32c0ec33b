-- What the application may do in the log: run in headrace_eventlog as headrace_eventlog_owner, after each migrate.
-- It appends through eventlog_append, which belongs to the owner, and reads. It cannot INSERT, UPDATE, DELETE or
-- TRUNCATE the event table, nor choose a position or set the sequence.

GRANT USAGE ON SCHEMA public TO headrace_eventlog;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM headrace_eventlog;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM headrace_eventlog;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO headrace_eventlog;
GRANT SELECT ON SEQUENCE eventlog_event_position_seq TO headrace_eventlog;
GRANT INSERT ON eventlog_seal TO headrace_eventlog;
GRANT INSERT, DELETE ON eventlog_reservation TO headrace_eventlog;
GRANT INSERT ON eventlog_erasure TO headrace_eventlog;
GRANT INSERT, UPDATE, DELETE ON eventlog_idempotencyrecord TO headrace_eventlog;
GRANT INSERT, UPDATE ON eventlog_job TO headrace_eventlog;
GRANT USAGE ON SEQUENCE eventlog_reservation_id_seq TO headrace_eventlog;
