"""The demo: a small application, traced into a local MLflow, and its traces in the terminal."""
