"""Encodes a prepared dataset once, so that training need not do it again for every example.

python -m emoji_jax.encode --data dataset --checkpoint DIR --out encoded
"""

from pathlib import Path

from absl import flags

from emoji_jax import checkpoint, command
from emoji_jax import config as config_file
from emoji_jax.encoder import Encoder, encode
from emoji_jax.errors import UserError

_DATA = flags.DEFINE_string("data", None, "Folder that `python -m emoji_jax.prepare` wrote.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "tiny", "Folder of the checkpoint whose autoencoder and CLIP encode, or tiny."
)
_OUT = flags.DEFINE_string("out", None, "Folder for the encoded dataset.")
_CONFIG = config_file.flag("encode.py")
flags.declare_key_flag("config")


def main() -> None:
    """Does what the flags say."""
    if not (_DATA.value and _OUT.value):
        raise UserError("give --data, a prepared dataset, and --out, a folder for the encoded one")
    config, data, out = _CONFIG.value, Path(_DATA.value), Path(_OUT.value)
    for option in ("every", "batch", "readers"):
        if config[option] < 1:
            raise UserError(f"config.{option} is {config[option]}; expected at least 1")
    if data.absolute() == out.absolute():
        raise UserError("--out is --data; give another folder")
    directory = checkpoint.locate(_CHECKPOINT.value)
    encoder = Encoder(directory, config.size, config.every, config.batch)
    megabytes = config.shard_megabytes
    count = encode(
        data,
        out,
        encoder,
        threads=config.readers,
        name=config.name,
        size=round(megabytes * 2**20),
    )
    print(f"{out}: {count} clips")


if __name__ == "__main__":
    command.run(main)
