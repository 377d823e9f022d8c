"""The clock of a WebRTC sender, as a browser learns it: by the sender reports of RTCP."""

from __future__ import annotations

from typing import Any

from aiortc import RTCPeerConnection
from aiortc.rtp import RtcpSrPacket


class SenderReports:
    """Notes what a connection's receivers are told, to put audio and video on one clock.

    Args:
        pc: a connection before it receives anything.
    """

    def __init__(self, pc: RTCPeerConnection) -> None:
        self._reports: dict[str, tuple[float, int]] = {}
        self._origin: dict[str, int] = {}
        for transceiver in pc.getTransceivers():
            self._watch(transceiver.receiver)

    def _watch(self, receiver: Any) -> None:
        kind, on_rtp, on_rtcp = (
            receiver._RTCRtpReceiver__kind,
            receiver._handle_rtp_packet,
            receiver._handle_rtcp_packet,
        )

        async def rtp(packet: Any, arrival_time_ms: int) -> None:
            self._origin.setdefault(kind, packet.timestamp)
            await on_rtp(packet, arrival_time_ms)

        async def rtcp(packet: Any) -> None:
            if isinstance(packet, RtcpSrPacket):
                info = packet.sender_info
                self._reports[kind] = info.ntp_timestamp / 2**32, info.rtp_timestamp
            await on_rtcp(packet)

        receiver._handle_rtp_packet, receiver._handle_rtcp_packet = rtp, rtcp

    @property
    def are_complete(self) -> bool:
        """Whether both clocks are known."""
        return {"audio", "video"} <= self._reports.keys() & self._origin.keys()

    def seconds(self, kind: str, pts: int) -> float:
        """When a frame was sent, by the sender's clock; `pts` counts from the first frame."""
        time, stamp = self._reports[kind]
        ahead = (self._origin[kind] + pts - stamp + 2**31) % 2**32 - 2**31
        return time + ahead / {"audio": 48000, "video": 90000}[kind]
