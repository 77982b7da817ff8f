"""Kubernetes: an attempt is a PyTorchJob, TrainJob or JobSet; its pods say what is in their disk, which no one else sees."""

from orchestrator.backends.kubernetes.backend import KubernetesBackend

__all__ = ["KubernetesBackend"]
