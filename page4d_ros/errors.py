"""Exceptions of the package: each message says what is wrong, where, and what to do."""


class Page4dError(Exception):
    """Base of every error that a user can cause and can mend."""


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


class BagError(Page4dError):
    """A recording cannot be read or written."""


class SceneError(Page4dError):
    """A scene cannot be rendered on this machine."""


class FullRoomError(SceneError):
    """No drive of the wanted kind fits into a room."""


class TrainingError(Page4dError):
    """A training run cannot be set up or go on."""
