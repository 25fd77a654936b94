"""A Slurm cluster, and the test of sweeps on it."""

import os

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # MLflow reads it when it is imported
os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # of its own, which nothing here uses
