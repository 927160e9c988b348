"""What configurations of models that consist of files have in common."""

from __future__ import annotations

from actors.checkpoints.digest import digest_of
from actors.checkpoints.models import task_of


class StoredModel:
    """Base of a configuration with the fields ``model``, a folder or a name, and ``revision``."""

    model: str
    revision: str | None

    @property
    def knows_task(self) -> str | None:
        """The one task of a shipped model; None: any task."""
        return task_of(self.model)

    def digest(self) -> str | None:
        """Return a digest of the model's files; None where they are missing."""
        return digest_of(self.model, self.revision)
