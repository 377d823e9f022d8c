"""Long runs of `ns-talking serve`: each starts a server, measures, prints JSON, and exits with 1 where a bound fails.

    python scripts/benchmarks/live/soak.py one --load-config A/config.yml --voice voice.wav --least-fps 20
    python scripts/benchmarks/live/soak.py many --load-config A/config.yml B/config.yml --voice voice.wav
    python scripts/benchmarks/live/soak.py latency --load-config A/config.yml --voice voice.wav

'one' is one listener of a portrait that speaks without a pause, beside one of the test signal, a click each second,
whose flash is compared with it on the clock of the sender's reports, as a browser does. 'many' is four listeners of the
portraits in turn, each of which compares every frame with all portraits. 'latency' sends a voice after silence over the
WebSocket and waits for the first frame with an open mouth. All on one machine: the clients' decoding takes part.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
import wave
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from client import Client
from lips import measure_latency
from server import Server, counters

from nerfstudio_talking.cli.serve import portrait_names
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.media.reading import read_audio

RATE = 16000
WINDOW = 10.0
MOST_OFFSET, MOST_FIRST, MOST_LATENCY = 0.045, 1.5, 0.5
SHARES = (0, 0.01, 0.05, 0.5, 0.95, 0.99, 1)
MOST_GROWTH = 50.0
"""Megabytes that the server may grow by after the first minute."""


def quantiles(values: np.ndarray | list[float], factor: float = 1.0) -> dict[str, float]:
    """Quantiles of measurements, for printing."""
    return {f"{share:.0%}": round(factor * float(np.quantile(values, share)), 1) for share in SHARES if len(values)}


def wav(samples: np.ndarray) -> bytes:
    """A file of 16 kHz mono samples in [-1, 1]."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def clicks() -> np.ndarray:
    """A second with a beep of 40 ms in it."""
    samples = np.zeros(RATE)
    samples[4000:4640] = 0.37 * np.tile(np.repeat([1.0, -1.0], 8), 40)
    return samples


def references(configs: list[Path]) -> dict[str, np.ndarray]:
    """A small image of each portrait, rendered here and not by the server."""
    from nerfstudio_talking.inference.driver import PortraitDriver
    from nerfstudio_talking.serving.portraits import DrivenPortrait

    found = {}
    for path, name in zip(configs, portrait_names(tuple(configs))):
        poster = DrivenPortrait(PortraitDriver.load(path, "cpu"), name).poster
        found[name] = poster[4::8, 4::8].astype(np.float32)
    return found


async def listen(
    server: Server, clients: list[Client], voices: dict[str, np.ndarray], seconds: float
) -> dict[str, Any]:
    """Have the portraits speak to all clients for a while."""
    async with aiohttp.ClientSession() as http:
        first = [await client.open(http) for client in clients]
        await asyncio.sleep(2)
        tasks = []
        for client in clients:
            voice = voices.get(client.avatar, voices[""])
            tasks.append(asyncio.create_task(client.speak(http, wav(voice), len(voice) / RATE)))
        begun = asyncio.get_running_loop().time()
        windows, start = [await snapshot(http, server, clients)], server.usage()
        memory = [start.rss]
        while windows[-1][0] - begun < seconds:
            await asyncio.sleep(min(WINDOW, max(seconds - (windows[-1][0] - begun), 1)))
            windows.append(await snapshot(http, server, clients))
            memory.append(server.usage().rss)
        cpu = server.usage().cpu - start.cpu
        for task in tasks:
            task.cancel()
        for client in clients:
            await client.pc.close()
    spent = windows[-1][0] - windows[0][0]
    settled = memory[min(round(60 / WINDOW), len(memory) // 2)]
    last = windows[-1][2]
    sessions = []
    for index, client in enumerate(clients):
        rates, fresh = rates_of(windows, index)
        values = last[index + 1]
        sessions.append(
            {
                "portrait": client.avatar,
                "first_frame_s": round(first[index], 3),
                "received_fps": {"mean": round(rates.mean(), 2), "least of 10 s": round(rates.min(), 2)},
                "new_images_fps": {"mean": round(fresh.mean(), 2), "least of 10 s": round(fresh.min(), 2)},
                "size": list(client.size),
                "frames_skipped": int(values["frames_skipped_total"]),
                "frames_repeated": int(values["frames_repeated_total"]),
                "audio_blocks_per_s": round(client.blocks / spent, 2),
                "image_behind_audio_ms": quantiles([window[2][index + 1]["av_drift_ms"] for window in windows[1:]]),
            }
        )
    return {
        "seconds": round(spent, 1),
        "sessions": sessions,
        "server_cpu_per_s": round(cpu / spent, 3),
        "server_rss_mb": {
            "start": round(memory[0]),
            "after the first minute": round(settled),
            "end": round(memory[-1]),
            "most": round(max(memory)),
        },
        "held": {
            f"first frame under {MOST_FIRST} s": max(first) < MOST_FIRST,
            f"memory grows by under {MOST_GROWTH:g} MB": memory[-1] - settled < MOST_GROWTH,
        },
    }


async def snapshot(
    http: aiohttp.ClientSession, server: Server, clients: list[Client]
) -> tuple[float, list[int], dict[int, dict[str, float]]]:
    """The time, frames received so far, and the server's counters."""
    async with http.get(f"{server.url}/metrics") as answer:
        text = await answer.text()
    return asyncio.get_running_loop().time(), [len(client.frames) for client in clients], counters(text)


def rates_of(windows: list[Any], index: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames per second in each window, and those of them that showed a new image."""
    times = np.diff([window[0] for window in windows])
    received = np.diff([window[1][index] for window in windows])
    repeated = np.diff([window[2][index + 1]["frames_repeated_total"] for window in windows])
    return received / times, (received - repeated) / times


def run_one(options: argparse.Namespace) -> dict[str, Any]:
    """One portrait beside the test signal."""
    voice = read_audio(options.voice, RATE)
    (name,) = portrait_names(tuple(options.load_config))
    arguments = ["--test-signal", "True", "--codec", options.codec, "--scale", str(options.scale)]
    with Server(options.load_config, arguments) as server:
        signal = Client(server.url, "test-signal")
        speaker = Client(server.url, name)
        found = asyncio.run(listen(server, [speaker, signal], {"": voice, "test-signal": clicks()}, options.seconds))
    offsets = signal.offsets()
    found["click_minus_flash_ms"] = quantiles(offsets, 1000)
    thirds = [part for part in np.array_split(offsets, 3) if len(part)]
    found["mean of each third_ms"] = [round(1000 * float(part.mean()), 1) for part in thirds]
    found["clicks"], found["clicks without a flash"] = signal.num_clicks, signal.num_clicks - len(offsets)
    new, least = found["sessions"][0]["new_images_fps"], options.least_fps
    found["held"] |= {
        f"{least:g} new images per second": new["mean"] >= 0.99 * least and new["least of 10 s"] >= 0.95 * least,
        f"offset within {1000 * MOST_OFFSET:g} ms": len(offsets) > 0 and bool(np.abs(offsets).max() <= MOST_OFFSET),
    }
    return found


def run_many(options: argparse.Namespace) -> dict[str, Any]:
    """Sessions of several portraits."""
    voice = read_audio(options.voice, RATE)
    faces = references(options.load_config)
    names = list(faces)
    arguments = ["--max-sessions", str(options.sessions), "--codec", options.codec]
    with Server(options.load_config, arguments) as server:
        clients = [Client(server.url, names[index % len(names)], faces) for index in range(options.sessions)]
        found = asyncio.run(listen(server, clients, {"": voice}, options.seconds))
    for session, client in zip(found["sessions"], clients):
        session["frames of another face"], session["least margin"] = client.swapped, round(client.margin, 2)
    if len(names) > 1:
        found["held"]["no face swapped"] = all(client.swapped == 0 and len(client.frames) > 0 for client in clients)
    return found


def run_latency(options: argparse.Namespace) -> dict[str, Any]:
    """From audio in to lips out."""
    voice = read_audio(options.voice, RATE)
    with Server(options.load_config, []) as server:
        measured = asyncio.run(measure_latency(server.url, voice, options.repeats))
    lips = np.array(measured["lips"])
    return {
        "bursts": options.repeats,
        "mouth seen open in": len(lips),
        "audio_in_to_lips_out_ms": quantiles(lips, 1000),
        "audio_in_to_audio_out_ms": quantiles(measured["audio"], 1000),
        "held": {
            "mouth seen open each time": len(lips) == options.repeats,
            f"95 % under {1000 * MOST_LATENCY:g} ms": len(lips) > 0 and bool(np.quantile(lips, 0.95) < MOST_LATENCY),
        },
    }


def main() -> int:
    """Print the measurements as JSON; 1 where a bound was not held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for run, name in ((run_one, "one"), (run_many, "many"), (run_latency, "latency")):
        kind = kinds.add_parser(name, help=run.__doc__)
        kind.set_defaults(run=run)
        kind.add_argument("--load-config", type=Path, nargs="+", required=True, help="The config.yml of each portrait.")
        kind.add_argument("--voice", type=Path, required=True, help="Any audio file with speech.")
        if run is run_latency:
            kind.add_argument("--repeats", type=int, default=20, help="Number of bursts.")
            continue
        kind.add_argument("--seconds", type=float, default=600, help="Seconds to measure for.")
        kind.add_argument("--codec", default="auto", help="Video codec: auto, h264 or vp8.")
        if run is run_one:
            kind.add_argument("--scale", type=float, default=1.0, help="Size of the image relative to the recording.")
            kind.add_argument("--least-fps", type=float, default=20, help="New images per second that are asked for.")
        else:
            kind.add_argument("--sessions", type=int, default=4, help="Number of listeners.")
    options = parser.parse_args()
    found = options.run(options)
    found["held"] = {bound: bool(is_held) for bound, is_held in found["held"].items()}
    CONSOLE.print_json(json.dumps(found))
    return 0 if all(found["held"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
