"""Unpacks what Norma needs of a downloaded torch wheel: unpack-torch.py FOLDER, with the wheel in FOLDER/wheels.

The CPU library of a CUDA wheel needs two small packages of the CUDA runtime beside it, which are fetched in the
versions that the wheel asks for. Everything goes to FOLDER/unpacked.
"""

import email
import pathlib
import re
import subprocess
import sys
import zipfile

folder = pathlib.Path(sys.argv[1])


def needs(wheel):
    """The wheel's requirements, as (name, exact version or None)."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        lines = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []
    return [re.match(r"([\w.-]+)(?:\[[^\]]*\])?\s*\(?(==[\w.*]+)?", line).groups() for line in lines]


def download(name, version, subfolder):
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check",
         "--dest", folder / subfolder, name + (version or "")],
        check=True,
    )
    return list((folder / subfolder).glob("*.whl"))


def unpack(wheel, prefixes):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(prefixes):
                archive.extract(name, folder / "unpacked")


torch = next((folder / "wheels").glob("torch-*.whl"))
unpack(torch, ("torch/include/", "torch/lib/", "torch/version.py", "torch.libs/"))
requirements = needs(torch)
# Newer wheels name one package that names the others.
for name, version in list(requirements):
    if name == "cuda-toolkit":
        requirements += needs(download(name, version, "toolkit")[0])
runtime = {(n, v) for n, v in requirements if n.startswith(("nvidia-cuda-cupti", "nvidia-cuda-runtime"))}
for name, version in sorted(runtime, key=str):
    download(name, version, "cuda")
for wheel in (folder / "cuda").glob("*.whl"):
    unpack(wheel, "nvidia/")
