"""Downloads end to end, from servers on this machine: a model hub and a plain HTTP server."""

import hashlib
import http.server
import json
import threading
from pathlib import Path

import pytest
import tiny_models
import torch

from cartoonists import load_model
from cartoonists.experiments.frechet import fetch_inception
from cartoonists.files import downloads
from cartoonists.files.downloads import fetch_url
from cartoonists.models.checkpoints import CheckpointError, DownloadError, ModelSpec, fetch_model

COMMIT = "0123456789" * 4
FAST = {"attempts": 2, "wait": 0.01}


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files`` (path to bytes); ``faults`` holds what to do instead, a list a path."""

    daemon_threads = True

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.files, self.faults, self.requests = {}, {}, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Plain(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._serve(body=True)

    def do_HEAD(self):
        self._serve(body=False)

    def _serve(self, body):
        path = self.path.split("?")[0]
        self.server.requests.append((self.command, path))
        faults = self.server.faults.get(path, [])
        fault = faults.pop(0) if faults and body else None
        if isinstance(fault, int):
            return self._send(fault, b"", {}, body)
        status, content, headers = self.answer(path)
        self._send(status, content, headers, body, cut=fault == "cut off")

    def answer(self, path):
        content = self.server.files.get(path)
        return (404, b"", {}) if content is None else (200, content, {})

    def _send(self, status, content, headers, body, cut=False):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True


class Hub(Plain):
    """As much of the hub's protocol as a download of one repository needs."""

    def answer(self, path):
        server = self.server
        if path.startswith(f"/api/models/{server.repo}"):
            if not {COMMIT, "main"} & set(path.split("/")):
                return 404, b"", {"X-Error-Code": "RevisionNotFound"}
            if "/tree/" in path:
                entries = [
                    {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                    for name, content in server.files.items()
                ]
                return 200, json.dumps(entries).encode(), {"Content-Type": "application/json"}
            names = [{"rfilename": name} for name in server.files]
            content = json.dumps({"id": server.repo, "sha": COMMIT, "siblings": names}).encode()
            return 200, content, {"Content-Type": "application/json"}
        prefix = f"/{server.repo}/resolve/"
        if not path.startswith(prefix):
            return 404, b"", {"X-Error-Code": "RepoNotFound"}
        content = server.files.get(path[len(prefix) :].partition("/")[2])
        if content is None:
            return 404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
        tag = server.false_tag or hashlib.sha256(content).hexdigest()
        return 200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}


@pytest.fixture
def plain():
    server = Server(Plain)
    yield server
    server.shutdown()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    server = Server(Hub)
    server.repo, server.false_tag = "org/name", None
    folder = tmp_path / "published"
    server.unet, _ = tiny_models.save_diffusers(folder)
    for file in folder.rglob("*.*"):
        server.files[file.relative_to(folder).as_posix()] = file.read_bytes()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    yield server
    server.shutdown()


def hub_spec(**changes):
    return ModelSpec(**{"source": f"hf:org/name@{COMMIT}", "format": "diffusers", **changes})


def leftovers(folder):
    return [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"]


def one_line(caught):
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400
    return text


# --- the hub -------------------------------------------------------------------------------------


def test_hub_model_is_fetched_once_and_loads_from_the_cache(hub, tmp_path):
    cache, record = tmp_path / "cache", tmp_path / "model.json"
    hub.files["unet/diffusion_pytorch_model.bin"] = b"a pickle, which is left where it is"
    hub.files["run_me.py"] = b"raise SystemExit"
    record.write_text(json.dumps(fetch_model(hub_spec(), cache=cache, **FAST)))
    fetched = json.loads(record.read_text())["files"]
    assert set(fetched) == {
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
    }
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        eps = hub.unet(x.float(), 0).sample.double()
    expected = -eps / 1e-4**0.5  # β_1
    torch.testing.assert_close(load_model(record).score(x, 9.2102), expected, rtol=1e-3, atol=0.05)

    hub.files.clear()
    hub.server_close()  # from here on without a server
    asked = len(hub.requests)
    again = fetch_model(hub_spec(), cache=cache, offline=True)
    assert again["files"] == fetched
    load_model(hub_spec(), cache=cache)
    assert len(hub.requests) == asked


def test_hub_offline_without_a_cache(tmp_path):
    with pytest.raises(DownloadError, match="not in the cache .*downloads are off") as caught:
        load_model(hub_spec(), cache=tmp_path)
    one_line(caught)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": f"hf:org/other@{COMMIT}"}, "knows no such repository"),
        ({"source": "hf:org/name@" + "f" * 40}, "no such revision"),
        ({"source": "hf:org/name@main"}, "'main' found, allowed: a commit of 40 hexadecimal"),
        ({"sha256": "0" * 64}, "sha256 [0-9a-f]{64} found, expected 0{64}"),
    ],
)
def test_hub_refusals(hub, tmp_path, changes, words):
    with pytest.raises(DownloadError, match=words) as caught:
        fetch_model(hub_spec(**changes), cache=tmp_path / "cache", **FAST)
    one_line(caught)


def test_hub_branch_is_allowed_with_the_checksum_of_its_weights(hub, tmp_path):
    weights = hub.files["unet/diffusion_pytorch_model.safetensors"]
    digest = hashlib.sha256(weights).hexdigest()
    spec = hub_spec(source="hf:org/name@main", sha256=digest)
    assert fetch_model(spec, cache=tmp_path / "cache", **FAST)["sha256"] == digest


def test_hub_file_that_is_not_what_its_checksum_says(hub, tmp_path):
    hub.false_tag = "a" * 64
    with pytest.raises(DownloadError, match="has checksum .* the hub says a{64}") as caught:
        fetch_model(hub_spec(), cache=tmp_path / "cache", **FAST)
    one_line(caught)


METADATA = f"/api/models/org/name/tree/{COMMIT}"
WEIGHTS = f"/org/name/resolve/{COMMIT}/unet/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize("fault", [503, "cut off"])
def test_hub_faults_that_pass_are_tried_again(hub, tmp_path, fault):
    hub.faults[WEIGHTS] = [fault]
    fetched = fetch_model(hub_spec(), cache=tmp_path / "cache", attempts=3, wait=0.01)
    weights = hub.files["unet/diffusion_pytorch_model.safetensors"]
    assert fetched["sha256"] == hashlib.sha256(weights).hexdigest()


@pytest.mark.parametrize(
    ("fault", "words"),
    [(404, "404|no answer"), (503, "answered 503, 2 attempts"), ("cut off", "cut off, 2 attempts")],
)
@pytest.mark.parametrize("path", [WEIGHTS, METADATA], ids=["weights", "metadata"])
def test_hub_fault_that_stays_leaves_nothing_half_written(
    hub, tmp_path, monkeypatch, path, fault, words
):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.faults[path] = [fault] * 500
    cache = tmp_path / "cache"
    with pytest.raises(DownloadError, match=words) as caught:
        fetch_model(hub_spec(), cache=cache, **FAST)
    one_line(caught)
    assert not [p for p in leftovers(cache) if p.suffix in (".incomplete", ".safetensors")]


def test_hub_without_network(tmp_path, monkeypatch, plain):
    monkeypatch.setenv("HF_ENDPOINT", plain.address)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    plain.server_close()
    plain.shutdown()
    with pytest.raises(DownloadError, match="no answer from the hub .*, 2 attempts") as caught:
        fetch_model(hub_spec(), cache=tmp_path / "cache", **FAST)
    one_line(caught)


# --- a plain server ------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 400
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def fetch(plain, folder, digest=DIGEST, **options):
    plain.files["/weights"] = CONTENT
    return fetch_url(f"{plain.address}/weights", digest, folder / "file", **{**FAST, **options})


@pytest.mark.parametrize("fault", [503, 429, "cut off"])
def test_faults_that_pass_are_tried_again(plain, tmp_path, fault):
    plain.faults["/weights"] = [fault]
    assert fetch(plain, tmp_path).read_bytes() == CONTENT
    assert plain.requests.count(("GET", "/weights")) == 2
    fetch(plain, tmp_path)  # from the cache
    assert plain.requests.count(("GET", "/weights")) == 2


@pytest.mark.parametrize(
    ("faults", "options", "words", "asked"),
    [
        ([503] * 9, {}, "the server answered 503, 2 attempts", 2),
        ([404], {}, "the server answered 404$", 1),
        (["cut off"] * 9, {}, "cut off.*, 2 attempts", 2),
        ([], {"digest": "0" * 64}, f"sha256 {DIGEST} found, expected 0{{64}}", 1),
        ([], {"digest": "0" * 63}, "allowed: 64 hexadecimal digits", 0),
        ([], {"offline": True}, "downloads are off", 0),
    ],
)
def test_failures_end_in_one_line_and_leave_nothing(plain, tmp_path, faults, options, words, asked):
    plain.faults["/weights"] = faults
    with pytest.raises(DownloadError, match=words) as caught:
        fetch(plain, tmp_path, **options)
    one_line(caught)
    assert plain.requests.count(("GET", "/weights")) == asked
    assert leftovers(tmp_path) == []


def test_no_network(plain, tmp_path):
    plain.server_close()
    plain.shutdown()
    with pytest.raises(DownloadError, match="no answer .*, 2 attempts") as caught:
        fetch(plain, tmp_path)
    one_line(caught)
    assert leftovers(tmp_path) == []


def test_altered_file_in_the_cache_is_fetched_again(plain, tmp_path):
    (tmp_path / "file").write_bytes(b"altered")
    assert fetch(plain, tmp_path).read_bytes() == CONTENT


def test_edm_model_by_url(plain, tmp_path):
    from cartoonists.models.edm_models import save_edm

    weights = tmp_path / "net.safetensors"
    card = {"sigma_data": 0.5, "sigma_min": 0.01, "sigma_max": 50.0}
    save_edm(weights, tiny_models.tiny_unet(), card)
    digests = []
    for file in (weights, weights.with_suffix(".json")):
        plain.files[f"/{file.name}"] = file.read_bytes()
        digests.append(hashlib.sha256(file.read_bytes()).hexdigest())
    source = f"url:{plain.address}/net.safetensors"
    spec = ModelSpec(source, "edm", sha256=digests[0], card_sha256=digests[1])
    with pytest.raises(DownloadError, match="downloads are off"):  # loading alone stays offline
        load_model(spec, cache=tmp_path / "cache")
    fetch_model(spec, cache=tmp_path / "cache", **FAST)
    assert load_model(spec, cache=tmp_path / "cache").shape == (3, 8, 8)


def test_inception_file_by_url_then_from_the_cache(plain, tmp_path):
    plain.files["/inception.pth"] = CONTENT
    source, cache = f"url:{plain.address}/inception.pth", tmp_path / "cache"
    found = fetch_inception(source, DIGEST, cache=cache, **FAST)
    assert found["sha256"] == DIGEST and Path(found["path"]).read_bytes() == CONTENT
    assert fetch_inception(source, DIGEST, cache=cache, offline=True) == found
    assert fetch_inception(f"path:{found['path']}", DIGEST) == found
    for options, words in (
        ({"source": source, "cache": cache}, "expected 6726825d"),  # not the published file
        ({"source": f"path:{found['path']}"}, "sha256 .* found, the configuration says 6726825d"),
        ({"source": "path:nowhere.pth"}, "nowhere.pth is missing"),
        ({"source": "hf:org/name"}, "inception.source: 'hf:org/name' found"),
    ):
        with pytest.raises(CheckpointError, match=words) as caught:
            fetch_inception(**options)
        one_line(caught)


OWN = """
import torch
from pathlib import Path
from cartoonists import ddpm_model

def model(weights, folder):
    value = float(Path(weights).read_bytes()) + float(Path(folder, "a.bin").read_bytes())
    return ddpm_model(lambda x, t: value * x, torch.linspace(1e-4, 0.02, 1000), (1, 4, 4))
"""


def test_files_of_a_users_function_come_by_address_and_checksum(plain, tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    plain.files |= {"/some/weights.pt": b"2.0", "/shards/a.bin": b"-1.5", "/shards/b.bin": b""}
    one, a, b = (hashlib.sha256(content).hexdigest() for content in (b"2.0", b"-1.5", b""))
    arguments = {
        "weights": {"url": f"{plain.address}/some/weights.pt", "sha256": one},
        "folder": {"url": f"{plain.address}/shards/", "sha256": {"a.bin": a, "b.bin": b}},
    }
    spec, cache = (
        ModelSpec("python:own.py:model", "python", arguments=arguments),
        tmp_path / "cache",
    )
    assert spec.is_remote
    with pytest.raises(DownloadError, match="downloads are off"):  # loading alone stays offline
        load_model(spec, cache=cache)
    record = fetch_model(spec, cache=cache, **FAST)
    assert {one, a, b} < set(record["files"].values())
    asked = len(plain.requests)
    (tmp_path / "model.json").write_text(json.dumps(record))
    x = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    for name in (spec, tmp_path / "model.json"):
        sigma = load_model(name, cache=cache).schedule.sigma(0.0)
        torch.testing.assert_close(load_model(name, cache=cache).score(x, 0.0), -0.5 * x / sigma)
    assert len(plain.requests) == asked


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"url": "http://localhost/a"}, "arguments.weights: url found, allowed: url and sha256"),
        (
            {"url": "http://localhost", "sha256": {"../a": DIGEST}},
            "'../a' found, allowed: the name",
        ),
        ({"url": "http://localhost/a", "sha256": "0"}, "allowed: 64 hexadecimal digits"),
        ({"url": "file:///a", "sha256": DIGEST}, "allowed: http:// or https://"),
    ],
)
def test_files_of_a_users_function_are_refused_in_one_line(tmp_path, value, words):
    spec = ModelSpec("python:own.py:model", "python", arguments={"weights": value})
    with pytest.raises(DownloadError, match=words) as caught:
        fetch_model(spec, cache=tmp_path, **FAST)
    one_line(caught)
    assert leftovers(tmp_path) == []


def test_cache_folder_is_the_given_one_then_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv(downloads.CACHE_VARIABLE, str(tmp_path))
    assert downloads.cache_dir() == tmp_path
    assert downloads.cache_dir("elsewhere").name == "elsewhere"


# --- variants of the weights ---------------------------------------------------------------------

PLAIN = "unet/diffusion_pytorch_model.safetensors"
HALF = "unet/diffusion_pytorch_model.fp16.safetensors"


@pytest.mark.parametrize(
    ("there", "variant", "fetched"),
    [
        ((PLAIN, HALF), None, {PLAIN}),
        ((PLAIN, HALF), "fp16", {PLAIN, HALF}),
        ((HALF,), None, {HALF}),
        ((HALF,), "fp16", {HALF}),
    ],
)
def test_a_variant_is_fetched_where_it_is_named_or_alone(hub, tmp_path, there, variant, fetched):
    weights = hub.files.pop(PLAIN)
    hub.files |= dict.fromkeys(there, weights)
    spec = hub_spec(variant=variant)
    found = fetch_model(spec, cache=tmp_path / "cache", **FAST)["files"]
    assert {name for name in found if name.endswith(".safetensors")} == fetched
    assert fetch_model(spec, cache=tmp_path / "cache", offline=True)["files"] == found
    assert load_model(spec, cache=tmp_path / "cache").shape == (3, 8, 8)
