"""A process that has imported what the commands import, and forks one child for each command.

The import of nerfstudio and of all registered methods takes seven seconds of CPU; a command of the tests takes two. A
child runs the console script's entry point with its own arguments, folder, environment, standard output and standard
error, and ends as the script does. Imports apart, it is a process like that of the script.

Requests and exit codes are lines of JSON on the two file descriptors that the arguments name. A request with
`parse` instead of arguments asks what is wrong with some command lines, and runs none; the answer is printed as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from importlib.metadata import entry_points

from helpers.command_parsing import parse_errors

IMPORTS = (
    "nerfstudio.scripts.train",
    "nerfstudio.scripts.eval",
    "nerfstudio.scripts.render",
    "numba",
    "nerfstudio_talking.cli.main",
    "nerfstudio_talking.inference.driver",
)


def run_entry_point(request: dict) -> object:
    """Run the console script of a request in this process."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for descriptor, path in ((1, request["stdout"]), (2, request["stderr"])):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    if "parse" in request:
        json.dump(parse_errors(request["parse"]), sys.stdout)
        sys.stdout.flush()
        return 0
    sys.argv = request["arguments"]
    (script,) = entry_points(group="console_scripts", name=os.path.basename(sys.argv[0]))
    return script.load()()


def serve(requests: int, replies: int) -> dict | None:
    """Fork for every request; returns the request in a child, and None when there are no more requests."""
    with os.fdopen(requests) as lines, os.fdopen(replies, "w") as answers:
        for line in lines:
            child = os.fork()
            if child == 0:
                return json.loads(line)
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
    return None


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of the tests, which a console script does not see
    for name in IMPORTS:
        import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would not be there in a child"
    request = serve(*map(int, sys.argv[1:]))
    if request is not None:
        sys.exit(run_entry_point(request))
