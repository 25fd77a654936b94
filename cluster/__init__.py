"""A Slurm cluster, and the test of sweeps on it."""

import os

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # MLflow reads it when it is imported
# the server would start processes for jobs, which nothing here uses
os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
