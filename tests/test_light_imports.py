"""Modules that start with a command must not wait for libraries that only some functions need."""

import subprocess
import sys

ROOMS = ("io", "media", "face", "dataset_io", "process")
HEAVY = ("torch", "librosa", "mediapipe", "cv2", "scipy.optimize", "scipy.signal", "numba", "trimesh", "nerfstudio")

_SCRIPT = f"""
import importlib, pkgutil, sys
import nerfstudio_talking
for room in {ROOMS}:
    package = importlib.import_module("nerfstudio_talking." + room)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
        loaded = [name for name in {HEAVY} if name in sys.modules]
        assert not loaded, (module.name, loaded)
"""


def test_heavy_libraries_are_imported_on_use():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
