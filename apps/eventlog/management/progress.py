"""Progress bars of long-running commands."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(label: str, total: int | None, *, hidden: bool = False) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error while the block runs; yields a function that moves it forward.

    `total` is the number of steps, None if it is not known; the function takes the number of steps done since its last
    call. Nothing is shown if `hidden` is true or standard error is not a terminal.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=hidden or not console.is_terminal) as progress:
        task = progress.add_task(label, total=total)
        yield lambda done: progress.advance(task, done)
