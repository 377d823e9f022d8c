# Sourced by demo.sh and test.sh: an environment in .venv with the pinned dependencies, made once.
# PYTHON names another interpreter; 3.10 and 3.11 are the ones that mediapipe 0.10.9 has wheels for.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3.10 python3 python; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    echo "No Python 3.10 or 3.11 found (mediapipe 0.10.9 has wheels for no newer one)." >&2
    echo "Install one, for example with your package manager or 'uv python install 3.11', and set PYTHON to it." >&2
    return 1
}

make_environment() {
    local python stamp
    python="$(find_python)"
    stamp="$(cat "$root/pyproject.toml" "$root/constraints.txt" | sha256sum | cut -d' ' -f1)"
    if [ -f "$venv/stamp" ] && [ "$(cat "$venv/stamp")" = "$stamp" ]; then
        return 0
    fi
    if ! command -v g++ >/dev/null 2>&1 && ! command -v clang++ >/dev/null 2>&1; then
        echo "No C++ compiler found: two dependencies of nerfstudio build from source." >&2
        echo "On Debian or Ubuntu: apt-get install g++" >&2
        return 1
    fi
    echo "Installing into $venv (about 8 GB; a few minutes)"
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
    VIRTUAL_ENV="$venv" "$venv/bin/uv" pip install --quiet --compile-bytecode -c "$root/constraints.txt" -e "$root[dev]"
    # nerfstudio's renderer asks for a program called ffmpeg; imageio-ffmpeg ships one
    if ! command -v ffmpeg >/dev/null 2>&1; then
        ln -sf "$("$venv/bin/python" -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')" "$venv/bin/ffmpeg"
    fi
    echo "$stamp" >"$venv/stamp"
}

make_environment
export PATH="$venv/bin:$PATH"
# two programs that compute on two cores starve each other while their threads spin
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
