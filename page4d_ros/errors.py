"""Exceptions of the package: each message says what is wrong, where, and what to do."""


def printable(text: str) -> str:
    r"""Text for one line of a terminal or a log: control characters become ``\n`` or ``\x1b``.

    Names in files and messages come from outside, and may forge lines or steer a terminal.
    """
    if text.isprintable():
        return text
    return ''.join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class Page4dError(Exception):
    """Base of every error that a user can cause and can mend."""

    def __str__(self) -> str:
        """Give the message as one printable line."""
        return printable(super().__str__())


class ConfigError(Page4dError):
    """A setting has a value that cannot work."""


class CheckpointError(Page4dError):
    """A weight file is missing, unreadable or belongs to another network."""


class BackendError(Page4dError):
    """A graph of the network cannot be built or run; torch runs it instead."""


class FrameError(Page4dError):
    """One image or camera_info is malformed; the frame is dropped, the stream goes on."""


class DeviceMemoryError(Page4dError):
    """The device has no room for a window; other settings would fit."""


class RosError(Page4dError):
    """ROS refuses its arguments, its environment or its keystore."""


class BagError(Page4dError):
    """A recording cannot be read or written."""


class SceneError(Page4dError):
    """A scene cannot be rendered on this machine."""


class FullRoomError(SceneError):
    """No drive of the wanted kind fits into a room."""


class TrainingError(Page4dError):
    """A training run cannot be set up or go on."""


class FleetError(Page4dError):
    """A fleet of recordings cannot be annotated: sources, destination or workers are not there."""
