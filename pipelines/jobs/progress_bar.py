"""Progress bars: on a terminal only, with rate and time left."""

import contextlib

import tqdm


@contextlib.contextmanager
def progress_bar(total, description, unit="images"):
    """Yield a function to call with the number of units that have been done since."""
    with tqdm.tqdm(total=total, desc=description, unit=f" {unit}", disable=None,
                   dynamic_ncols=True) as bar:
        yield bar.update
