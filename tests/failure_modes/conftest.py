"""The small compiled attentions of the properties, for both backends of a CPU."""

from tests.properties.conftest import backend, compiled

__all__ = ["backend", "compiled"]
