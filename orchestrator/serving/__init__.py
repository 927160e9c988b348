"""One OpenAI-compatible endpoint for every strategy: translation, limits, routes (docs/serving.md)."""
