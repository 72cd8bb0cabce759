"""What runs are made of, from where it is at home."""

from tests.data.conftest import prepared, videos  # noqa: F401
from tests.training.conftest import compiled_programs  # noqa: F401
