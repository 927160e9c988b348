"""One model at a time is loaded in a process."""

from __future__ import annotations

import threading

# transformers replaces methods of its classes and torch's default dtype while it creates a model, and puts
# back what it found. Two threads that do so at once can put back each other's: from then on no model of the
# process would tie its head to its embeddings, which leaves the head as it was drawn.
LOADING = threading.RLock()
