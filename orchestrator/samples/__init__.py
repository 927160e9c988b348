"""The independent samples of stored runs, as numbers: what saturation, calibration and the report measure."""
