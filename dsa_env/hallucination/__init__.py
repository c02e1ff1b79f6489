"""The hallucination detection network: asserted phrase and image regions to support."""

from dsa_env.hallucination.detector import DetectorConfig, HallucinationDetector

__all__ = ["DetectorConfig", "HallucinationDetector"]
