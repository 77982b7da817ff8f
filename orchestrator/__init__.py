"""Multi-node DeepSpeed training that always continues: from one job.yaml, on any scheduler."""

__version__ = "0.1.0"
