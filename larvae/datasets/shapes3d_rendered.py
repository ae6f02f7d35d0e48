"""A look-alike of 3D Shapes (Burgess and Kim, 2018), ray-cast from its factors: no download is needed.

It has the factor grid of 3D Shapes and nearly its pictures, but it is not 3D Shapes: no result on it may be reported as
one on 3D Shapes. docs/shapes3d-rendered.md says how far its images are from real ones.

Hues change colours alone. For each of the 480 geometries (scale, shape, orientation) a table holds how much of every
paint each pixel shows, and an image is that times the paints' colours.

All constants of the scene are fitted by least squares to 25 sample images of the data set's publisher. The unit of
length is the camera's height. The room stays fixed: x to the right, y away from the camera of orientation 0° and z up,
with the floor at z = 0 and the centre of the camera's orbit at the origin.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from larvae.datasets.factors import FactorGrid
from larvae.datasets.store import IMAGE_SIZE

GRID = FactorGrid(
    names=("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation"), sizes=(10, 10, 10, 8, 4, 15)
)
"""The factors of 3D Shapes in its order. Shapes are cube, cylinder, sphere and capsule."""

HUES = np.linspace(0.0, 0.9, 10)
SCALES = np.linspace(0.75, 1.25, 8)
ORIENTATIONS = np.deg2rad(np.linspace(-30.0, 30.0, 15))
"""The camera's azimuth in radians; at class 0 it stands to the left and sees the room's right corner."""

PAINTS = ("floor", "wall", "object", "sky", "highlight")
"""Entries of the table's last axis; the sky and the highlight on the object have constant colours."""
HUE_COLOURS = np.rint([[255 * channel for channel in colorsys.hsv_to_rgb(hue, 1, 1)] for hue in HUES])  # (10, 3)
SKY = (153, 226, 249)
HIGHLIGHT = (255, 255, 255)

ONE = 160  # a byte b of the table says that a pixel shows (b - ZERO) / ONE of a paint
ZERO = 32  # the filter below makes some shares negative

# The camera, a horizontal pinhole a little off the centre. The samples look like renderings at three times the size,
# without anti-aliasing, that Lanczos's filter has shrunk.
_FINE = 3
_TAN_HALF_FIELD = 0.4768  # 51° vertically
_ORBIT_RADIUS = 3.335
_AZIMUTH_OFFSET = np.deg2rad(-0.124)
_PIXELS_OFF_CENTRE = (0.316, -0.225)

# The room: its walls' positions and height. The wall behind the camera is never seen.
_LEFT, _RIGHT, _BACK, _WALL_HEIGHT = -4.745, 4.861, 4.753, 2.749

# The objects at scale 1, which stand on the floor here.
_OBJECT_POSITION = np.array((0.004, -0.032, 0.0))
_CUBE_HALF_SIDE = 0.4714
_CYLINDER_RADIUS, _CYLINDER_HEIGHT = 0.5026, 1.0106
_SPHERE_RADIUS = 0.5709
_CAPSULE_RADIUS, _CAPSULE_HEIGHT = 0.4402, 1.753

# The lights: a spot in the room, which alone casts shadows, and a parallel one along the view, which misses the floor.
_LIGHT = np.array((-1.771, 0.468, 8.928))
_LIGHT_TARGET = np.array((-2.018, 0.585, 0.0))
_LIGHT_EXPONENT = 7.4


class _Material(NamedTuple):
    """Brightness in ambient light, and more where the surface faces the parallel light and the spot."""

    ambient: float
    head: float
    spot: float


_FLOOR = _Material(0.3403, 0.0, 0.9528)
_WALL = _Material(0.3464, 0.5881, 0.7796)
_OBJECT = _Material(0.3799, 0.5672, 0.8718)
_HIGHLIGHT_SHARE = 0.1189  # constant wherever the object faces the spot
_HIGHLIGHT_BLUR = 0.0587  # width of its border in cosines
_BRIGHTEST = 1.25  # brighter paint is cut off, as the sum is at 255

_CHUNK = 8  # images rendered at a time: the temporaries stay in the cache

Array = NDArray[np.float64]


class _Hits(NamedTuple):
    """The points where rays first enter a solid."""

    distance: Array
    """Distance in lengths of the ray's direction, inf where it misses, (n,)."""
    normal: Array
    """Outer unit normal, arbitrary where it misses, (n, 3)."""


class _View(NamedTuple):
    """The empty room as one camera sees it, a row for each of the rays through the fine pixels."""

    origin: Array
    forward: Array
    directions: Array
    distance: Array
    shares: Array
    """Share of every paint, (n, 5)."""


def _first_positive_root(a: Array, half_b: Array, c: Array | float) -> Array:
    """Smaller root of a t² + 2 half_b t + c, inf if there is none or it is not positive: a convex solid's near side."""
    discriminant = half_b * half_b - a * c
    with np.errstate(divide="ignore", invalid="ignore"):
        root = (-half_b - np.sqrt(np.maximum(discriminant, 0))) / a
    return np.where((discriminant > 0) & (root > 1e-6), root, np.inf)


def _points(origin: Array, directions: Array, distance: Array) -> Array:
    return origin + np.where(np.isfinite(distance), distance, 0.0)[:, None] * directions


def _nearer(one: _Hits, other: _Hits) -> _Hits:
    closer = other.distance < one.distance
    return _Hits(np.where(closer, other.distance, one.distance), np.where(closer[:, None], other.normal, one.normal))


def _hit_cube(origin: Array, directions: Array) -> _Hits:
    h = _CUBE_HALF_SIDE
    with np.errstate(divide="ignore", invalid="ignore"):
        below = (np.array((-h, -h, 0.0)) - origin) / directions
        above = (np.array((h, h, 2 * h)) - origin) / directions
    entries = np.minimum(below, above)
    enter, leave = entries.max(1), np.maximum(below, above).min(1)
    normal = np.eye(3)[entries.argmax(1)] * -np.sign(directions)
    return _Hits(np.where((enter < leave) & (enter > 1e-6), enter, np.inf), normal)


def _hit_sphere(
    origin: Array, directions: Array, radius: float = _SPHERE_RADIUS, height: float = _SPHERE_RADIUS
) -> _Hits:
    from_centre = origin - np.array((0.0, 0.0, height))
    offset = np.square(from_centre).sum(-1) - radius * radius
    distance = _first_positive_root(np.square(directions).sum(1), (directions * from_centre).sum(1), offset)
    return _Hits(distance, _points(from_centre, directions, distance) / radius)


def _hit_tube(origin: Array, directions: Array, radius: float, bottom: float, top: float) -> _Hits:
    """An upright cylinder's curved side."""
    flat, flat_origin = directions[:, :2], origin[..., :2]
    offset = np.square(flat_origin).sum(-1) - radius * radius
    distance = _first_positive_root(np.square(flat).sum(1), (flat * flat_origin).sum(1), offset)
    points = _points(origin, directions, distance)
    inside = (points[:, 2] >= bottom) & (points[:, 2] <= top)
    return _Hits(np.where(inside, distance, np.inf), points * np.array((1.0, 1.0, 0.0)) / radius)


def _hit_cylinder(origin: Array, directions: Array) -> _Hits:
    """The lower base stands on the floor: no ray that matters enters there."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (_CYLINDER_HEIGHT - origin[..., 2]) / directions[:, 2]
    points = _points(origin, directions, distance)
    inside = (np.square(points[:, :2]).sum(1) < _CYLINDER_RADIUS**2) & (distance > 1e-6)
    lid = _Hits(np.where(inside, distance, np.inf), np.broadcast_to((0.0, 0.0, 1.0), directions.shape))
    return _nearer(_hit_tube(origin, directions, _CYLINDER_RADIUS, 0.0, _CYLINDER_HEIGHT), lid)


def _hit_capsule(origin: Array, directions: Array) -> _Hits:
    r, top = _CAPSULE_RADIUS, _CAPSULE_HEIGHT - _CAPSULE_RADIUS
    caps = _nearer(_hit_sphere(origin, directions, r, r), _hit_sphere(origin, directions, r, top))
    return _nearer(caps, _hit_tube(origin, directions, r, r, top))


_HIT: tuple[Callable[[Array, Array], _Hits], ...] = (_hit_cube, _hit_cylinder, _hit_sphere, _hit_capsule)


def _hit_object(shape: int, scale: float, origin: Array, directions: Array) -> _Hits:
    """origin: one for all rays, (3,), or one for each, (n, 3). The room is scaled, not the object."""
    hits = _HIT[shape]((origin - _OBJECT_POSITION) / scale, directions)
    return _Hits(hits.distance * scale, hits.normal)


def _facing_spot(points: Array, normals: Array) -> tuple[Array, Array]:
    """Cosine between normal and light, negative behind; and the light's strength there; (n,) each."""
    to_light = _LIGHT - points
    to_light /= np.linalg.norm(to_light, axis=1, keepdims=True)
    axis = (_LIGHT - _LIGHT_TARGET) / np.linalg.norm(_LIGHT - _LIGHT_TARGET)
    return (normals * to_light).sum(1), np.maximum(to_light @ axis, 0.0) ** _LIGHT_EXPONENT


def _brightness(material: _Material, points: Array, normals: Array, forward: Array) -> Array:
    cosine, strength = _facing_spot(points, normals)
    head = material.head * np.maximum(-normals @ forward, 0.0)
    return np.minimum(material.ambient + head + material.spot * np.maximum(cosine, 0.0) * strength, _BRIGHTEST)


def _view(azimuth: float) -> _View:
    """Cast the rays through all fine pixels of one camera into the empty room."""
    cosine, sine = np.cos(azimuth + _AZIMUTH_OFFSET), np.sin(azimuth + _AZIMUTH_OFFSET)
    forward, right, up = np.array((-sine, cosine, 0.0)), np.array((cosine, sine, 0.0)), np.array((0.0, 0.0, 1.0))
    origin = up - _ORBIT_RADIUS * forward
    centres = (np.arange(IMAGE_SIZE * _FINE) + 0.5) / _FINE - IMAGE_SIZE / 2
    to_right, down = (_TAN_HALF_FIELD * (centres + offset) / (IMAGE_SIZE / 2) for offset in _PIXELS_OFF_CENTRE)
    directions = (forward + to_right[:, None] * right - down[:, None, None] * up).reshape(-1, 3)  # [line, column]

    # Where the ray meets the planes of a side wall, the back wall and the floor: the nearest is what it sees.
    with np.errstate(divide="ignore"):
        side = (np.where(directions[:, 0] > 0, _RIGHT, _LEFT) - origin[0]) / directions[:, 0]
        back = (_BACK - origin[1]) / directions[:, 1]
        floor = np.where(directions[:, 2] < 0, -origin[2] / directions[:, 2], np.inf)
    distance = np.minimum(np.minimum(side, back), floor)
    points = origin + distance[:, None] * directions
    is_floor = floor <= distance
    is_wall = ~is_floor & (points[:, 2] < _WALL_HEIGHT)
    normals = np.where((side < back)[:, None], -np.sign(directions) * (1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
    normals[is_floor] = up

    shares = np.zeros((len(directions), len(PAINTS)))
    shares[is_floor, 0] = _brightness(_FLOOR, points[is_floor], normals[is_floor], forward)
    shares[is_wall, 1] = _brightness(_WALL, points[is_wall], normals[is_wall], forward)
    shares[~is_floor & ~is_wall, 3] = 1.0
    return _View(origin, forward, directions, distance, shares)


def _shares(view: _View, shape: int, scale: float) -> Array:
    """Share of every paint on every ray with the object in the room, (n, 5)."""
    shares = view.shares.copy()
    floor = np.flatnonzero(shares[:, 0])
    points = view.origin + view.distance[floor, None] * view.directions[floor]
    shadow = _hit_object(shape, scale, points, _LIGHT - points)
    shares[floor[np.isfinite(shadow.distance)], 0] = _FLOOR.ambient

    hits = _hit_object(shape, scale, view.origin, view.directions)
    seen = np.flatnonzero(hits.distance < view.distance)
    normals = hits.normal[seen]
    points = view.origin + hits.distance[seen, None] * view.directions[seen]
    shares[seen] = 0.0
    shares[seen, 2] = _brightness(_OBJECT, points, normals, view.forward)
    cosine, _ = _facing_spot(points, normals)
    shares[seen, 4] = _HIGHLIGHT_SHARE * np.clip(cosine / _HIGHLIGHT_BLUR + 0.5, 0.0, 1.0)
    return shares


def _shrink(fine: Array) -> Array:
    """Lanczos's filter over three pixels to either side, along the middle axis: (p, 192, n) to (p, 64, n).

    A sum of shifted copies and not a matrix product: the same everywhere, however many threads a machine has.
    """
    reach = 3 * _FINE - 1
    offsets = np.arange(-reach, reach + 1) / _FINE
    total, weight = np.zeros((len(fine), IMAGE_SIZE, fine.shape[2])), np.zeros((1, IMAGE_SIZE, 1))
    padded = np.pad(fine, ((0, 0), (reach, reach), (0, 0)))
    inside = np.pad(np.ones((1, fine.shape[1], 1)), ((0, 0), (reach, reach), (0, 0)))
    for shift, tap in enumerate(np.sinc(offsets) * np.sinc(offsets / 3)):
        lines = slice(shift + _FINE // 2, shift + _FINE * IMAGE_SIZE, _FINE)
        total += tap * padded[:, lines]
        weight += tap * inside[:, lines]
    return total / weight


def geometry_table() -> NDArray[np.uint8]:
    """Cast all rays: what `render` needs, in about four seconds on one core.

    Returns uint8 (480, 64, 64, 5): geometries in the grid's order, rows from the top, columns, `PAINTS`.
    A byte b stands for a share of (b - 32) / 160: coverage times brightness.
    """
    table = np.empty((*GRID.sizes[3:], IMAGE_SIZE, IMAGE_SIZE, len(PAINTS)), np.uint8)
    for orientation, azimuth in enumerate(ORIENTATIONS):
        view = _view(azimuth)
        for shape in range(GRID.sizes[4]):
            for scale, size in enumerate(SCALES):
                fine = _shares(view, shape, size).T.reshape(len(PAINTS), IMAGE_SIZE * _FINE, IMAGE_SIZE * _FINE)
                shares = _shrink(np.swapaxes(_shrink(fine), 1, 2)).T  # [line, column, paint]
                table[scale, shape, orientation] = np.clip(np.rint(ZERO + ONE * shares), 0, 255)
    return table.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, len(PAINTS))


def render(classes: NDArray[np.integer], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw images from their factors; the same bytes on every machine, given the table.

    classes: class indices (n, 6) in the order of `GRID.names`. table: `geometry_table()`.
    Returns uint8 (n, 3, 64, 64): red, green, blue; rows from the top. ValueError outside the grid.
    """
    classes = np.asarray(classes)
    if classes.ndim != 2 or classes.shape[1] != GRID.num_factors:
        raise ValueError(f"`classes` must have shape (n, {GRID.num_factors}), got {classes.shape}")
    if np.any(classes < 0) or np.any(classes >= GRID.sizes):
        raise ValueError(f"`classes` must lie in [0, {GRID.sizes}), got {classes.min(0)} to {classes.max(0)}")
    colours = np.empty((len(classes), 3, len(PAINTS)), np.float32)  # [image, channel, paint]
    colours[:, :, :3] = np.swapaxes(HUE_COLOURS[classes[:, :3]], 1, 2)
    colours[:, :, 3:] = np.stack([SKY, HIGHLIGHT], axis=1)
    geometries = np.ravel_multi_index(tuple(classes[:, 3:].T), GRID.sizes[3:])
    flat = table.reshape(-1, IMAGE_SIZE * IMAGE_SIZE, len(PAINTS))
    images = np.empty((len(classes), 3, IMAGE_SIZE * IMAGE_SIZE), np.uint8)
    for start in range(0, len(classes), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        # Sums of whole numbers below 2²⁴: exact in float32, whatever the order in which they are added.
        sums = colours[chunk] @ np.swapaxes(flat[geometries[chunk]].astype(np.float32), 1, 2)
        sums -= ZERO * colours[chunk].sum(2, keepdims=True)
        np.clip(np.rint(sums / ONE, out=sums), 0, 255, out=sums)
        images[chunk] = sums
    return images.reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE)
