"""Measures of how near a restored image is to the original: functions, facts and protocols."""

from models.metrics.metric import Metric
from models.metrics.protocol import Protocol
from models.metrics.registry import METRICS, measure, score

__all__ = ["METRICS", "Metric", "Protocol", "measure", "score"]
