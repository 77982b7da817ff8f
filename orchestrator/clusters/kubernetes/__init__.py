"""Kubernetes: an attempt is a PyTorchJob, TrainJob or JobSet; its pods tell what is on their disk."""

from orchestrator.clusters.kubernetes.backend import KubernetesBackend

__all__ = ["KubernetesBackend"]
