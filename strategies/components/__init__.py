"""The components of a pipeline, one in each file: what a layer does with the drafts of the layer before."""
