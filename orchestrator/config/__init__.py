"""The configuration: composed by Hydra, validated against one schema, and planned into a run."""
