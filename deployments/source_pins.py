"""The source trees that firmware can be built from: repository, commit, and the digest of everything in it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A repository at one commit. `sha256` is `digest(listing(tree))`, `size` the bytes of all its files."""

    repository: str  # owner/name on github.com
    commit: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """Of its folder; firmware/tflm-sys looks for these names beside TFLM_DIR."""
        return self.repository.rpartition("/")[2].lower()


# Computed from `git archive <commit>` of each repository, which is also what GitHub's archives are made of.
UPSTREAM = (
    Source(
        "tensorflow/tflite-micro",
        "90b983c2b3f1480642e040bbd2ddb37b998f3424",
        "ab3efc58ab03a2441a5914e3a74ed5bab92364916d760c723a44712c20e9c011",
        28_159_854,
    ),
    Source(
        "ARM-software/CMSIS-NN",
        "99f736a63036613032f9b70de36b493bcd7802d4",
        "abf9f1f649d6db91e6fb8726f4aa7d8b1c158e0ef264c1cc6361d4e6c2532df9",
        35_598_002,
    ),
    Source(
        "google/gemmlowp",
        "16e8662c34917be0065110bfcd9cc27d30f52fdf",
        "248e986c60d876b3af5348f73c608bea029516df010a101dfacb8aaa6e0c26f5",
        5_458_426,
    ),
    Source(
        "google/ruy",
        "2af88863614a8298689cc52b1a47b3fcad7be835",
        "5cc7925f66a3e2b4fcd47c98e9b4309c50cf15a074983a412608864ac8de7999",
        1_690_695,
    ),
    Source(
        "google/flatbuffers",
        "187240970746d00bbd26b0f5873ed54d2477f9f3",  # tag v25.9.23
        "baab96ee24b6bd477c6187be4beff065e5fd375bd1a04df851cfa28e6ddfe933",
        13_091_100,
    ),
)
# Espressif's TFLM carries its other dependencies itself.
ESP = (
    Source(
        "espressif/esp-tflite-micro",
        "99f49e1498b0984f4db54d9bf3938aceb99ad422",
        "455547dcd0e1502cdf6ff62c8e2492523db7d01eb9796c46865223fcd908b16c",
        7_215_966,
    ),
    Source(
        "espressif/esp-nn",
        "d45b843ca5f873ca9d0706ab0e7f14eafd132e98",
        "9b7715b3a8231a023f6abf630f4591bc867ac8cbb5b30ff3b0cde1cedec3808d",
        821_260,
    ),
)
