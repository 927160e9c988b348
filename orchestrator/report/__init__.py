"""The report of a run or a sweep: one HTML file that needs no network, and its figures.

``python -m orchestrator.report RUN_OR_SWEEP_DIR``. A run directory is read once, line by line (``runs``);
runs are grouped by what they have in common (``settings``) and measured (``measures``, ``comparison``);
the figures (``figures``) and the page (``page``) are made from that.
"""
