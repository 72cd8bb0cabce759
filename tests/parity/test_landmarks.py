"""Landmarks against the released code's recorded numbers (folder `landmarks`)."""

import importlib.util
import json
import os

import numpy as np
import pytest
from PIL import Image

from emoji_jax.landmarks import (
    Detector,
    Landmarks,
    align,
    canonical_mesh,
    draw,
    draw_aligned,
    face_mask,
    solve,
    topology,
)

REFERENCES = ["astronaut_512", "astronaut_crop_w320_h448", "frame0"]


@pytest.fixture(scope="module")
def folder(golden):
    folder = golden / "landmarks"
    if not (folder / "template.npz").exists():
        pytest.skip(f"{golden} holds no recorded landmarks; give such a folder with --golden")
    return folder


@pytest.fixture(scope="module")
def driver(folder) -> Landmarks:
    with np.load(folder / "template.npz") as file:
        count = len(file["lmks"])
        return Landmarks(
            points=file["lmks"].astype(np.float32),
            vertices=file["lmks3d"].astype(np.float32),
            pose=file["trans_mat"].astype(np.float32),
            blendshapes=file["bs"].astype(np.float32),
            size=(512, 512),
            times=np.arange(count) / 30,
        )


@pytest.fixture(scope="module", params=REFERENCES)
def recorded(request, folder) -> dict[str, np.ndarray]:
    path = folder / f"aligned_{request.param}.npz"
    if not path.exists():
        pytest.skip(f"no {path.name}")
    with np.load(path) as file:
        arrays = dict(file)
    arrays["png"] = {
        int(png.stem[-2:]): np.asarray(Image.open(png).convert("RGB"))
        for png in folder.glob(f"{path.stem}_img*.png")
    }
    return arrays


@pytest.fixture
def reference(recorded) -> Landmarks:
    return Landmarks(
        points=recorded["ref_lmks"][None].astype(np.float32),
        vertices=recorded["ref_lmks3d"][None].astype(np.float32),
        pose=recorded["ref_trans_mat"][None].astype(np.float32),
        blendshapes=recorded["ref_bs"][None].astype(np.float32),
        size=(int(recorded["height"]), int(recorded["width"])),
        times=np.zeros(1),
    )


def test_projected_points(driver, recorded, reference):
    points = align(reference, driver, compat="release")
    np.testing.assert_allclose(points, recorded["projected"], rtol=0, atol=1e-6)
    assert driver.blendshapes.sum(axis=1, dtype=np.float64).argmin() == recorded["min_bs_idx"]


def test_aligned_images(driver, recorded, reference):
    images = draw_aligned(reference, driver, compat="release")
    np.testing.assert_array_equal(images, recorded["images"])
    for i, picture in recorded["png"].items():
        np.testing.assert_array_equal(images[i], picture)


def test_reference_image(recorded, reference):
    image = draw(reference.pixels[0], reference.size, compat="release")
    np.testing.assert_array_equal(image, recorded["ref_drawn"])


def test_reference_geometry(recorded, reference):
    pose, vertices = solve(reference.points, reference.size)
    np.testing.assert_allclose(pose[0, :3, :3], recorded["ref_trans_mat"][:3, :3], atol=2e-6)
    np.testing.assert_allclose(pose[0, :3, 3], recorded["ref_trans_mat"][:3, 3], atol=2e-4)
    np.testing.assert_allclose(vertices[0], recorded["ref_lmks3d"], atol=5e-5)


def test_self_reenactment_of_a_real_video(driver):
    points = align(driver[0], driver, neutral=0)
    np.testing.assert_allclose(points, driver.pixels, atol=2e-3)


def test_geometry(driver):
    pose, vertices = solve(driver.points, driver.size)
    np.testing.assert_allclose(pose[:, :3, :3], driver.pose[:, :3, :3], atol=2e-6)
    np.testing.assert_allclose(pose[:, :3, 3], driver.pose[:, :3, 3], atol=1e-4)
    np.testing.assert_allclose(vertices, driver.vertices, atol=4e-5)


def test_unaligned_images(folder, driver):
    with np.load(folder / "drawn_unaligned.npz") as file:
        np.testing.assert_array_equal(draw(driver.pixels, driver.size), file["images"])


def test_masks(folder, driver):
    with np.load(folder / "masks.npz") as file:
        expected = dict(file)
    count = len(expected["unaligned_normed"])
    masks = face_mask(driver.pixels[:count], driver.size)
    np.testing.assert_array_equal(masks, expected["unaligned_normed"])
    with np.load(folder / "aligned_astronaut_512.npz") as file:
        points = file["projected"]
    expected = expected["aligned_astronaut"]
    masks = face_mask(points[: len(expected)], expected.shape[1:])
    np.testing.assert_array_equal(masks, expected)


def test_official_template(folder, driver):
    loaded = Landmarks.load(folder / "template_official_format.npy")
    assert loaded.size == driver.size
    for name in ("points", "vertices", "pose", "blendshapes", "times"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(driver, name))


def test_edges(folder):
    """The same edges with the same colours, colour by colour in the same order.

    The contour, which the released code draws first and in black, cannot be seen. Within a colour
    the order leaves no trace.
    """
    recorded = json.loads((folder / "edges.json").read_text())
    expected = [(frozenset(e["edge"]), tuple(e["color"])) for e in recorded["draw_order"]]
    edges = np.concatenate([topology.CONTOUR_EDGES, topology.EDGES]).tolist()
    colours = [(0, 0, 0)] * len(topology.CONTOUR_EDGES) + topology.EDGE_COLOURS.tolist()
    ours = [(frozenset(e), tuple(c)) for e, c in zip(edges, colours, strict=True)]
    assert len(expected) == len(ours) == 94
    assert [colour for _, colour in ours] == [colour for _, colour in expected]
    assert set(ours) == set(expected)
    assert list(topology.PUPILS) == recorded["pupil_points"]
    assert list(topology.PUPIL_COLOUR) == recorded["pupil_color"]


def test_triangles(folder):
    model_path = os.environ.get("EMOJI_JAX_FACE_LANDMARKER")
    if not model_path:
        pytest.skip("EMOJI_JAX_FACE_LANDMARKER names no landmark model")
    with np.load(folder / "template.npz") as file:
        np.testing.assert_array_equal(canonical_mesh(model_path).triangles + 1, file["faces"])


def test_detection(folder, driver):
    model_path = os.environ.get("EMOJI_JAX_FACE_LANDMARKER")
    if not model_path or importlib.util.find_spec("mediapipe") is None:
        pytest.skip("needs mediapipe, and a landmark model in EMOJI_JAX_FACE_LANDMARKER")
    pictures = sorted(folder.glob("frame_*.png"))
    assert pictures
    with Detector(model_path) as detector:
        for path in pictures:
            expected = driver[int(path.stem[-3:])]
            found = detector.detect(np.asarray(Image.open(path).convert("RGB")))
            np.testing.assert_allclose(found.points, expected.points, atol=5e-5)
            np.testing.assert_allclose(found.blendshapes, expected.blendshapes, atol=1e-3)
            np.testing.assert_allclose(found.vertices, expected.vertices, atol=2e-3)
            np.testing.assert_allclose(found.pose, expected.pose, atol=2e-3)
