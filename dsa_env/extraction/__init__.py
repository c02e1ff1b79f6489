"""From picture files to features: decoded in workers while frozen models look at them."""

from dsa_env.extraction.engines import ENGINES, extract
from dsa_env.extraction.models import Looked, Models, load_models
from dsa_env.extraction.settings import BuildSettings

__all__ = ["ENGINES", "BuildSettings", "Looked", "Models", "extract", "load_models"]
