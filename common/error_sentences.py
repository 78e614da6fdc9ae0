"""What a user reads of an error: one sentence, whatever library raised it."""

from common.system_errors import reason_of

# Every error of ours for bad input is one of these and says what to do.
OURS = (ValueError, OSError, FloatingPointError)


def in_words(error: Exception) -> str:
    """One sentence on an error, without numbers that only the system knows."""
    if (lost := _lost_worker(error)) is not None:
        return lost
    if _is_of_memory(error):
        return (f"the memory does not suffice ({_first_line(error)}); use a smaller "
                "--inference-batch-size, --set batch_size=N, --image-size or fewer --workers")
    if isinstance(error, OSError):
        reason = reason_of(error)
        return f"{error.filename}: {reason}" if error.filename is not None else reason
    if isinstance(error, KeyError) and error.args:
        return _with_hint(str(error.args[0]), error)
    return str(error) if isinstance(error, OURS) else _with_hint(_first_line(error), error)


def warning_in_words(message: Warning | str, category: type[Warning], filename: str, lineno: int,
                     line: str | None = None) -> str:
    """A warning as the user reads it; our own without the place in the program.

    The arguments are those of ``warnings.formatwarning``, which this can take the place of.
    """
    if category.__module__.partition(".")[0] in ("common", "stage1_bc", "stage2_ct", "evaluation"):
        return f"bcct: {message}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


def _with_hint(sentence, error):
    return f"{sentence} ({type(error).__name__}; bcct --debug COMMAND ... shows where it came up)"


def _lost_worker(error):
    """The sentence of an error of torch's loader, which is imported only then."""
    if "DataLoader worker" not in str(error):
        return None
    from common.batch_loading import lost_worker

    found = lost_worker(error)
    return found and str(found)


def _is_of_memory(error):
    """Whether memory ran out, of the machine or of a device."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def _first_line(error):
    return next(iter(str(error).splitlines()), "") or type(error).__name__
