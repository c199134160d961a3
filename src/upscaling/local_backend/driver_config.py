"""The file that openeo_driver reads its configuration from (``OPENEO_BACKEND_CONFIG`` points here)."""

from upscaling.local_backend.server import driver_config

config = driver_config()
