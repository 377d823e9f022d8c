"""Start a program that ends when its parent does: `python launch.py PARENT_ID PROGRAM ARGUMENT ...`.

A worker that is killed cannot end its command, which would go on computing beside the next try. Linux sends the signal.
This file runs by itself, so that nothing else is imported and no code runs between fork and exec of a worker's threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):  # it died before the line above
        sys.exit(1)
    os.execvp(sys.argv[2], sys.argv[2:])
