"""What fills the disk, by kind, and what of it nobody needs."""

from datetime import timedelta

from services.retention import orphans
from services.retention.survey import survey


def test_files_are_told_by_kind_with_what_nothing_refers_to(installation, seed_image, model, age):
    installation.blobs.put("images/orphan.png", bytes(1000))
    installation.blobs.put("models/orphan.onnx", bytes(500))
    age(timedelta(hours=2))
    installation.blobs.put("images/young.png", bytes(100))
    found = survey(installation)
    kinds = {kept.name: kept for kept in found.kinds}
    images, models = kinds["images"], kinds["models"]
    assert (images.files, images.size) == (3, seed_image.size + 1100)
    assert (images.orphans, images.orphan_size) == (1, 1000)
    assert (models.files, models.orphans, models.orphan_size) == (2, 1, 500)
    assert kinds["database"].size > 100_000
    assert found.orphan_size == 1500
    assert found.size == sum(kept.size for kept in found.kinds)
    assert found.missing == ()
    assert found.free > 0
    assert sum(entry.size for entry in orphans.sweep(installation)) == 1500
    assert survey(installation).orphan_size == 0
    assert sorted(installation.blobs.keys("images")) == sorted(
        [seed_image.blob, "images/young.png"]
    )


def test_files_that_rows_name_and_that_are_gone_are_told(installation, seed_image):
    installation.blobs.delete(seed_image.blob)
    assert survey(installation).missing == (seed_image.blob,)


def test_files_of_others_in_the_same_bucket_are_nobodys_orphans(installation, age):
    installation.blobs.put("backups/database.dump", b"not ours")
    installation.blobs.put("probe/readyz", b"ok")
    age(timedelta(days=400))
    assert orphans.sweep(installation) == []
    assert installation.blobs.keys("") == ["backups/database.dump", "probe/readyz", "sweeps/last"]
