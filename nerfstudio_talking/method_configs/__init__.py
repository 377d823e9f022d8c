"""One file per `ns-train` name."""

from nerfstudio_talking.io.third_party_warnings import silence_third_party_warnings

silence_third_party_warnings()
