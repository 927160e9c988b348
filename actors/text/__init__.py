"""What engines share about text: prompts, tokens, and where a step, a thought and a text end."""
