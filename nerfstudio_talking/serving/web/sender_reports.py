"""RTCP sender reports on the clock of the session, so that receivers align audio and video as the session does.

A sender report pairs an RTP timestamp with a time of day; a browser aligns its streams by these pairs. aiortc pairs a
packet's timestamp with the moment at which it was sent, which an encoder, a busy event loop or a burst after a stall
delay by up to some hundred milliseconds, differently for audio and for video. The session knows the time of every frame
and of every block exactly, so the pairs are made of that.
"""

from __future__ import annotations

import time
from typing import Any

from aiortc import RTCRtpSender
from aiortc.rtp import RtcpSrPacket

from nerfstudio_talking.serving.session import Session

_RATES = {"audio": 48000, "video": 90000}
_DELAYS = {"audio": 312 + 36, "video": 0}
"""RTP ticks by which the content is later than its timestamp: libopus' look-ahead and the upsampler's filter."""
_NTP_EPOCH = 2208988800
"""Seconds from 1900 to 1970."""


def report_session_time(senders: list[RTCRtpSender], session: Session) -> None:
    """Have the reports of these senders say when, on the session's clock, their content is heard or seen.

    Args:
        senders: of one connection, before it is connected.
        session: whose tracks they send; the pts of the tracks' frames are its time.
    """
    epoch = _NTP_EPOCH + time.time() - session.position
    for sender in senders:
        _Reports(sender, epoch).install()


class _Reports:
    """The reports of one sender. aiortc has no hook for them: two of its methods are replaced in the instance."""

    def __init__(self, sender: Any, epoch: float) -> None:
        self._sender, self._epoch, self._rate = sender, epoch, _RATES[sender.kind]
        self._encode, self._send = sender._next_encoded_frame, sender._send_rtcp
        self._encoded: int | None = None  # the encoder's timestamp of the last frame
        self._origin: int | None = None  # what the sender adds to that

    def install(self) -> None:
        """Take the place of the sender's methods."""
        self._sender._next_encoded_frame, self._sender._send_rtcp = self.next_encoded_frame, self.send_rtcp

    async def next_encoded_frame(self, codec: Any) -> Any:
        """Encode as ever; all packets of the frame before were sent by now."""
        if self._origin is None and self._encoded is not None:
            self._origin = self._sender._RTCRtpSender__rtp_timestamp - self._encoded
        frame = await self._encode(codec)
        if frame is not None:
            self._encoded = frame.timestamp
        return frame

    async def send_rtcp(self, packets: list[Any]) -> None:
        """Send reports that say the session's time; none before two frames were sent."""
        for packet in packets:
            if isinstance(packet, RtcpSrPacket):
                if self._origin is None or self._encoded is None:
                    return
                info = packet.sender_info
                ahead = (info.rtp_timestamp - self._origin - self._encoded + 2**31) % 2**32 - 2**31
                ticks = self._encoded + ahead - _DELAYS[self._sender.kind] + self._sender.track.first_timestamp
                info.ntp_timestamp = round((self._epoch + ticks / self._rate) * 2**32) & (2**64 - 1)
        await self._send(packets)
