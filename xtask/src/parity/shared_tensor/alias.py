"""Makes `import shared_tensor` import shm_py.share, so that programs written for it run unchanged."""

import sys

import shm_py.share

sys.modules[__name__] = shm_py.share
