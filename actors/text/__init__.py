"""Text handling that engines share: prompts, tokens, and where a step, a thought and a text end."""
