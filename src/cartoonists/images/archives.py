"""Archives of data sets, unpacked without trusting them."""

import gzip
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

from cartoonists.files.errors import DataError

MEMBER_MAX_BYTES = 10_000 * (1 + 3 * 32 * 32)  # a batch of CIFAR-10
CHUNK = 2**20


def unpack_tar(archive: Path, target: Path, subfolder: str, files: tuple[str, ...]) -> None:
    """Unpack ``subfolder/file`` for each wanted file into ``target``, all of them or none.

    Members that leave the folder, links, devices and members larger than a batch of CIFAR-10 are
    refused with DataError, wanted or not.
    """
    wanted = {f"{subfolder}/{file}": file for file in files}
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as temporary:
        try:
            with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in tar:
                    _check_member(archive, member)
                    if member.name in wanted and (content := tar.extractfile(member)) is not None:
                        with (Path(temporary) / wanted[member.name]).open("wb") as out:
                            shutil.copyfileobj(content, out)
                while stream.read(CHUNK):  # to the end, where gzip's checksum is
                    pass
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise DataError(f"{archive}: cannot be unpacked ({error})") from None
        missing = [file for file in files if not (Path(temporary) / file).is_file()]
        if missing:
            raise DataError(f"{archive}: {', '.join(missing)} missing in it")
        (target / subfolder).mkdir(exist_ok=True)
        for file in files:
            os.replace(Path(temporary) / file, target / subfolder / file)


def _check_member(archive: Path, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise DataError(f"{archive}: member {member.name!r} leaves its folder")
    if not (member.isreg() or member.isdir()):
        raise DataError(f"{archive}: member {member.name!r} is a link or device, allowed are files")
    if member.size > MEMBER_MAX_BYTES:
        raise DataError(
            f"{archive}: member {member.name!r} of {member.size} bytes, "
            f"at most {MEMBER_MAX_BYTES} allowed"
        )
