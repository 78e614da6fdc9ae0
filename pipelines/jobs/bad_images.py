"""The list of unreadable images that commands print at the end."""

import click


def report_bad_images(unreadable, on_bad_image):
    """List bad images; with ``fail`` and any of them, end the command with an error.

    Args:
        unreadable: dict from image id or path to the reason.
        on_bad_image: "fail" or "skip".

    Raises:
        ClickException: there are some and ``on_bad_image`` is "fail".
    """
    if not unreadable:
        return
    for name, reason in sorted(unreadable.items()):
        click.echo(f"{name!r}: {reason}", err=True)
    count = f"{len(unreadable)} image(s) could not be read"
    if on_bad_image == "fail":
        raise click.ClickException(f"{count}; everything else is done; "
                                   "--on-bad-image skip accepts that")
    click.echo(f"{count} and were left out", err=True)
