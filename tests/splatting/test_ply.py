"""PLY files of Gaussians: the layout that viewers read, there and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.splatting.gaussians import Gaussians
from nerfstudio_talking.splatting.ply import quaternions_and_scales, read_ply, write_ply
from nerfstudio_talking.splatting.projection import covariances_of, project_gaussians
from nerfstudio_talking.splatting.rasterize import rasterize

NAMES = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
NAMES += ["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
"""The properties of INRIA's files of degree 0, in their order."""


def make_gaussians(count: int, seed: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    quaternions = torch.randn(count, 4, generator=generator)
    scales = 0.002 + 0.02 * torch.rand(count, 3, generator=generator)
    return Gaussians(
        0.1 * torch.randn(count, 3, generator=generator),
        covariances_of(quaternions, scales),
        torch.rand(count, generator=generator),
        torch.rand(count, 3, generator=generator),
    )


def hand_made(rows: list[list[float]], names: list[str] = NAMES) -> bytes:
    header = "ply\nformat binary_little_endian 1.0\ncomment by hand\n" + f"element vertex {len(rows)}\n"
    header += "".join(f"property float {name}\n" for name in names) + "end_header\n"
    return header.encode() + np.array(rows, "<f4").tobytes()


def test_the_file_is_the_one_made_by_hand(tmp_path):
    """A Gaussian of 1, 2 and 4 mm, the longest axis along x and the shortest along y; grey-blue, half opaque."""
    covariance = torch.tensor([[16e-6, 0.0, 0.0, 1e-6, 0.0, 4e-6]])
    color = torch.tensor([[0.5, 0.5, 0.5 + 0.28209479177387814]])
    one = Gaussians(torch.tensor([[0.1, -0.2, 0.3]]), covariance, torch.tensor([0.75]), color)
    write_ply(one, tmp_path / "one.ply", ["by hand"])
    written = (tmp_path / "one.ply").read_bytes()
    header, _, body = written.partition(b"end_header\n")
    assert header == hand_made([[0.0] * 17]).partition(b"end_header\n")[0]
    (values,) = np.frombuffer(body, [(name, "<f4") for name in NAMES])
    found = dict(zip(NAMES, values.tolist()))
    expected = {"x": 0.1, "y": -0.2, "z": 0.3, "nx": 0, "ny": 0, "nz": 0, "f_dc_0": 0, "f_dc_1": 0, "f_dc_2": 1}
    expected |= {"opacity": np.log(3)} | {f"scale_{i}": np.log(mm / 1000) for i, mm in enumerate((1, 2, 4))}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    axes = Rotation.from_quat([found[f"rot_{i}"] for i in range(4)], scalar_first=True).as_matrix()
    assert np.abs(axes) == pytest.approx(np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]), abs=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["one.ply"]


def test_a_file_of_another_program_is_read(tmp_path):
    """With higher spherical harmonics, which are left out, and a quaternion of length 2: a quarter turn about z."""
    names = [*NAMES[:9], "f_rest_0", *NAMES[9:]]
    row = [1, 2, 3, 0, 0, 0, 1, 0, -1, 99, -np.log(3), *np.log([0.1, 0.2, 0.3]), 2**0.5, 0, 0, 2**0.5]
    (tmp_path / "other.ply").write_bytes(hand_made([row], names))
    one = read_ply(tmp_path / "other.ply")
    assert one.means.tolist() == [[1, 2, 3]]
    assert one.opacities.tolist() == pytest.approx([0.25])
    assert one.colors[0].tolist() == pytest.approx([0.78209479, 0.5, 0.21790521])
    assert one.covariances[0].tolist() == pytest.approx([0.04, 0, 0, 0.01, 0, 0.09], abs=1e-7)


def test_there_and_back(tmp_path):
    gaussians = make_gaussians(200)
    write_ply(gaussians, tmp_path / "some.ply")
    again = read_ply(tmp_path / "some.ply")
    for name, tolerance in {"means": 0.0, "covariances": 1e-9, "opacities": 1e-5, "colors": 1e-6}.items():
        torch.testing.assert_close(getattr(again, name), getattr(gaussians, name), atol=tolerance, rtol=1e-5)


def test_the_file_renders_the_same_image(tmp_path):
    gaussians = make_gaussians(200)
    write_ply(gaussians, tmp_path / "some.ply")
    camera = PinholeCamera(80.0, 40, 32)
    pose = torch.cat([torch.eye(3), torch.tensor([[0.0], [0.0], [0.8]])], 1)
    images = []
    for one in (gaussians, read_ply(tmp_path / "some.ply")):
        seen = project_gaussians(one.means, one.covariances, pose, camera)
        arguments = seen.means, seen.conics, one.opacities, one.colors, seen.depths, seen.radii
        images.append(rasterize(*arguments, camera.width, camera.height, implementation="torch"))
    assert images[0].alpha.max() > 0.9
    torch.testing.assert_close(images[1].image, images[0].image, atol=1e-4, rtol=0)


def test_rotations_are_right_handed_and_of_length_one():
    covariances = make_gaussians(500).covariances.double().numpy()
    quaternions, scales = quaternions_and_scales(covariances)
    assert np.linalg.norm(quaternions, axis=1) == pytest.approx(1)
    assert (quaternions[:, 0] >= 0).all()
    assert (np.diff(scales, axis=1) >= 0).all()
    back = covariances_of(torch.from_numpy(quaternions), torch.from_numpy(scales)).numpy()
    assert back == pytest.approx(covariances, abs=1e-12)


def test_flat_round_and_opaque_gaussians_have_finite_values(tmp_path):
    covariances = torch.tensor([[1e-4, 0, 0, 1e-4, 0, 0], [1e-4, 0, 0, 1e-4, 0, 1e-4], [1e-4, 1e-4, 0, 1e-4, 0, 0]])
    some = Gaussians(torch.zeros(3, 3), covariances, torch.tensor([0.0, 1.0, 0.5]), torch.zeros(3, 3))
    write_ply(some, tmp_path / "some.ply")
    again = read_ply(tmp_path / "some.ply")
    torch.testing.assert_close(again.covariances, covariances, atol=1e-10, rtol=1e-5)
    torch.testing.assert_close(again.opacities, some.opacities, atol=2e-6, rtol=0)


def test_what_cannot_be_written_is_refused(tmp_path):
    gaussians = make_gaussians(4)
    with pytest.raises(ValueError, match="5 channels"):
        write_ply(gaussians._replace(colors=torch.zeros(4, 5)), tmp_path / "some.ply")
    gaussians.means[1, 0] = torch.nan
    with pytest.raises(ValueError, match="1 Gaussians with values that are not finite"):
        write_ply(gaussians, tmp_path / "some.ply")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "binary little endian"),
        (b"ply\nformat ascii 1.0\nelement vertex 0\nend_header\n", "binary little endian"),
        (b"ply\nformat binary_little_endian 1.0\nelement face 1\nend_header\n", "vertices as the first element"),
        (b"ply\nformat binary_little_endian 1.0\nelement vertex\nend_header\n", "vertices as the first element"),
        (hand_made([[0.0] * 16], NAMES[:-1]), "no rot_3"),
        (hand_made([[0.0] * 17] * 3)[:-1], "expected 3 vertices; found 2"),
        (hand_made([]).replace(b"float x", b"list uchar int x"), "scalar properties"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "some.ply").write_bytes(content)
    with pytest.raises(TalkingError, match=message):
        read_ply(tmp_path / "some.ply")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(TalkingError, match="no such file"):
        read_ply(tmp_path)
