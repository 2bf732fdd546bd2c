"""Diagnosis: what will happen to a run, and what to change."""

from layerwise.diagnosis.advice import Remedy
from layerwise.diagnosis.diagnosis import Diagnosis, diagnose
from layerwise.diagnosis.finding import Finding, Premise
from layerwise.diagnosis.forecast import (
    Forecast,
    NotPredicted,
    forecast,
    forecast_trace,
    remedies,
    remedy,
)
from layerwise.diagnosis.lazy import Start

__all__ = [
    "Diagnosis",
    "Finding",
    "Forecast",
    "NotPredicted",
    "Premise",
    "Remedy",
    "Start",
    "diagnose",
    "forecast",
    "forecast_trace",
    "remedies",
    "remedy",
]
