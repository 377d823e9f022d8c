import { Connection, ServerError, get } from "./connection.js";

const by = (id) => document.getElementById(id);
const MOTIONS = { recorded: "Recorded", generated: "Generated", still: "Still" };

let connection = null;
let portraits = [];
let statistics = null;
const HUSH = 500; // milliseconds for which an interruption mutes what the browser has buffered

function say(text) {
  by("message").textContent = text ?? "";
  by("message").hidden = !text;
}

function attempt(action) {
  return async (event) => {
    say(null);
    try {
      await action(event);
    } catch (error) {
      say(error instanceof ServerError ? error.message : `${error.name}: ${error.message}`);
    }
  };
}

function show(isOpen) {
  for (const id of ["interrupt", "microphone", "upload", "motion", "record"]) by(id).disabled = !isOpen;
  by("upload-label").setAttribute("aria-disabled", String(!isOpen));
  by("portrait").disabled = isOpen;
  by("connect").textContent = isOpen ? "Disconnect" : "Connect";
  for (const id of ["microphone", "record"]) by(id).setAttribute("aria-pressed", "false");
  if (isOpen) return;
  by("state").textContent = "not connected";
  for (const id of ["first", "rendered", "received", "drift", "queue", "rtt"]) by(id).textContent = "–";
}

function chosen() {
  return portraits.find(({ name }) => name === by("portrait").value) ?? portraits[0];
}

function listMotions() {
  by("motion").replaceChildren(...chosen().motions.map((name) => new Option(MOTIONS[name] ?? name, name)));
}

async function open() {
  const opened = new Connection(by("video"));
  connection = opened;
  by("state").textContent = "connecting";
  opened.addEventListener("first", ({ detail }) => (by("first").textContent = `${Math.round(detail)} ms`));
  opened.addEventListener("state", ({ detail }) => {
    if (connection === opened && detail === "connected") by("state").textContent = "listening";
  });
  opened.addEventListener("speech", ({ detail }) => {
    const words = { start: "speaking", end: "listening", interrupted: "interrupted" };
    by("state").textContent = words[detail.status] ?? detail.status;
    if (detail.status !== "interrupted") return;
    setTimeout(() => {
      if (by("state").textContent === words.interrupted) by("state").textContent = words.end;
    }, 1500);
  });
  opened.addEventListener("stats", ({ detail }) => {
    by("rendered").textContent = `${detail.render_fps.toFixed(1)} fps`;
    by("drift").textContent = `${Math.round(detail.av_drift_ms)} ms`;
    by("queue").textContent = `${detail.queue_seconds.toFixed(1)} s`;
  });
  opened.addEventListener("lost", () => {
    if (connection !== opened) return;
    close();
    say("The connection was lost.");
  });
  try {
    await opened.open(chosen().name, by("motion").value);
  } catch (error) {
    close();
    throw error;
  }
  show(true);
  statistics = setInterval(async () => {
    const { fps, rtt } = await opened.statistics();
    by("received").textContent = fps === undefined ? "–" : `${Math.round(fps)} fps`;
    by("rtt").textContent = rtt === undefined ? "–" : `${Math.round(1000 * rtt)} ms`;
  }, 1000);
  try {
    await by("video").play();
  } catch {
    by("video").muted = true; // browsers play no sound before a gesture
    by("unmute").hidden = false;
    await by("video").play();
  }
}

function close() {
  clearInterval(statistics);
  connection?.close();
  connection = null;
  by("unmute").hidden = true;
  show(false);
}

async function interrupt() {
  const video = by("video");
  if (!video.muted) {
    video.muted = true;
    setTimeout(() => (video.muted = false), HUSH);
  }
  await connection.post("interrupt_talk", {});
}

async function toggleMicrophone() {
  const isOn = by("microphone").getAttribute("aria-pressed") === "true";
  if (isOn) await connection.stopMicrophone();
  else await connection.startMicrophone();
  by("microphone").setAttribute("aria-pressed", String(!isOn));
}

async function toggleRecording() {
  const isOn = by("record").getAttribute("aria-pressed") === "true";
  const answer = await connection.post("record", { type: isOn ? "end_record" : "start_record" });
  by("record").setAttribute("aria-pressed", String(!isOn));
  by("download").hidden = !isOn;
  if (isOn) by("download").href = answer.data.url;
}

by("connect").addEventListener("click", attempt(() => (connection ? close() : open())));
by("interrupt").addEventListener("click", attempt(interrupt));
by("microphone").addEventListener("click", attempt(toggleMicrophone));
by("record").addEventListener("click", attempt(toggleRecording));
by("motion").addEventListener("change", attempt(() => connection.post("motion", { mode: by("motion").value })));
by("portrait").addEventListener("change", listMotions);
by("unmute").addEventListener("click", () => {
  by("video").muted = false;
  by("unmute").hidden = true;
});
by("upload").addEventListener("change", attempt(async ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (file) await connection.upload(file);
}));
by("say").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    await connection.post("human", { text: by("text").value, type: "echo" });
    by("text").value = "";
  })();
});
addEventListener("pagehide", () => connection?.close());

attempt(async () => {
  portraits = await get("portraits");
  by("portrait").replaceChildren(...portraits.map(({ name }) => new Option(name, name)));
  by("portrait").hidden = portraits.length < 2;
  listMotions();
  by("say").hidden = !(await get("health")).text;
})();
