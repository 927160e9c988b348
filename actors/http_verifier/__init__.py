"""A reward model behind HTTP: a server that is running already."""
