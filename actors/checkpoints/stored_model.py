"""What configurations of models that consist of files have in common."""

from __future__ import annotations

from actors.checkpoints.adapters import CONFIG_FILE
from actors.checkpoints.digest import digest_of
from actors.checkpoints.models import task_of


class StoredModel:
    """Base of a configuration with the fields ``model``, a folder or a name, and ``revision``.

    ``lora`` is an adapter, where a configuration has such a field.
    """

    model: str
    revision: str | None
    lora: str | None = None

    @property
    def knows_task(self) -> str | None:
        """The one task of a shipped model; None: any task."""
        return task_of(self.model)

    def digest(self) -> str | None:
        """Return a digest of the model's files and its adapter's; None where they are missing."""
        model, lora = digest_of(self.model, self.revision), self.lora
        if lora is None or model is None:
            return model
        adapter = digest_of(lora, file=CONFIG_FILE)
        return None if adapter is None else f"{model} with {adapter}"
