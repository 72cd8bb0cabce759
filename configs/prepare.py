"""Preparation: `python -m emoji_jax.prepare --videos DIR --out DIR`; this file is the default.

Most of the time goes into detection; a frame of 512 pixels takes about 75 KB.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Every option of preparation, at its default."""
    config = ml_collections.ConfigDict()

    # Of the dataset, which begins the names of its files.
    config.name = "portraits"
    # About how large the files are, 2**20 bytes.
    config.shard_megabytes = 512.0

    config.track = track = ml_collections.ConfigDict()
    # Of several faces: largest (follow it) or reject (drop the shot).
    track.several = "largest"
    # Another face counts from this height on, compared to the one that is followed.
    track.second_face = 0.5
    # A clip has several faces if more than this part of its frames has.
    track.crowded = 0.1
    # Frames in a row without a face that are filled in; more of them divide a clip.
    track.max_gap = 5
    # Shorter clips are dropped (training takes 16 frames), longer ones divided.
    track.min_frames = 16
    track.max_frames = 128
    # A face that moves by more than this from one frame to the next, in face heights, is another.
    track.jump = 0.5
    # So is one that changes its size by more than this factor.
    track.size_jump = 1.4
    # A mean change of all pixels, of their range, that makes a cut.
    track.change = 0.2

    config.crop = crop = ml_collections.ConfigDict()
    # Side of the stored pictures, pixels; 256 or 128 for the tiny model.
    crop.size = 512
    # Height of the face, chin to forehead, as part of the side: what is left is margin.
    crop.face = 0.6
    # Free beside everywhere the face goes, as part of the side.
    crop.border = 0.05
    # A face that would be smaller than this part of the side moves too far for one crop.
    crop.smallest_part = 0.3
    # Smaller faces are dropped: height in the original, pixels.
    crop.smallest_face = 64
    # Degrees; heads that are tilted more are upside down.
    crop.largest_roll = 75.0

    config.pictures = pictures = ml_collections.ConfigDict()
    # jpeg, which is read and written fast, or webp, which is 40 % smaller.
    pictures.picture_format = "jpeg"
    # Up to 100.
    pictures.quality = 92

    config.reading = reading = ml_collections.ConfigDict()
    # At an input on a disk that fails for a moment, and seconds before the second one; doubled
    # before each further one.
    reading.attempts = 4
    reading.pause = 1.0

    config.reader = reader = ml_collections.ConfigDict()
    # Of --dataset=recordings: how names are made, e.g. {subject}/{expression}-{take}.
    reader.pattern = "{subject}_{expression}"
    # A note on the licence that goes with every clip; empty: what the reader knows.
    reader.licence = ""
    # Of --dataset=avatars: which styles, with spaces between them; empty: all seven.
    reader.styles = ""
    # How many people: of each style of avatars, or synthetic ones, who have eight clips each; and
    # pictures in each clip.
    reader.people = 100
    reader.poses = 24
    # Of --dataset=synthetic: another one gives other people.
    reader.seed = 0
    # Side of the drawn pictures, pixels; the face takes a third of it.
    reader.size = 768

    config.split = split = ml_collections.ConfigDict()
    # Parts of all identities, by a hash of the name.
    split.validation = 0.05
    split.test = 0.05
    # With fewer identities, all are for training.
    split.min_identities = 20

    return config
