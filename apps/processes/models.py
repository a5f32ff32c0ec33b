"""What business processes remember: instances with their states, timers, commands, checkpoints and dead letters.

None of it can be rebuilt from the log, so this database is backed up with it.
"""

from apps.eventlog import models as eventlog


class Instance(eventlog.ProcessInstance):
    """What a process remembers for one key, with its timers and what it sent."""


class Timer(eventlog.Timer):
    """When a process wants to be called for a key."""


class OutgoingCommand(eventlog.OutgoingCommand):
    """A command that a process sends, and what came of it."""


class Checkpoint(eventlog.Checkpoint):
    pass


class DeadLetter(eventlog.ProcessDeadLetter):
    pass
