"""What a model is asked beside its task: templates with fields, and how a reply to one is read."""
