"""Whether the nodes of one server run the same container image."""

import os
from dataclasses import asdict

import pytest

from hpcsweep.node.ranks.images import compare_images
from hpcsweep.node.setup.engine_identity import RunImage, image_identity
from hpcsweep.node.watch.outcome import Ended

FILE = RunImage("/s/a.sif", "", 100, "aa")
TAG = RunImage("docker://a:1", "sha256:1", None, "aa")


@pytest.mark.parametrize(
    ("ours", "theirs", "code"),
    [
        (FILE, FILE, None),
        (FILE, RunImage("/s/a.sif", "", 100, "bb"), "image_may_differ"),
        (TAG, RunImage("docker://a:1", "sha256:1", None, "bb"), None),
        (TAG, RunImage("docker://a:1"), "image_not_compared"),
    ],
)
def test_images_that_may_be_the_same(ours, theirs, code):
    notes = compare_images(ours, asdict(theirs), "n1")
    assert [note.code for note in notes] == ([code] if code else [])
    assert all("node n1" in note.text for note in notes)


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (FILE, RunImage("/s/a.sif", "", 101, "bb"), "the first node has 100 bytes, node n1 has 101 bytes"),
        (TAG, RunImage("docker://a:1", "sha256:2", None, "bb"), "has id sha256:1, node n1 has id sha256:2"),
    ],
)
def test_another_image_is_refused_and_its_node_named(ours, theirs, words):
    with pytest.raises(Ended) as caught:
        compare_images(ours, asdict(theirs), "n1")
    verdict = caught.value.verdict
    assert (verdict.code, verdict.node) == ("engine_images_differ", "n1") and words in verdict.reason


def test_without_a_container_nothing_is_compared():
    assert compare_images(None, None, "n1") == []


def test_what_identifies_an_image(tmp_path):
    path = tmp_path / "a.sif"
    path.write_bytes(b"1234")
    first = image_identity("apptainer", str(path), str(path), "", {})
    assert (first.image_bytes, first.image_id) == (4, "")
    os.utime(path, (1, 1))
    again = image_identity("apptainer", str(path), str(path), "", {})
    assert again.digest != first.digest and again.image_bytes == 4
    named = image_identity("podman", "a:1", None, "sha256:1", {})
    assert (named.image_id, named.image_bytes, named.certain) == ("sha256:1", None, True)
    assert image_identity("apptainer", str(tmp_path / "no"), str(tmp_path / "no"), "", {}).image_bytes is None
