"""Covariances of Gaussians and their projection on CPUs, forward and backward: one pass over the Gaussians each.

The formulas are those of ../projection.py, the gradients are derived by hand. Arithmetic is in double precision, since
it is not what these passes wait for; results are rounded once. Each Gaussian is written by one thread. What all of them
add to the camera's gradient is summed by blocks of a fixed size, and the blocks in order: the result does not depend on
the number of threads.
"""

from __future__ import annotations

import numba
import numpy as np

BLOCK = 1024
"""Gaussians of a task."""
_LEAST_LENGTH = 1e-12
"""Quaternions are divided by this where they are shorter; that of torch's `normalize`."""
_LEAST_DETERMINANT = 1e-10
_LARGEST_RADIUS = 2.0**30
_D = np.float64
# contraction alone: what is not finite must stay so
_OPTIONS = {"fastmath": {"contract"}, "error_model": "numpy", "cache": True, "nogil": True}


@numba.njit(inline="always")
def _unit_quaternion(quaternions, g):
    """Unit quaternion (w, x, y, z) and the length."""
    w, x, y, z = _D(quaternions[g, 0]), _D(quaternions[g, 1]), _D(quaternions[g, 2]), _D(quaternions[g, 3])
    length = np.sqrt(w * w + x * x + y * y + z * z)
    over = 1.0 / max(length, _LEAST_LENGTH)
    return w * over, x * over, y * over, z * over, length


@numba.njit(inline="always")
def _rotation(w, x, y, z):
    """Rows of the rotation, as nine numbers."""
    return (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip


@numba.njit(parallel=True, **_OPTIONS)
def covariances_forward(quaternions, scales, covariances):
    """Fill the upper triangles (gaussians, 6)."""
    for block in numba.prange((len(scales) + BLOCK - 1) // BLOCK):
        for g in range(block * BLOCK, min((block + 1) * BLOCK, len(scales))):
            w, x, y, z, _ = _unit_quaternion(quaternions, g)
            r00, r01, r02, r10, r11, r12, r20, r21, r22 = _rotation(w, x, y, z)
            a, b, c = _D(scales[g, 0]) ** 2, _D(scales[g, 1]) ** 2, _D(scales[g, 2]) ** 2
            covariances[g, 0] = a * r00 * r00 + b * r01 * r01 + c * r02 * r02
            covariances[g, 1] = a * r00 * r10 + b * r01 * r11 + c * r02 * r12
            covariances[g, 2] = a * r00 * r20 + b * r01 * r21 + c * r02 * r22
            covariances[g, 3] = a * r10 * r10 + b * r11 * r11 + c * r12 * r12
            covariances[g, 4] = a * r10 * r20 + b * r11 * r21 + c * r12 * r22
            covariances[g, 5] = a * r20 * r20 + b * r21 * r21 + c * r22 * r22


@numba.njit(parallel=True, **_OPTIONS)
def covariances_backward(quaternions, scales, grad, grad_quaternions, grad_scales):
    """Fill the gradients of quaternions and scales from those of the upper triangles, `grad` (gaussians, 6)."""
    for block in numba.prange((len(scales) + BLOCK - 1) // BLOCK):
        for g in range(block * BLOCK, min((block + 1) * BLOCK, len(scales))):
            # the symmetric matrix: an entry off the diagonal stands for two
            s00, s11, s22 = _D(grad[g, 0]), _D(grad[g, 3]), _D(grad[g, 5])
            s01, s02, s12 = 0.5 * _D(grad[g, 1]), 0.5 * _D(grad[g, 2]), 0.5 * _D(grad[g, 4])
            w, x, y, z, length = _unit_quaternion(quaternions, g)
            r00, r01, r02, r10, r11, r12, r20, r21, r22 = _rotation(w, x, y, z)
            # S R
            m00, m01, m02 = s00 * r00 + s01 * r10 + s02 * r20, s00 * r01 + s01 * r11 + s02 * r21, s00 * r02 + s01 * r12 + s02 * r22  # noqa: E501  # fmt: skip
            m10, m11, m12 = s01 * r00 + s11 * r10 + s12 * r20, s01 * r01 + s11 * r11 + s12 * r21, s01 * r02 + s11 * r12 + s12 * r22  # noqa: E501  # fmt: skip
            m20, m21, m22 = s02 * r00 + s12 * r10 + s22 * r20, s02 * r01 + s12 * r11 + s22 * r21, s02 * r02 + s12 * r12 + s22 * r22  # noqa: E501  # fmt: skip
            a, b, c = _D(scales[g, 0]), _D(scales[g, 1]), _D(scales[g, 2])
            grad_scales[g, 0] = 2 * a * (r00 * m00 + r10 * m10 + r20 * m20)
            grad_scales[g, 1] = 2 * b * (r01 * m01 + r11 * m11 + r21 * m21)
            grad_scales[g, 2] = 2 * c * (r02 * m02 + r12 * m12 + r22 * m22)
            # gradient of the rotation: 2 S R diag(s)^2; the factor of all quaternion entries joins it
            a, b, c = 4 * a * a, 4 * b * b, 4 * c * c
            m00, m10, m20, m01, m11, m21 = a * m00, a * m10, a * m20, b * m01, b * m11, b * m21
            m02, m12, m22 = c * m02, c * m12, c * m22
            of_w = z * (m10 - m01) + y * (m02 - m20) + x * (m21 - m12)
            of_x = y * (m01 + m10) + z * (m02 + m20) + w * (m21 - m12) - 2 * x * (m11 + m22)
            of_y = x * (m01 + m10) + z * (m12 + m21) + w * (m02 - m20) - 2 * y * (m00 + m22)
            of_z = x * (m02 + m20) + y * (m12 + m21) + w * (m10 - m01) - 2 * z * (m00 + m11)
            along, over = 0.0, 1.0 / max(length, _LEAST_LENGTH)
            if length >= _LEAST_LENGTH:
                along = of_w * w + of_x * x + of_y * y + of_z * z
            grad_quaternions[g, 0], grad_quaternions[g, 1] = over * (of_w - along * w), over * (of_x - along * x)
            grad_quaternions[g, 2], grad_quaternions[g, 3] = over * (of_y - along * y), over * (of_z - along * z)


@numba.njit(inline="always")
def _dot(ax, ay, az, bx, by, bz):
    return ax * bx + ay * by + az * bz


@numba.njit(inline="always")
def _axes(pose):
    """Right, down and forward of a camera in the world, and its centre, as twelve numbers."""
    return (
        _D(pose[0, 0]), _D(pose[1, 0]), _D(pose[2, 0]),
        -_D(pose[0, 1]), -_D(pose[1, 1]), -_D(pose[2, 1]),
        -_D(pose[0, 2]), -_D(pose[1, 2]), -_D(pose[2, 2]),
        _D(pose[0, 3]), _D(pose[1, 3]), _D(pose[2, 3]),
    )  # fmt: skip


@numba.njit(inline="always")
def _times(covariances, g, x, y, z):
    """A covariance times a vector."""
    xx, xy, xz = _D(covariances[g, 0]), _D(covariances[g, 1]), _D(covariances[g, 2])
    yy, yz, zz = _D(covariances[g, 3]), _D(covariances[g, 4]), _D(covariances[g, 5])
    return xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z


@numba.njit(parallel=True, **_OPTIONS)
def project_forward(
    means, covariances, pose, focal, width, height, limit_x, limit_y, eps_2d, near, far, centers, conics, depths, radii
):  # fmt: skip
    """Fill `centers` (gaussians, 2), `conics` (gaussians, 3), `depths` and `radii` (gaussians,).

    `pose` is camera-to-world; `limit_x` and `limit_y` are where the linearization is held, per metre of depth.
    """
    rx, ry, rz, dx, dy, dz, fx, fy, fz, tx, ty, tz = _axes(pose)
    for block in numba.prange((len(means) + BLOCK - 1) // BLOCK):
        for g in range(block * BLOCK, min((block + 1) * BLOCK, len(means))):
            qx, qy, qz = _D(means[g, 0]) - tx, _D(means[g, 1]) - ty, _D(means[g, 2]) - tz
            z = _dot(qx, qy, qz, fx, fy, fz)
            in_front = z > near
            safe = z if in_front else 1.0
            u, v = _dot(qx, qy, qz, rx, ry, rz) / safe, _dot(qx, qy, qz, dx, dy, dz) / safe
            held_u, held_v, scale = min(max(u, -limit_x), limit_x), min(max(v, -limit_y), limit_y), focal / safe
            ax, ay, az = scale * (rx - held_u * fx), scale * (ry - held_u * fy), scale * (rz - held_u * fz)
            lx, ly, lz = scale * (dx - held_v * fx), scale * (dy - held_v * fy), scale * (dz - held_v * fz)
            cax, cay, caz = _times(covariances, g, ax, ay, az)
            clx, cly, clz = _times(covariances, g, lx, ly, lz)
            xx, xy = _dot(ax, ay, az, cax, cay, caz) + eps_2d, _dot(lx, ly, lz, cax, cay, caz)
            yy = _dot(lx, ly, lz, clx, cly, clz) + eps_2d
            determinant = max(xx * yy - xy * xy, _LEAST_DETERMINANT)
            px, py = u * focal + 0.5 * width, v * focal + 0.5 * height
            centers[g, 0], centers[g, 1], depths[g] = px, py, safe
            over = 1.0 / determinant
            conics[g, 0], conics[g, 1], conics[g, 2] = yy * over, -xy * over, xx * over
            middle = 0.5 * (xx + yy)
            radius = np.ceil(3.0 * np.sqrt(middle + np.sqrt(max(middle * middle - determinant, 0.01))))
            inside = px + radius > 0 and px - radius < width and py + radius > 0 and py - radius < height
            drawn = in_front and z < far and inside and radius < _LARGEST_RADIUS
            radii[g] = np.int32(radius) if drawn else np.int32(0)


@numba.njit(parallel=True, **_OPTIONS)
def project_backward(
    means, covariances, pose, focal, limit_x, limit_y, eps_2d, near, grad_centers, grad_conics, grad_depths, grad_means,
    grad_covariances, grad_poses,
):  # fmt: skip
    """Fill the gradients of means and covariances, and each block's share of the pose's, `grad_poses` (blocks, 12).

    A Gaussian without any gradient (one that is not drawn, as a rule) is skipped.
    """
    rx, ry, rz, dx, dy, dz, fx, fy, fz, tx, ty, tz = _axes(pose)
    for block in numba.prange((len(means) + BLOCK - 1) // BLOCK):
        sums = np.zeros(12, _D)
        for g in range(block * BLOCK, min((block + 1) * BLOCK, len(means))):
            g_u, g_v, g_z = _D(grad_centers[g, 0]) * focal, _D(grad_centers[g, 1]) * focal, _D(grad_depths[g])
            g_0, g_1, g_2 = _D(grad_conics[g, 0]), _D(grad_conics[g, 1]), _D(grad_conics[g, 2])
            if g_u == 0 and g_v == 0 and g_z == 0 and g_0 == 0 and g_1 == 0 and g_2 == 0:
                grad_means[g] = 0
                grad_covariances[g] = 0
                continue
            qx, qy, qz = _D(means[g, 0]) - tx, _D(means[g, 1]) - ty, _D(means[g, 2]) - tz
            z = _dot(qx, qy, qz, fx, fy, fz)
            in_front = z > near
            over = 1.0 / (z if in_front else 1.0)
            u, v = _dot(qx, qy, qz, rx, ry, rz) * over, _dot(qx, qy, qz, dx, dy, dz) * over
            held_u, held_v, scale = min(max(u, -limit_x), limit_x), min(max(v, -limit_y), limit_y), focal * over
            ax, ay, az = scale * (rx - held_u * fx), scale * (ry - held_u * fy), scale * (rz - held_u * fz)
            lx, ly, lz = scale * (dx - held_v * fx), scale * (dy - held_v * fy), scale * (dz - held_v * fz)
            cax, cay, caz = _times(covariances, g, ax, ay, az)
            clx, cly, clz = _times(covariances, g, lx, ly, lz)
            xx, xy = _dot(ax, ay, az, cax, cay, caz) + eps_2d, _dot(lx, ly, lz, cax, cay, caz)
            yy = _dot(lx, ly, lz, clx, cly, clz) + eps_2d
            # the conic is the adjugate over the determinant
            determinant = xx * yy - xy * xy
            per = 1.0 / max(determinant, _LEAST_DETERMINANT)
            g_det = 0.0
            if determinant >= _LEAST_DETERMINANT:
                g_det = -(g_0 * yy - g_1 * xy + g_2 * xx) * per * per
            g_xx, g_xy, g_yy = g_2 * per + g_det * yy, -g_1 * per - 2 * g_det * xy, g_0 * per + g_det * xx
            grad_covariances[g, 0] = g_xx * ax * ax + g_xy * ax * lx + g_yy * lx * lx
            grad_covariances[g, 1] = 2 * g_xx * ax * ay + g_xy * (ax * ly + ay * lx) + 2 * g_yy * lx * ly
            grad_covariances[g, 2] = 2 * g_xx * ax * az + g_xy * (ax * lz + az * lx) + 2 * g_yy * lx * lz
            grad_covariances[g, 3] = g_xx * ay * ay + g_xy * ay * ly + g_yy * ly * ly
            grad_covariances[g, 4] = 2 * g_xx * ay * az + g_xy * (ay * lz + az * ly) + 2 * g_yy * ly * lz
            grad_covariances[g, 5] = g_xx * az * az + g_xy * az * lz + g_yy * lz * lz
            # gradients of the two rows of the Jacobian times `scale`
            g_ax, g_ay, g_az = (
                scale * (2 * g_xx * cax + g_xy * clx),
                scale * (2 * g_xx * cay + g_xy * cly),
                scale * (2 * g_xx * caz + g_xy * clz),
            )
            g_lx, g_ly, g_lz = (
                scale * (2 * g_yy * clx + g_xy * cax),
                scale * (2 * g_yy * cly + g_xy * cay),
                scale * (2 * g_yy * clz + g_xy * caz),
            )
            g_scale = (_dot(ax, ay, az, g_ax, g_ay, g_az) + _dot(lx, ly, lz, g_lx, g_ly, g_lz)) / scale
            # where the position is held at the limit it has no part in the Jacobian
            if -limit_x <= u <= limit_x:
                g_u -= _dot(fx, fy, fz, g_ax, g_ay, g_az)
            if -limit_y <= v <= limit_y:
                g_v -= _dot(fx, fy, fz, g_lx, g_ly, g_lz)
            g_x, g_y = g_u * over, g_v * over
            g_z = g_z - (g_scale + g_u * u + g_v * v) * over if in_front else 0.0
            m_x, m_y, m_z = (
                g_x * rx + g_y * dx + g_z * fx,
                g_x * ry + g_y * dy + g_z * fy,
                g_x * rz + g_y * dz + g_z * fz,
            )
            grad_means[g, 0], grad_means[g, 1], grad_means[g, 2] = m_x, m_y, m_z
            # columns of camera-to-world: right, up, backward, centre
            sums[0] += g_ax + g_x * qx
            sums[4] += g_ay + g_x * qy
            sums[8] += g_az + g_x * qz
            sums[1] -= g_lx + g_y * qx
            sums[5] -= g_ly + g_y * qy
            sums[9] -= g_lz + g_y * qz
            sums[2] += held_u * g_ax + held_v * g_lx - g_z * qx
            sums[6] += held_u * g_ay + held_v * g_ly - g_z * qy
            sums[10] += held_u * g_az + held_v * g_lz - g_z * qz
            sums[3] -= m_x
            sums[7] -= m_y
            sums[11] -= m_z
        grad_poses[block] = sums
