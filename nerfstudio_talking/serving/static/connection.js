// A session with the server: the calls of its HTTP interface, and one WebRTC connection.

export class ServerError extends Error {}

async function answerOf(response) {
  let body;
  try {
    body = await response.json();
  } catch {
    throw new ServerError(`The server answered ${response.status}.`);
  }
  if (!response.ok || body.code !== 0) throw new ServerError(body.msg ?? `The server answered ${response.status}.`);
  return body;
}

export async function get(path) {
  return (await answerOf(await fetch(path))).data;
}

export class Connection extends EventTarget {
  /** Events: "state" (detail: text), "speech" (detail: event of the server), "stats" (detail: counters), "closed". */
  constructor(video) {
    super();
    this.video = video;
    this.session = null;
    this.sender = null;
    this.microphone = null;
  }

  async open(avatar, motion) {
    this.started = performance.now();
    const peer = new RTCPeerConnection();
    this.peer = peer;
    const stream = new MediaStream();
    this.video.srcObject = stream;
    peer.addEventListener("track", ({ track, receiver }) => {
      // as little delay as the network allows: the portrait answers a voice
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
      stream.addTrack(track);
    });
    peer.addEventListener("connectionstatechange", () => {
      this.emit("state", peer.connectionState);
      if (["failed", "closed", "disconnected"].includes(peer.connectionState)) this.emit("lost");
    });
    this.sender = peer.addTransceiver("audio", { direction: "sendrecv" }).sender;
    peer.addTransceiver("video", { direction: "recvonly" });
    await peer.setLocalDescription(await peer.createOffer());
    await gathered(peer);
    const { sdp, type } = peer.localDescription;
    const answer = await this.post("offer", { sdp, type, avatar, motion });
    this.session = answer.sessionid;
    await peer.setRemoteDescription({ sdp: answer.sdp, type: answer.type });
    this.video.requestVideoFrameCallback?.(() => this.emit("first", performance.now() - this.started));
    this.events = new EventSource(`sse?sessionid=${encodeURIComponent(this.session)}`);
    this.events.addEventListener("message", ({ data }) => {
      const event = JSON.parse(data);
      if (event.status === "stats") this.emit("stats", event);
      else if (event.status === "closed") this.emit("lost");
      else this.emit("speech", event);
    });
  }

  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  async post(path, body) {
    const response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ sessionid: this.session, ...body }),
    });
    return answerOf(response);
  }

  async upload(file) {
    const form = new FormData();
    form.append("sessionid", this.session);
    form.append("file", file);
    return answerOf(await fetch("humanaudio", { method: "POST", body: form }));
  }

  async startMicrophone() {
    if (!navigator.mediaDevices) {
      throw new ServerError("Browsers give a page the microphone over https or on localhost only.");
    }
    const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    this.microphone = await navigator.mediaDevices.getUserMedia({ audio });
    await this.sender.replaceTrack(this.microphone.getAudioTracks()[0]);
  }

  async stopMicrophone() {
    this.microphone?.getTracks().forEach((track) => track.stop());
    this.microphone = null;
    await this.sender?.replaceTrack(null);
  }

  async statistics() {
    const found = {};
    for (const report of (await this.peer.getStats()).values()) {
      if (report.type === "inbound-rtp" && report.kind === "video") found.fps = report.framesPerSecond;
      if (report.type === "candidate-pair" && report.nominated) found.rtt = report.currentRoundTripTime;
    }
    return found;
  }

  close() {
    const session = this.session;
    this.session = null;
    this.microphone?.getTracks().forEach((track) => track.stop());
    this.microphone = null;
    this.events?.close();
    this.peer?.close();
    this.video.srcObject = null;
    if (session) {
      const body = new Blob([JSON.stringify({ sessionid: session })], { type: "application/json" });
      navigator.sendBeacon("close", body);
    }
  }
}

function gathered(peer) {
  if (peer.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 1000);
    peer.addEventListener("icegatheringstatechange", () => {
      if (peer.iceGatheringState !== "complete") return;
      clearTimeout(timer);
      resolve();
    });
  });
}
