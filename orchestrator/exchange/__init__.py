"""Other tools: their files of samples as run directories, and run directories as their files."""
