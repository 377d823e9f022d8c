"""What belongs to single training frames: a code for what no condition tells, and corrections of head and body pose."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


class FrameResiduals(nn.Module):
    """Parameters per frame, zero at the beginning.

    Args:
        num_frames: number of frames of the track.
        code_dim: length of a frame's code.
    """

    def __init__(self, num_frames: int, code_dim: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.zeros(num_frames, code_dim))
        self.head = nn.Parameter(torch.zeros(num_frames, 6))
        self.body = nn.Parameter(torch.zeros(num_frames, 2, 3))

    def refine(
        self, pose: Float[Tensor, "3 4"], body: Float[Tensor, "2 3"], frame: Int64[Tensor, ""]
    ) -> tuple[Float[Tensor, "3 4"], Float[Tensor, "2 3"]]:
        """The corrected head pose and body motion of a frame.

        Args:
            pose: camera-to-world of the recording camera.
            body: affine motion of the body in the image.
            frame: position in the track.
        """
        turn = rotation_of(self.head[frame, :3])
        moved = torch.cat([turn @ pose[:, :3], turn @ pose[:, 3:] + self.head[frame, 3:, None]], 1)
        return moved, body + self.body[frame]


def rotation_of(vector: Float[Tensor, " 3"]) -> Float[Tensor, "3 3"]:
    """Rotation matrix of a rotation vector in radians, by the matrix exponential; differentiable at zero."""
    x, y, z = vector.unbind()
    zero = torch.zeros_like(x)
    skew = torch.stack([torch.stack([zero, -z, y]), torch.stack([z, zero, -x]), torch.stack([-y, x, zero])])
    return torch.linalg.matrix_exp(skew)
